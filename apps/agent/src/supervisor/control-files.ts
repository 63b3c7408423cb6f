import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode } from '@microbosh/errors';
import { writeFileDurably } from '@microbosh/host';
import type { Layout } from '../layout.ts';

/**
 * Puts the control files of the enabled jobs where the supervisor reads them: jobs in reverse order, index from 0,
 * `monit` → `<index>_<job>.monitrc`, `<x>.monit` → `<index>_<job>_<x>.monitrc`, copied as they are.
 */
export async function writeControlFiles(layout: Layout, jobs: readonly string[]): Promise<void> {
  const wanted = new Map<string, string>();
  const ordered = [...jobs].reverse();
  for (const [index, job] of ordered.entries()) {
    const prefix = `${String(index).padStart(4, '0')}_${job}`;
    const dir = join(layout.jobs, job);
    for (const name of await namesIn(dir)) {
      if (name === 'monit') wanted.set(`${prefix}.monitrc`, await readFile(join(dir, name), 'utf8'));
      else if (name.endsWith('.monit')) {
        wanted.set(
          `${prefix}_${name.slice(0, -'.monit'.length)}.monitrc`,
          await readFile(join(dir, name), 'utf8'),
        );
      }
    }
  }
  await mkdir(layout.monitJobs, { recursive: true, mode: 0o700 });
  for (const name of await namesIn(layout.monitJobs)) {
    if (!wanted.has(name)) await rm(join(layout.monitJobs, name), { force: true });
  }
  for (const [name, content] of wanted) {
    const path = join(layout.monitJobs, name);
    if ((await readFile(path, 'utf8').catch(() => undefined)) === content) continue;
    await writeFileDurably(path, content, { mode: 0o600 });
  }
}

/** Content of every control file, by name. */
export async function readControlFiles(layout: Layout): Promise<ReadonlyMap<string, string>> {
  const files = new Map<string, string>();
  for (const name of (await namesIn(layout.monitJobs)).filter((file) => file.endsWith('.monitrc')).sort()) {
    files.set(name, await readFile(join(layout.monitJobs, name), 'utf8'));
  }
  return files;
}

async function namesIn(dir: string): Promise<readonly string[]> {
  try {
    return (await readdir(dir)).filter((name) => !name.startsWith('.'));
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR') return [];
    throw error;
  }
}
