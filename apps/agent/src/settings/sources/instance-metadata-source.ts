import type { SettingsSourceOptions } from '../../config/agent-config.ts';
import { SettingsUnavailable } from '../errors.ts';
import { decodeUserData } from '../settings-document.ts';
import { MetadataClient } from './metadata-client.ts';
import type { MachineData, ReadOptions, SettingsSource } from './settings-source.ts';

type InstanceMetadataOptions = Extract<SettingsSourceOptions, { Type: 'InstanceMetadata' }>;

/** Settings as an attribute of the instance, as Google Compute Engine has them. */
export class InstanceMetadataSource implements SettingsSource {
  readonly name: string;
  readonly needsNetwork = true;
  readonly #options: InstanceMetadataOptions;
  readonly #client: MetadataClient;

  constructor(options: InstanceMetadataOptions) {
    this.#options = options;
    this.name = `InstanceMetadata ${options.URI}`;
    this.#client = new MetadataClient({ uri: options.URI, headers: options.Headers });
  }

  async read(options: ReadOptions): Promise<MachineData> {
    const text = await this.#client.read(this.#options.SettingsPath, options);
    if (text === undefined || text === '') {
      throw new SettingsUnavailable(`${this.name} has no settings at ${this.#options.SettingsPath}.`);
    }
    return { document: decodeUserData(text, this.name) };
  }

  async readPublicKey(): Promise<string | undefined> {
    return undefined;
  }
}
