import { access, readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { readTextIfPresent } from './files.ts';

/** True on a machine that systemd brought up. */
export async function isSystemdRunning(): Promise<boolean> {
  return access('/run/systemd/system').then(
    () => true,
    () => false,
  );
}

/** Highest first: where systemd looks for units, those that generators make of init scripts included. */
const unitDirectories = [
  '/etc/systemd/system',
  '/run/systemd/system',
  '/run/systemd/generator',
  '/usr/local/lib/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
  '/run/systemd/generator.late',
];

/** True when systemd has a unit of this name that is not masked. Reads its folders: to ask systemd takes a process. */
export async function hasUnit(unit: string): Promise<boolean> {
  for (const directory of unitDirectories) {
    const file = await realpath(join(directory, unit)).catch(() => undefined);
    if (file !== undefined) return file !== '/dev/null';
  }
  return false;
}

/** Where the groups of units are: one hierarchy, or the one that systemd has beside others. */
const groupDirectories = ['/sys/fs/cgroup', '/sys/fs/cgroup/systemd', '/sys/fs/cgroup/unified'];

/** True when this program runs in the control group of a service; what it started there does not count. */
export async function serviceRuns(unit: string, program: string): Promise<boolean> {
  for (const directory of groupDirectories) {
    const pids = (await readTextIfPresent(join(directory, 'system.slice', unit, 'cgroup.procs'))) ?? '';
    for (const pid of pids.split('\n').filter((line) => line !== '')) {
      const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
      // In parentheses until systemd has executed it.
      if (name.trim().replace(/^\((.*)\)$/, '$1') === program) return true;
    }
  }
  return false;
}
