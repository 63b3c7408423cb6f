import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileDurably, type CommandRunner } from '@microbosh/host';
import type { Layout } from '../layout.ts';

/** Job logs rotate by size; a machine without logrotate.d has nothing that would read the file. */
export async function writeLogrotate(
  layout: Layout,
  runner: CommandRunner,
  maxSize: string,
  dir = '/etc/logrotate.d',
): Promise<void> {
  const present = async (path: string) =>
    access(path).then(
      () => true,
      () => false,
    );
  if (layout.base !== '/var/vcap' || !(await present(dir))) return;
  const content = logrotateFile(layout.logs, maxSize);
  const path = join(dir, 'vcap');
  if ((await readFile(path, 'utf8').catch(() => '')) === content) return;
  await writeFileDurably(path, content, { mode: 0o644 });
  const setup = join(layout.bosh, 'bin', 'setup-logrotate.sh');
  // Its failure is no failure of the apply, as in the original.
  if (await present(setup)) await runner.run([setup], { timeoutMs: 60_000 }).catch(() => undefined);
}

/**
 * `su`: without it logrotate leaves alone what lies in directories that the group of the jobs can write to, which is all of it.
 *
 * @example logrotateFile('/var/vcap/data/sys/log', '').includes('size=50M')
 */
export function logrotateFile(logs: string, maxSize: string): string {
  const globs = ['', '*/', '*/*/'].flatMap((level) => [`${logs}/${level}*.log`, `${logs}/${level}.*.log`]);
  const size = maxSize === '' ? '50M' : maxSize;
  return `# Written by the agent\n${globs.join(' ')} {\n  su root root\n  missingok\n  rotate 7\n  compress\n  copytruncate\n  size=${size}\n}\n`;
}
