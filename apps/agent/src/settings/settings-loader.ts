import { messageOf, type JsonObject } from '@microbosh/errors';
import type { AgentSettings, UserData } from '@microbosh/spec';
import { SettingsInvalid, SettingsUnavailable } from './errors.ts';
import { stringOf } from './json-keys.ts';
import { Registry } from './registry.ts';
import { parseSettings, parseUserData, type Networks } from './settings-document.ts';
import type { MachineData, ReadOptions, SettingsSource } from './sources/settings-source.ts';

export interface LoadedSettings {
  readonly settings: AgentSettings;
  /** As it arrived: this is what the cache keeps. */
  readonly document: JsonObject;
  readonly source: SettingsSource;
  /** Set when the settings came from a registry. */
  readonly registry?: Registry;
}

export interface SettingsLoaderOptions {
  readonly sources: readonly SettingsSource[];
  readonly useRegistry: boolean;
  readonly useServerName: boolean;
  /** Gives the machine an address before a source or a registry is asked over the network. */
  readonly prepareNetwork: (networks: Networks | undefined, signal?: AbortSignal) => Promise<void>;
  /** Lets the key that the cloud gives log in. */
  readonly acceptKey: (publicKey: string) => Promise<void>;
}

/** Asks the sources in order; the first one that yields settings wins and is asked first from then on. */
export class SettingsLoader {
  readonly #options: SettingsLoaderOptions;
  #selected: SettingsSource | undefined;

  constructor(options: SettingsLoaderOptions) {
    this.#options = options;
  }

  async load(options: ReadOptions): Promise<LoadedSettings> {
    const problems: string[] = [];
    for (const source of this.#inOrder()) {
      try {
        const loaded = await this.#loadFrom(source, options);
        this.#selected = source;
        return loaded;
      } catch (error) {
        options.signal?.throwIfAborted();
        problems.push(`${source.name}: ${messageOf(error)}`);
      }
    }
    throw new SettingsUnavailable(
      `Getting settings from all sources: ${problems.join(' | ') || 'no source is configured in agent.json'}`,
      { advice: 'Check the sources in agent.json, the user data of this machine, and the registry.' },
    );
  }

  #inOrder(): readonly SettingsSource[] {
    const selected = this.#selected;
    if (!selected) return this.#options.sources;
    return [selected, ...this.#options.sources.filter((source) => source !== selected)];
  }

  async #loadFrom(source: SettingsSource, options: ReadOptions): Promise<LoadedSettings> {
    if (source.needsNetwork) await this.#options.prepareNetwork(undefined, options.signal);
    const data = await source.read(options);
    // Settings that came with the user data win over a registry.
    if (stringOf(data.document, 'agent_id') !== undefined) {
      return { settings: parseSettings(data.document, source.name), document: data.document, source };
    }
    if (!this.#options.useRegistry) {
      throw new SettingsInvalid('the document has no agent_id, and agent.json does not say UseRegistry');
    }
    return this.#loadFromRegistry(source, data, options);
  }

  async #loadFromRegistry(
    source: SettingsSource,
    data: MachineData,
    options: ReadOptions,
  ): Promise<LoadedSettings> {
    const userData = parseUserData(data.document, source.name);
    if (userData.registry === undefined) {
      throw new SettingsInvalid('the document has neither an agent_id nor a registry endpoint');
    }
    if (!source.needsNetwork && userData.networks !== undefined) {
      await this.#options.prepareNetwork(userData.networks, options.signal);
    }
    const registry = new Registry({ ...userData, registry: userData.registry }, this.#keyOf(userData, data));
    if (options.patient) await this.#acceptKeyOf(source, options);
    const document = await registry.read(options);
    const where = registry.endpoint?.origin ?? userData.registry.endpoint;
    return { settings: parseSettings(document, `the registry ${where}`), document, source, registry };
  }

  /** The way to the registry may be a tunnel that is opened from outside with this key: it has to be there before. */
  async #acceptKeyOf(source: SettingsSource, options: ReadOptions): Promise<void> {
    let key: string | undefined;
    try {
      key = await source.readPublicKey({ ...options, patient: false });
    } catch {
      options.signal?.throwIfAborted();
      // A registry that is reached without a tunnel needs no key; the other one does not answer, which is told.
    }
    if (key !== undefined) await this.#options.acceptKey(key);
  }

  #keyOf(userData: UserData, data: MachineData): string {
    const name = userData.server?.name === '' ? undefined : userData.server?.name;
    const key = this.#options.useServerName ? name : (data.instanceId ?? name);
    if (key === undefined) {
      throw new SettingsInvalid(
        this.#options.useServerName ? 'Empty server name in the user data' : 'the instance id is not known',
      );
    }
    return key;
  }
}
