import { inspectDisk } from '../../disks/disk-contents.ts';
import { growFilesystem, growLastPartition } from '../../disks/disk-growth.ts';
import { findRootPartition, hasPartitionsBehind } from '../../disks/root-partition.ts';
import { skipped, type BootstrapStep } from '../step.ts';

/** The root file system takes what the cloud gives beyond the size of the image, unless the data partitions have it. */
export const rootDisk: BootstrapStep = {
  name: 'root disk growth',
  timeoutMs: 300_000,
  async run({ linux, runner, signal }) {
    if (linux.Container) return skipped('the root directory belongs to the host');
    if (linux.SkipDiskSetup) return skipped('agent.json says SkipDiskSetup');
    const root = await findRootPartition();
    if (root === undefined) return skipped('the root file system is not on a partition');
    const behind = 'other partitions lie behind the root file system';
    // What the kernel knows is enough to leave the partition alone; to change it takes the table itself.
    if (await hasPartitionsBehind(root)) return skipped(behind);
    const { disk, node } = root;
    const partitions = (await inspectDisk(runner, disk, signal)).table?.partitions ?? [];
    const own = partitions.find((partition) => partition.number === root.number);
    if (partitions.some((partition) => partition.startSector > (own?.startSector ?? 0))) {
      return skipped(behind);
    }
    const changes = [
      ...((await growLastPartition(runner, disk, signal)) ? [`grow partition ${node}`] : []),
      ...((await growFilesystem(runner, node, '/', signal)) ? [`grow the file system on ${node}`] : []),
    ];
    return changes.length === 0 ? { outcome: 'unchanged' } : { outcome: 'done', changes };
  },
};
