import type { CommandRunner } from '@microbosh/host';
import { flushDevice, openBlockDevice, type BlockDevice } from './block-device.ts';
import { inspectDisk, readFilesystemFacts } from './disk-contents.ts';
import { ensurePartitionNodes } from './partition-nodes.ts';

/** Less than this is not worth a change. */
const minGrowthBytes = 100 << 20;

/**
 * Stretches the last partition of a disk to its end when the disk has grown. True when it did. The table is rewritten
 * as it was, with one size left open; where it starts and what it holds does not change.
 */
export async function growLastPartition(
  runner: CommandRunner,
  device: BlockDevice,
  signal?: AbortSignal,
): Promise<boolean> {
  const { table } = await inspectDisk(runner, device, signal);
  const last = table?.partitions.toSorted((a, b) => a.startSector - b.startSector).at(-1);
  if (table === undefined || last === undefined) return false;
  const endBytes = (last.startSector + last.sectors) * table.sectorBytes;
  if (device.sizeBytes - endBytes < minGrowthBytes) return false;

  const options = { timeoutMs: 60_000, ...(signal ? { signal } : {}) };
  const dump = await runner.run(['sfdisk', '--dump', device.path], options);
  await runner.run(
    [
      'sfdisk',
      '--quiet',
      '--no-reread',
      '--no-tell-kernel',
      '--wipe',
      'never',
      '--wipe-partitions',
      'never',
      device.path,
    ],
    { ...options, stdin: stretchDump(dump.stdout, last.number) },
  );
  await flushDevice(device.path);
  const after = await inspectDisk(runner, device, signal);
  if (after.table) await ensurePartitionNodes(runner, device, after.table, signal);
  return true;
}

/** The dump without the end of the disk and the size of one partition: sfdisk fills both in anew. */
export function stretchDump(dump: string, partition: number): string {
  return dump
    .split('\n')
    .filter((line) => !line.startsWith('last-lba:'))
    .map((line) => {
      const number = /^\S*?(\d+) : /.exec(line)?.[1];
      return number !== undefined && Number(number) === partition ? line.replace(/size=\s*\d+, /, '') : line;
    })
    .join('\n');
}

/** Stretches a mounted file system to the end of its partition when that is larger. True when it did. */
export async function growFilesystem(
  runner: CommandRunner,
  node: string,
  mountPoint: string,
  signal?: AbortSignal,
): Promise<boolean> {
  const [facts, device] = await Promise.all([readFilesystemFacts(node), openBlockDevice(node)]);
  if (facts === undefined || device.sizeBytes - facts.sizeBytes < minGrowthBytes) return false;
  const options = { timeoutMs: 3_600_000, ...(signal ? { signal } : {}) };
  if (facts.type === 'xfs') await runner.run(['xfs_growfs', '-d', mountPoint], options);
  else await runner.run(['resize2fs', node], options);
  return true;
}

/** Stretches an ext4 file system that is not mounted, after checking it. */
export async function growUnmountedFilesystem(
  runner: CommandRunner,
  node: string,
  signal?: AbortSignal,
): Promise<void> {
  const options = { timeoutMs: 3_600_000, ...(signal ? { signal } : {}) };
  await runner.run(['e2fsck', '-f', '-p', node], { ...options, okExitCodes: [0, 1] });
  await runner.run(['resize2fs', node], options);
}
