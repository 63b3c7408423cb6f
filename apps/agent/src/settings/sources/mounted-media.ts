import type { CommandRunner } from '@microbosh/host';
import { messageOf } from '@microbosh/errors';
import { mkdtemp, realpath, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SettingsUnavailable } from '../errors.ts';

/**
 * Mounts a read-only medium on a directory of its own while `use` runs. The medium is never written: not even its
 * journal is replayed.
 */
export async function withMountedMedium<T>(
  runner: CommandRunner,
  device: string,
  use: (directory: string) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const options = { timeoutMs: 30_000, ...(signal ? { signal } : {}) };
  const directory = await mkdtemp(join(tmpdir(), 'microbosh-media-'));
  try {
    const path = await realpath(device);
    await runner.run(['mount', '-o', 'ro,nosuid,nodev,noexec', path, directory], options);
  } catch (error) {
    await rmdir(directory);
    throw new SettingsUnavailable(`${device} cannot be read: ${messageOf(error)}`, { cause: error });
  }
  try {
    return await use(directory);
  } finally {
    await runner.run(['umount', directory], { timeoutMs: 30_000 });
    await rmdir(directory);
  }
}

/** The device with a file system label when nothing made `/dev/disk/by-label` links (no udev). */
export async function deviceByLabel(
  runner: CommandRunner,
  labelPath: string,
  signal?: AbortSignal,
): Promise<string> {
  const label = /^\/dev\/disk\/by-label\/(.+)$/.exec(labelPath)?.[1];
  const exists = await realpath(labelPath).then(
    () => true,
    () => false,
  );
  if (exists || label === undefined) return labelPath;
  const found = await runner.run(['blkid', '-o', 'device', '-t', `LABEL=${label}`], {
    okExitCodes: [0, 2],
    timeoutMs: 10_000,
    ...(signal ? { signal } : {}),
  });
  return found.stdout.split('\n')[0]?.trim() || labelPath;
}
