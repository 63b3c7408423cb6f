import { mkdir, readFile, realpath } from 'node:fs/promises';
import type { DataDisk } from '../../disks/data-disk.ts';
import { DiskNotFound } from '../../disks/errors.ts';
import { MountTable } from '../../platform/mount-table.ts';
import { converge, skipped, type BootstrapStep, type Change } from '../step.ts';

/** The ephemeral disk, or what is left of the root disk, on `data`. */
export function dataDisk(disk: DataDisk): BootstrapStep {
  return {
    name: 'data disk',
    timeoutMs: 3_600_000,
    async run(context) {
      const { paths, runner, signal, linux } = context;
      await mkdir(paths.data, { recursive: true, mode: 0o750 });
      if (linux.SkipDiskSetup) return skipped('agent.json says SkipDiskSetup');
      if (!disk.isNamed && linux.Container) {
        return skipped('the settings name no ephemeral disk; data stays on the root disk');
      }
      if (!disk.isNamed && !linux.CreatePartitionIfNoEphemeralDisk) {
        throw new DiskNotFound('No ephemeral disk found, cannot use root partition as ephemeral disk.', {
          advice:
            'Give the machine an ephemeral disk, or set CreatePartitionIfNoEphemeralDisk in agent.json.',
        });
      }
      if (!(await disk.isPossible(signal))) {
        return skipped('no ephemeral disk, and no room behind the root file system: data stays on it');
      }
      return converge(context, async (): Promise<readonly Change[]> => {
        const nodes = await disk.nodes(signal);
        const mounted = (await MountTable.read()).at(paths.data);
        if (nodes !== undefined && mounted?.device === nodes.dataNumber) return [];
        return [
          {
            what: `prepare and mount the data disk on ${paths.data}`,
            apply: async () => {
              const prepared = await disk.prepare(signal);
              await runner.run(['mount', prepared.data, paths.data], { signal });
            },
          },
        ];
      });
    },
  };
}

/** The swap partition beside it. */
export function swap(disk: DataDisk): BootstrapStep {
  return {
    name: 'swap',
    timeoutMs: 60_000,
    async run(context) {
      const { linux, runner, signal } = context;
      if (linux.Container) return skipped('swap belongs to the host');
      if (linux.SkipDiskSetup) return skipped('agent.json says SkipDiskSetup');
      const nodes = await disk.nodes(signal);
      if (nodes === undefined) return skipped('there is no data disk');
      const device = nodes.swap;
      if (device === undefined) return skipped('the data disk has no swap partition');
      return converge(context, async () => {
        const active = await activeSwaps();
        if (active.includes(await realpath(device))) return [];
        return [
          {
            what: `use ${device} for swap`,
            apply: async () => {
              await runner.run(['swapon', device], { signal });
            },
          },
        ];
      });
    },
  };
}

async function activeSwaps(): Promise<readonly string[]> {
  const text = await readFile('/proc/swaps', 'utf8');
  return text
    .split('\n')
    .slice(1)
    .map((line) => line.split(/\s+/)[0] ?? '');
}
