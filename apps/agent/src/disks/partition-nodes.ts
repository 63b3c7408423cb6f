import type { CommandRunner } from '@microbosh/host';
import { readFile, stat, unlink } from 'node:fs/promises';
import { basename } from 'node:path';
import {
  deviceNumber,
  partitionName,
  readProcPartitions,
  settleNodes,
  type BlockDevice,
} from './block-device.ts';
import type { Partition, PartitionTable } from './disk-contents.ts';
import { DiskOperationFailed } from './errors.ts';

/**
 * Makes the kernel and /dev know the partitions of a table as it stands on the disk, and answers their nodes. Kernels
 * without a parser for the table, and machines without udev, do neither by themselves.
 */
export async function ensurePartitionNodes(
  runner: CommandRunner,
  device: BlockDevice,
  table: PartitionTable,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const options = { timeoutMs: 30_000, ...(signal ? { signal } : {}) };
  await settleNodes(runner, signal);
  let known = await kernelKnows(device, table);
  // A new disk needs no more than the first. Partitions of a disk that was attached to this device before are in the way of
  // it, and of an update.
  for (const change of [['--add'], ['--update'], ['--delete', '--add']]) {
    if (known) break;
    for (const option of change) {
      await runner.run(['partx', option, device.path], { ...options, okExitCodes: [0, 1] });
    }
    known = await kernelKnows(device, table);
  }
  if (!known) {
    throw new DiskOperationFailed(`The kernel does not take the partitions of ${device.path}.`, {
      advice: 'Is one of them mounted? Unmount it, and try again.',
    });
  }
  await settleNodes(runner, signal);
  const nodes: string[] = [];
  for (const partition of table.partitions) nodes.push(await ensureNode(runner, device, partition));
  return nodes;
}

async function ensureNode(runner: CommandRunner, device: BlockDevice, partition: Partition): Promise<string> {
  const number = await kernelNumber(device, partition);
  if (number === undefined)
    throw new DiskOperationFailed(`${device.path} has no partition ${partition.number}.`);
  const path = partitionName(device.path, partition.number);
  const found = await stat(path).catch(() => undefined);
  if (found?.isBlockDevice() === true && deviceNumber(found.rdev) === number) return path;
  // A node of another device under this name would be the wrong disk.
  if (found !== undefined) await unlink(path);
  const [major = '', minor = ''] = number.split(':');
  await runner.run(['mknod', '-m', '0660', path, 'b', major, minor]);
  return path;
}

async function kernelKnows(device: BlockDevice, table: PartitionTable): Promise<boolean> {
  const known = await Promise.all(
    table.partitions.map(async (partition) => {
      const sysfs = `/sys/dev/block/${device.number}/${partitionName(device.kernelName, partition.number)}`;
      const [start, size] = await Promise.all([readNumber(`${sysfs}/start`), readNumber(`${sysfs}/size`)]);
      if (start === undefined || size === undefined) {
        // Without sysfs only the name is to be seen; then the update is always made.
        return false;
      }
      const unit = table.sectorBytes / 512;
      return start === partition.startSector * unit && size === partition.sectors * unit;
    }),
  );
  return known.every((each) => each);
}

async function kernelNumber(device: BlockDevice, partition: Partition): Promise<string | undefined> {
  const name = partitionName(device.kernelName, partition.number);
  const text = await readFile(`/sys/dev/block/${device.number}/${name}/dev`, 'utf8').catch(() => undefined);
  if (text !== undefined) return text.trim();
  for (const [number, kernelName] of await readProcPartitions())
    if (kernelName === basename(name)) return number;
  return undefined;
}

async function readNumber(path: string): Promise<number | undefined> {
  const text = await readFile(path, 'utf8').catch(() => undefined);
  return text === undefined ? undefined : Number(text.trim());
}
