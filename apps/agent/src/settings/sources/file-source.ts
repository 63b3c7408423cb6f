import type { SettingsSourceOptions } from '../../config/agent-config.ts';
import { readDataFiles, readPublicKeyFile, type DataFiles } from './data-files.ts';
import type { MachineData, SettingsSource } from './settings-source.ts';

type FileSourceOptions = Extract<SettingsSourceOptions, { Type: 'File' }>;

/** Files that were put into the image or into the root directory of a namespace VM. */
export class FileSource implements SettingsSource {
  readonly name: string;
  readonly needsNetwork = false;
  readonly #files: DataFiles;

  constructor(options: FileSourceOptions) {
    const documents = [options.UserDataPath, options.SettingsPath].filter((path) => path !== '');
    this.name = `File ${documents[0] ?? ''}`;
    this.#files = {
      documents,
      ...(options.MetaDataPath === '' ? {} : { metaData: options.MetaDataPath }),
    };
  }

  async read(): Promise<MachineData> {
    return readDataFiles(this.#files, this.name);
  }

  async readPublicKey(): Promise<string | undefined> {
    return readPublicKeyFile(this.#files.metaData);
  }
}
