import { lstat, mkdtemp, readFile, readdir, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A folder for what this process needs while it runs. */
export interface ProcessFolder {
  readonly path: string;
  readonly remove: () => Promise<void>;
}

/**
 * Makes `<parent>/microbosh-<name>-<owner>-XXXXXX`, mode 0700, and removes those that killed processes left there. The
 * owner is the process: its namespace of process ids, its id and when it started, so that no later process is taken for it.
 */
export async function processFolder(name: string, parent: string = tmpdir()): Promise<ProcessFolder> {
  const [namespace, start] = await Promise.all([pidNamespace(), startOf(process.pid)]);
  await removeOrphans(parent, namespace);
  const owner = `${namespace}.${process.pid}.${start ?? 0}`;
  const path = await mkdtemp(join(parent, `microbosh-${name}-${owner}-`));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

const pattern = /^microbosh-[a-z]+-(?<namespace>\d+)\.(?<pid>\d+)\.(?<start>\d+)-\w{6}$/;

/** What cannot be removed stays: it is in nobody's way. */
async function removeOrphans(parent: string, namespace: string): Promise<void> {
  for (const entry of await readdir(parent).catch(() => [])) {
    const { groups } = pattern.exec(entry) ?? {};
    // Processes of other namespaces, as containers have them, cannot be seen from here.
    if (groups?.['namespace'] !== namespace) continue;
    if ((await startOf(Number(groups['pid']))) === groups['start']) continue;
    const path = join(parent, entry);
    const found = await lstat(path).catch(() => undefined);
    if (found?.isDirectory() !== true || found.uid !== process.getuid?.()) continue;
    await rm(path, { recursive: true, force: true }).catch(() => undefined);
  }
}

async function pidNamespace(): Promise<string> {
  const link = await readlink('/proc/self/ns/pid').catch(() => '');
  return /\d+/.exec(link)?.[0] ?? '0';
}

/** Clock ticks from the boot of the machine to the start of the process; undefined: there is none. */
async function startOf(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  // The name, in parentheses, may hold anything.
  return text?.slice(text.lastIndexOf(')') + 2).split(' ')[19];
}
