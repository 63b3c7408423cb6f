import type { LinuxPersistentDisks } from '../../disks/persistent-disks.ts';
import { MountTable } from '../../platform/mount-table.ts';
import { converge, skipped, type BootstrapStep } from '../step.ts';
import { readTextIfPresent } from '../../platform/files.ts';

/** The disk that was on `store` when the machine stopped; also finishes or gives up an interrupted migration. */
export function persistentDisk(disks: LinuxPersistentDisks): BootstrapStep {
  return {
    name: 'persistent disk',
    timeoutMs: 3_600_000,
    async run(context) {
      const { paths, signal } = context;
      const interrupted = () => readTextIfPresent(paths.diskMigration);
      if ((await disks.lastMounted()) === undefined && (await interrupted()) === undefined) {
        return skipped('no disk has been mounted on this machine yet');
      }
      return converge(context, async () => {
        const mounted = (await MountTable.read()).at(paths.store) !== undefined;
        if (mounted && (await interrupted()) === undefined) return [];
        return [
          {
            what: `bring the persistent disk to ${paths.store}`,
            apply: async () => {
              await disks.restore(signal);
            },
          },
        ];
      });
    },
  };
}
