import { cp, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { accountOf, groupId } from '../../platform/accounts.ts';
import { MountTable } from '../../platform/mount-table.ts';
import { wantBindMount } from '../../platform/mounts.ts';
import { wantDirectory, wantFile, wantOwnership } from '../../platform/wanted-files.ts';
import { converge, skipped, type BootstrapStep, type Change } from '../step.ts';

/** /var/log, /opt and /var/opt on the data disk, so that they cannot fill the root disk; /home without set-id programs. */
export const systemDirectories: BootstrapStep = {
  name: 'system directories',
  timeoutMs: 120_000,
  async run(context) {
    const { paths, runner, linux } = context;
    if (linux.Container) return skipped('the root directory of a namespace VM is on a disk of the host');
    const [syslog, utmp, chrony] = await Promise.all([
      groupId('syslog', 'adm'),
      groupId('utmp'),
      accountOf('_chrony'),
    ]);
    const binds = [
      {
        source: 'root_log',
        target: '/var/log',
        flags: ['nodev', 'nosuid', 'noexec'],
        mode: 0o771,
        gid: syslog,
      },
      { source: 'root_opt', target: '/opt', flags: ['nodev'], mode: 0o755, gid: 0 },
      { source: 'root_var_opt', target: '/var/opt', flags: ['nodev'], mode: 0o755, gid: 0 },
    ];
    return converge(context, async () => {
      const table = await MountTable.read();
      const changes: Change[] = [];
      for (const bind of binds) {
        const source = join(paths.data, bind.source);
        if (table.at(bind.target) === undefined) changes.push(...(await wantCopy(bind.target, source)));
        changes.push(...(await wantDirectory(source, { mode: bind.mode, gid: bind.gid })));
        changes.push(...(await wantBindMount(runner, table, { ...bind, source })));
      }
      changes.push(
        ...(await wantBindMount(runner, table, {
          source: '/home',
          target: '/home',
          flags: ['nodev', 'nosuid'],
        })),
      );
      if (changes.length > 0) return changes;
      return [
        ...(await wantDirectory('/var/log/audit', { mode: 0o750 })),
        ...(await wantDirectory('/var/log/sysstat', { mode: 0o755 })),
        ...(chrony === undefined
          ? []
          : await wantDirectory('/var/log/chrony', { mode: 0o700, uid: chrony.uid, gid: chrony.gid })),
        ...(await wantLoginRecords(utmp)),
      ];
    });
  },
};

/** What the image has there is not hidden: it is copied once, before the directory is covered. */
async function wantCopy(from: string, to: string): Promise<readonly Change[]> {
  const [held, copied] = await Promise.all([entries(from), entries(to)]);
  if (held.length === 0 || copied.length > 0) return [];
  return [
    {
      what: `copy ${from} to ${to}`,
      apply: () => cp(from, to, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true }),
    },
  ];
}

async function wantLoginRecords(gid: number): Promise<readonly Change[]> {
  const files = [
    { path: '/var/log/btmp', mode: 0o600 },
    { path: '/var/log/wtmp', mode: 0o664 },
    { path: '/var/log/lastlog', mode: 0o664 },
  ];
  const changes = await Promise.all(
    files.map(async ({ path, mode }) => {
      const exists = await stat(path).catch(() => undefined);
      return exists ? wantOwnership(path, { mode, gid }) : wantFile(path, '', { mode, gid });
    }),
  );
  return changes.flat();
}

async function entries(path: string): Promise<readonly string[]> {
  return readdir(path).catch(() => []);
}
