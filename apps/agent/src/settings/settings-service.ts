import { messageOf, type JsonObject } from '@microbosh/errors';
import { writeFileDurably } from '@microbosh/host';
import type { AgentSettings, NetworkSpec } from '@microbosh/spec';
import type { SettingsService } from '../ports/host.ts';
import type { AgentPaths } from '../platform/agent-paths.ts';
import { readJsonObjectIfPresent } from '../platform/files.ts';
import type { HostLog } from '../platform/host-log.ts';
import { SettingsUnavailable } from './errors.ts';
import type { Registry } from './registry.ts';
import { SettingsCache } from './settings-cache.ts';
import { parseSettings } from './settings-document.ts';
import type { LoadedSettings, SettingsLoader } from './settings-loader.ts';
import type { SettingsSource } from './sources/settings-source.ts';
import { effectiveSettings, mergeUpdate, type UpdateSettings } from './update-settings.ts';

export interface SettingsServiceOptions {
  readonly loader: SettingsLoader;
  readonly sources: readonly SettingsSource[];
  readonly paths: AgentPaths;
  readonly log: HostLog;
  /** Applies what `update_settings` brings to the machine before it is recorded: certificates, disk links. */
  readonly onUpdate: (merged: UpdateSettings) => Promise<void>;
}

/** What one load did, for the bootstrap's report. */
export interface LoadOutcome {
  readonly from: 'source' | 'cache';
  readonly changed: boolean;
}

export class AgentSettingsService implements SettingsService {
  readonly #options: SettingsServiceOptions;
  readonly #cache: SettingsCache;
  #settings: AgentSettings | undefined;
  #registry: Registry | undefined;
  #update: UpdateSettings = {};
  #resolved: Readonly<Record<string, Partial<NetworkSpec>>> = {};

  constructor(options: SettingsServiceOptions) {
    this.#options = options;
    this.#cache = new SettingsCache(options.paths.settingsCache);
  }

  current(): AgentSettings {
    if (!this.#settings) throw new SettingsUnavailable('The settings have not been loaded yet.');
    const effective = effectiveSettings(this.#settings, this.#update);
    const networks = Object.entries(effective.networks).map(
      ([name, network]) => [name, { ...network, ...this.#resolved[name] }] as const,
    );
    return { ...effective, networks: Object.fromEntries(networks) };
  }

  /** The argument of `update_settings` in force. */
  get updateSettings(): UpdateSettings {
    return this.#update;
  }

  /** Where the settings came from, when that was a registry over HTTP; undefined when it is not known. */
  get registryEndpoint(): URL | undefined {
    return this.#registry?.endpoint;
  }

  async refresh(signal?: AbortSignal): Promise<AgentSettings> {
    await this.load(signal);
    return this.current();
  }

  /** As `refresh`; tells what happened. Fails only when neither a source nor the cache has settings. */
  async load(signal?: AbortSignal): Promise<LoadOutcome> {
    const [cached, update] = await Promise.all([
      this.#cache.read(),
      readJsonObjectIfPresent(this.#options.paths.updateSettings),
    ]);
    this.#update = update ?? {};
    const options = { patient: cached === undefined, ...(signal ? { signal } : {}) };
    let loaded: LoadedSettings;
    try {
      loaded = await this.#options.loader.load(options);
    } catch (error) {
      signal?.throwIfAborted();
      if (cached === undefined) throw error;
      this.#options.log.warn(
        { reason: messageOf(error) },
        'The settings cannot be fetched; the last good ones are used.',
      );
      this.#settings ??= parseSettings(cached, this.#options.paths.settingsCache);
      return { from: 'cache', changed: false };
    }
    const changed = await this.#cache.write(loaded.document);
    this.#settings = loaded.settings;
    this.#registry = loaded.registry;
    if (changed && loaded.registry) await this.#confirm(loaded.registry, signal);
    return { from: 'source', changed };
  }

  /** The registry may retire the token of a machine that has its settings safe on disk. */
  async #confirm(registry: Registry, signal: AbortSignal | undefined): Promise<void> {
    try {
      await registry.confirm({ patient: false, ...(signal ? { signal } : {}) });
    } catch (error) {
      this.#options.log.warn({ reason: messageOf(error) }, 'The registry did not take the confirmation.');
    }
  }

  async associateDisks(
    associations: readonly { readonly name: string; readonly cid: string }[],
  ): Promise<void> {
    const { trusted_certs: certificates } = this.#update;
    const kept = certificates === undefined ? {} : { trusted_certs: certificates };
    await this.update({ ...kept, disk_associations: associations.map(({ name, cid }) => ({ name, cid })) });
  }

  async update(update: JsonObject): Promise<{ readonly restart: boolean }> {
    const { merged, restart } = mergeUpdate(this.#update, update);
    await this.#options.onUpdate(merged);
    await writeFileDurably(this.#options.paths.updateSettings, JSON.stringify(merged));
    this.#update = merged;
    return { restart };
  }

  /** Addresses that DHCP gave, by network name. */
  resolveNetworks(resolved: Readonly<Record<string, Partial<NetworkSpec>>>): void {
    this.#resolved = resolved;
  }

  /** The key that the cloud lets log in; undefined when no source gives one now. */
  async publicKey(signal?: AbortSignal): Promise<string | undefined> {
    for (const source of this.#options.sources) {
      try {
        const key = await source.readPublicKey({ patient: false, ...(signal ? { signal } : {}) });
        if (key !== undefined) return key;
      } catch (error) {
        signal?.throwIfAborted();
        this.#options.log.debug({ source: source.name, reason: messageOf(error) }, 'No public key there.');
      }
    }
    return undefined;
  }
}
