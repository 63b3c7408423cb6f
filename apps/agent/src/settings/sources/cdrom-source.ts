import type { CommandRunner } from '@microbosh/host';
import { join } from 'node:path';
import type { SettingsSourceOptions } from '../../config/agent-config.ts';
import { readTextIfPresent } from '../../platform/files.ts';
import { readDataFiles } from './data-files.ts';
import { withMountedMedium } from './mounted-media.ts';
import type { MachineData, ReadOptions, SettingsSource } from './settings-source.ts';

type CdromOptions = Extract<SettingsSourceOptions, { Type: 'CDROM' }>;

/** The settings themselves as a file on a CD-ROM, as vSphere and vCloud deliver them. */
export class CdromSource implements SettingsSource {
  readonly name: string;
  readonly needsNetwork = false;
  readonly #options: CdromOptions;
  readonly #runner: CommandRunner;

  constructor(options: CdromOptions, runner: CommandRunner) {
    this.#options = options;
    this.#runner = runner;
    this.name = `CDROM ${options.FileName}`;
  }

  async read(options: ReadOptions): Promise<MachineData> {
    const device = (await firstCdrom()) ?? '/dev/sr0';
    const data = await withMountedMedium(
      this.#runner,
      device,
      (directory) => readDataFiles({ documents: [join(directory, this.#options.FileName)] }, this.name),
      options.signal,
    );
    await this.#eject(device);
    return data;
  }

  async readPublicKey(): Promise<string | undefined> {
    return undefined;
  }

  /** The CPI waits for an open tray before it changes the image; a machine without the program, or a locked tray, is no failure. */
  async #eject(device: string): Promise<void> {
    await this.#runner.run(['eject', device], { timeoutMs: 10_000 }).catch(() => undefined);
  }
}

/** Device named in the kernel's table of CD-ROM drives. */
async function firstCdrom(): Promise<string | undefined> {
  const name = parseCdromInfo((await readTextIfPresent('/proc/sys/dev/cdrom/info')) ?? '');
  return name === undefined ? undefined : `/dev/${name}`;
}

/** @example parseCdromInfo('drive name:\t\tsr1\tsr0\n') === 'sr0' */
export function parseCdromInfo(text: string): string | undefined {
  const names = /^drive name:\s*(.*)$/m.exec(text)?.[1]?.trim().split(/\s+/) ?? [];
  return names.filter((name) => name !== '').sort()[0];
}
