import { openBlockDevice } from '../../disks/block-device.ts';
import { growFilesystem, growLastPartition } from '../../disks/disk-growth.ts';
import { readFile, realpath } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { MountTable } from '../../platform/mount-table.ts';
import { skipped, type BootstrapStep } from '../step.ts';

/** The root file system takes what the cloud gives beyond the size of the image. */
export const rootDisk: BootstrapStep = {
  name: 'root disk growth',
  timeoutMs: 300_000,
  async run({ linux, runner, signal, settings }) {
    if (linux.Container) return skipped('the root directory belongs to the host');
    if (linux.SkipDiskSetup) return skipped('agent.json says SkipDiskSetup');
    if (linux.CreatePartitionIfNoEphemeralDisk && !settings.current().disks.ephemeral) {
      return skipped('the rest of the root disk is for data');
    }
    const root = (await MountTable.read()).at('/');
    const sysfs =
      root === undefined ? undefined : await realpath(`/sys/dev/block/${root.device}`).catch(() => undefined);
    const number =
      sysfs === undefined ? undefined : await readFile(`${sysfs}/partition`, 'utf8').catch(() => undefined);
    if (sysfs === undefined || number === undefined)
      return skipped('the root file system is not on a partition');
    const node = `/dev/${basename(sysfs)}`;
    const disk = await openBlockDevice(`/dev/${basename(dirname(sysfs))}`);
    const changes = [
      ...((await growLastPartition(runner, disk, signal)) ? [`grow partition ${node}`] : []),
      ...((await growFilesystem(runner, node, '/', signal)) ? [`grow the file system on ${node}`] : []),
    ];
    return changes.length === 0 ? { outcome: 'unchanged' } : { outcome: 'done', changes };
  },
};
