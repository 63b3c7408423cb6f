import { messageOf } from '@microbosh/errors';
import type { CommandRunner } from '@microbosh/host';
import { join } from 'node:path';
import type { SettingsSourceOptions } from '../../config/agent-config.ts';
import { SettingsUnavailable } from '../errors.ts';
import { readDataFiles, readPublicKeyFile } from './data-files.ts';
import { deviceByLabel, withMountedMedium } from './mounted-media.ts';
import type { MachineData, ReadOptions, SettingsSource } from './settings-source.ts';

type ConfigDriveOptions = Extract<SettingsSourceOptions, { Type: 'ConfigDrive' }>;

/** A small disk or CD-ROM with the user data and meta data as files. */
export class ConfigDriveSource implements SettingsSource {
  readonly name: string;
  readonly needsNetwork = false;
  readonly #options: ConfigDriveOptions;
  readonly #runner: CommandRunner;
  /** As it was on the drive when that was read: mounting it twice at each start takes time. */
  #publicKey: { readonly value: string | undefined } | undefined;

  constructor(options: ConfigDriveOptions, runner: CommandRunner) {
    this.#options = options;
    this.#runner = runner;
    this.name = `ConfigDrive ${options.DiskPaths.join(', ')}`;
  }

  async read(options: ReadOptions): Promise<MachineData> {
    const paths = [this.#options.UserDataPath, this.#options.SettingsPath].filter((path) => path !== '');
    return this.#onFirstDrive(options, async (directory) => {
      const metaData =
        this.#options.MetaDataPath === '' ? undefined : join(directory, this.#options.MetaDataPath);
      this.#publicKey = { value: await readPublicKeyFile(metaData) };
      return readDataFiles(
        {
          documents: paths.map((path) => join(directory, path)),
          ...(metaData === undefined ? {} : { metaData }),
        },
        this.name,
      );
    });
  }

  async readPublicKey(options: ReadOptions): Promise<string | undefined> {
    if (this.#options.MetaDataPath === '') return undefined;
    if (this.#publicKey !== undefined) return this.#publicKey.value;
    return this.#onFirstDrive(options, (directory) =>
      readPublicKeyFile(join(directory, this.#options.MetaDataPath)),
    );
  }

  async #onFirstDrive<T>(options: ReadOptions, use: (directory: string) => Promise<T>): Promise<T> {
    const problems: string[] = [];
    for (const path of this.#options.DiskPaths) {
      try {
        const device = await deviceByLabel(this.#runner, path, options.signal);
        return await withMountedMedium(this.#runner, device, use, options.signal);
      } catch (error) {
        options.signal?.throwIfAborted();
        problems.push(messageOf(error));
      }
    }
    throw new SettingsUnavailable(
      `No config drive has settings: ${problems.join('; ') || 'none is configured'}`,
    );
  }
}
