import { groupId } from '../../platform/accounts.ts';
import { removeFileDurably, statIfPresent } from '../../platform/files.ts';
import { wantFile, wantOwnership } from '../../platform/wanted-files.ts';
import { converge, type BootstrapStep, type Change } from '../step.ts';

const cronFiles = [
  '/etc/crontab',
  '/etc/cron.hourly',
  '/etc/cron.daily',
  '/etc/cron.weekly',
  '/etc/cron.monthly',
  '/etc/cron.d',
];

/** Only vcap may schedule, and devices and lock directories are not for everybody. */
export const hardening: BootstrapStep = {
  name: 'hardening',
  timeoutMs: 10_000,
  async run(context) {
    const gid = await groupId('vcap');
    return converge(context, async () => {
      const changes = await Promise.all([
        wantFile('/etc/cron.allow', 'vcap\n', { mode: 0o640, gid }),
        wantFile('/etc/at.allow', 'vcap\n', { mode: 0o640, gid }),
        wantAbsent('/etc/cron.deny'),
        wantAbsent('/etc/at.deny'),
        ...cronFiles.map(async (path) => {
          const mode = (await statIfPresent(path))?.mode ?? 0;
          return wantOwnership(path, { mode: mode & 0o700 });
        }),
        wantOwnership('/dev/sr0', { mode: 0o660 }),
        wantOwnership('/dev/log', { mode: 0o660, gid }),
        wantOwnership('/dev/shm', { mode: 0o770, gid }),
        wantOwnership('/var/lock', { mode: 0o770, gid }),
      ]);
      return changes.flat();
    });
  },
};

async function wantAbsent(path: string): Promise<readonly Change[]> {
  if ((await statIfPresent(path)) === undefined) return [];
  return [
    {
      what: `remove ${path}`,
      apply: async () => {
        await removeFileDurably(path);
      },
    },
  ];
}
