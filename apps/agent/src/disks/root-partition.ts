import { readdir, readFile, realpath } from 'node:fs/promises';
import { basename, dirname } from 'node:path';

import { MountTable } from '../platform/mount-table.ts';
import { openBlockDevice, partitionName, type BlockDevice } from './block-device.ts';

export interface RootPartition {
  readonly disk: BlockDevice;
  /** Number in the disk's table, from 1. */
  readonly number: number;
  readonly node: string;
}

/** Where the root file system lies; undefined when it is not on a partition of a disk. */
export async function findRootPartition(): Promise<RootPartition | undefined> {
  const root = (await MountTable.read()).at('/');
  if (root === undefined) return undefined;
  const sysfs = await realpath(`/sys/dev/block/${root.device}`).catch(() => undefined);
  if (sysfs === undefined) return undefined;
  const number = Number(await readFile(`${sysfs}/partition`, 'utf8').catch(() => undefined));
  if (!Number.isInteger(number)) return undefined;
  return {
    disk: await openBlockDevice(`/dev/${basename(dirname(sysfs))}`),
    number,
    node: `/dev/${basename(sysfs)}`,
  };
}

/** As the kernel sees the disk. */
export async function hasPartitionsBehind({ disk, number }: RootPartition): Promise<boolean> {
  const sysfs = `/sys/dev/block/${disk.number}`;
  const own = await startOf(`${sysfs}/${partitionName(disk.kernelName, number)}`);
  const names = (await readdir(sysfs)).filter((name) => name.startsWith(disk.kernelName));
  const starts = await Promise.all(names.map((name) => startOf(`${sysfs}/${name}`)));
  return own !== undefined && starts.some((start) => start !== undefined && start > own);
}

async function startOf(partition: string): Promise<number | undefined> {
  const text = await readFile(`${partition}/start`, 'utf8').catch(() => undefined);
  return text === undefined ? undefined : Number(text.trim());
}
