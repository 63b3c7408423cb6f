import { join } from 'node:path';
import { groupId } from '../../platform/accounts.ts';
import { MountTable } from '../../platform/mount-table.ts';
import { wantBindMount } from '../../platform/mounts.ts';
import { wantDirectory, wantOwnership } from '../../platform/wanted-files.ts';
import { converge, type BootstrapStep } from '../step.ts';

/** /tmp and /var/tmp on the data disk, where nothing is executed, and the agent's own directory for temporary files. */
export const tmp: BootstrapStep = {
  name: 'tmp',
  timeoutMs: 30_000,
  async run(context) {
    const { paths, runner, linux } = context;
    const gid = await groupId('vcap');
    const own = join(paths.data, 'tmp');
    const shared = join(paths.data, 'root_tmp');
    const flags = ['nodev', 'nosuid', 'noexec'];
    const result = await converge(context, async () => {
      const directories = [
        ...(await wantDirectory(own, { mode: 0o755 })),
        ...(linux.UseDefaultTmpDir ? [] : await wantDirectory(shared, { mode: 0o1777, gid })),
      ];
      if (linux.UseDefaultTmpDir) {
        return [
          ...directories,
          ...(await wantOwnership('/tmp', { mode: 0o1777, gid })),
          ...(await wantOwnership('/var/tmp', { mode: 0o1777, gid })),
        ];
      }
      if (directories.length > 0) return directories;
      const table = await MountTable.read();
      return [
        ...(await wantBindMount(runner, table, { source: shared, target: '/tmp', flags })),
        ...(await wantBindMount(runner, table, { source: shared, target: '/var/tmp', flags })),
      ];
    });
    process.env['TMPDIR'] = own;
    return result;
  },
};
