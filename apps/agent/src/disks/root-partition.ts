import { readFile, realpath } from 'node:fs/promises';
import { basename, dirname } from 'node:path';

import { MountTable } from '../platform/mount-table.ts';
import { openBlockDevice, type BlockDevice } from './block-device.ts';

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
