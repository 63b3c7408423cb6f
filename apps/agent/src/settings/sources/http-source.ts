import type { SettingsSourceOptions } from '../../config/agent-config.ts';
import { SettingsUnavailable } from '../errors.ts';
import { decodeUserData } from '../settings-document.ts';
import { MetadataClient } from './metadata-client.ts';
import type { MachineData, ReadOptions, SettingsSource } from './settings-source.ts';

type HttpSourceOptions = Extract<SettingsSourceOptions, { Type: 'HTTP' }>;

/** The metadata service of EC2, OpenStack and their kin. */
export class HttpSource implements SettingsSource {
  readonly name: string;
  readonly needsNetwork = true;
  readonly #options: HttpSourceOptions;
  readonly #client: MetadataClient;

  constructor(options: HttpSourceOptions) {
    this.#options = options;
    this.name = `HTTP ${options.URI}`;
    this.#client = new MetadataClient({
      uri: options.URI,
      headers: options.Headers,
      ...(options.TokenPath === '' ? {} : { tokenPath: options.TokenPath }),
    });
  }

  async read(options: ReadOptions): Promise<MachineData> {
    const text = await this.#client.read(this.#options.UserDataPath, options);
    if (text === undefined || text === '') {
      throw new SettingsUnavailable(`The metadata service ${this.#options.URI} has no user data.`);
    }
    const instanceId =
      this.#options.InstanceIDPath === ''
        ? undefined
        : await this.#client.read(this.#options.InstanceIDPath, options);
    return {
      document: decodeUserData(text, this.name),
      ...(instanceId === undefined || instanceId === '' ? {} : { instanceId: instanceId.trim() }),
    };
  }

  async readPublicKey(options: ReadOptions): Promise<string | undefined> {
    if (this.#options.SSHKeysPath === '') return undefined;
    const key = await this.#client.read(this.#options.SSHKeysPath, options);
    return key === undefined || key.trim() === '' ? undefined : key.trim();
  }
}
