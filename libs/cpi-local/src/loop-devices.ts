import { readdir, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode } from '@microbosh/errors';
import type { CommandRunner } from '@microbosh/host';
import { LocalResourceBusy } from './local-errors.ts';

export interface LoopDevice {
  /** `/dev/loop3`. */
  readonly path: string;
  readonly major: number;
  readonly minor: number;
}

/**
 * Image files as block devices. One file never gets two devices: two mounts of one image through two devices destroy it.
 */
export class LoopDevices {
  readonly #runner: CommandRunner;

  constructor(runner: CommandRunner) {
    this.#runner = runner;
  }

  /** Attached devices of the file, found by device and inode number. */
  async find(file: string): Promise<string[]> {
    if (!(await exists(file))) return [];
    const { stdout } = await this.#runner.run([
      'losetup',
      '--associated',
      file,
      '--noheadings',
      '--output',
      'NAME',
    ]);
    return stdout
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '');
  }

  async attach(file: string): Promise<LoopDevice> {
    const [existing] = await this.find(file);
    const path = existing ?? (await this.#attachNew(file));
    const { rdev } = await stat(path);
    return { path, major: Math.floor(rdev / 256) % 4096, minor: rdev % 256 };
  }

  /** Returns when no device has the file any more, or throws LocalResourceBusy. */
  async detach(file: string): Promise<void> {
    const deadline = Date.now() + 10_000;
    for (;;) {
      const paths = await this.find(file);
      if (paths.length === 0) return;
      if (Date.now() > deadline) {
        throw new LocalResourceBusy(`${paths.join(', ')} does not let go of ${file}`, {
          advice: 'Something has it mounted or open; unmount it and run the command again.',
        });
      }
      for (const path of paths) {
        await this.#dropPartitions(path);
        // Busy or already gone: the next look decides.
        await this.#runner.run(['losetup', '--detach', path], { okExitCodes: [0, 1] });
      }
      if ((await this.find(file)).length > 0) await sleep(20);
    }
  }

  async #attachNew(file: string): Promise<string> {
    const { stdout } = await this.#runner.run(['losetup', '--find', '--show', '--nooverlap', file]);
    const path = stdout.trim();
    // Partitions that were added by hand stay in the kernel's table when a device changes its file.
    await this.#dropPartitions(path);
    return path;
  }

  async #dropPartitions(path: string): Promise<void> {
    const name = basename(path);
    const entries = await readdir(`/sys/block/${name}`);
    if (entries.some((entry) => entry.startsWith(`${name}p`))) {
      await this.#runner.run(['partx', '--delete', path], { okExitCodes: [0, 1] });
    }
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false;
    throw error;
  }
}
