import { MountTable } from '../../platform/mount-table.ts';
import { wantMountFlags } from '../../platform/mounts.ts';
import { converge, type BootstrapStep } from '../step.ts';

/** Nothing in shared memory is executed. */
export const sharedMemory: BootstrapStep = {
  name: 'shared memory',
  timeoutMs: 10_000,
  async run(context) {
    return converge(context, async () => {
      const table = await MountTable.read();
      return ['/dev/shm', '/run/shm'].flatMap((target) =>
        wantMountFlags(context.runner, table, target, ['noexec', 'nodev', 'nosuid']),
      );
    });
  },
};
