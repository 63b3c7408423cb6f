import type { CommandRunner } from '@microbosh/host';
import { mkdir } from 'node:fs/promises';
import type { Change } from '../bootstrap/step.ts';
import type { MountTable } from './mount-table.ts';

export interface BindMount {
  readonly source: string;
  readonly target: string;
  /** Flags of the mount, for example nodev, nosuid, noexec. */
  readonly flags: readonly string[];
}

/** Changes that mount `source` over `target`, or give the mount the flags that it lacks. */
export async function wantBindMount(
  runner: CommandRunner,
  table: MountTable,
  mount: BindMount,
): Promise<readonly Change[]> {
  const found = table.at(mount.target);
  if (found === undefined) {
    return [
      {
        what: `mount ${mount.source} on ${mount.target}`,
        apply: async () => {
          await mkdir(mount.target, { recursive: true });
          await runner.run(['mount', '-o', ['bind', ...mount.flags].join(','), mount.source, mount.target]);
        },
      },
    ];
  }
  return wantMountFlags(runner, table, mount.target, mount.flags);
}

/** Changes that add flags to what is mounted at `target`; none when nothing is. */
export function wantMountFlags(
  runner: CommandRunner,
  table: MountTable,
  target: string,
  flags: readonly string[],
): readonly Change[] {
  const found = table.at(target);
  if (found === undefined) return [];
  if (flags.every((flag) => found.options.includes(flag))) return [];
  const keep = found.options.filter((option) =>
    ['ro', 'nodev', 'nosuid', 'noexec', 'noatime'].includes(option),
  );
  const options = [...new Set(['remount', 'bind', ...keep, ...flags])].join(',');
  return [
    {
      what: `remount ${target} with ${flags.join(', ')}`,
      apply: async () => {
        await runner.run(['mount', '-o', options, target]);
      },
    },
  ];
}

/** Changes that put a tmpfs on a directory. */
export function wantTmpfs(
  runner: CommandRunner,
  table: MountTable,
  options: { readonly target: string; readonly size: string; readonly mode: number; readonly gid: number },
): readonly Change[] {
  const found = table.at(options.target);
  if (found?.fsType === 'tmpfs') return [];
  const settings = `size=${options.size},mode=${options.mode.toString(8)},gid=${options.gid}`;
  return [
    {
      what: `mount a tmpfs on ${options.target}`,
      apply: async () => {
        await mkdir(options.target, { recursive: true });
        await runner.run(['mount', '-t', 'tmpfs', '-o', settings, 'tmpfs', options.target]);
      },
    },
  ];
}
