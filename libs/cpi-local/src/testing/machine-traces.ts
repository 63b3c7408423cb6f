import { readFile, readdir } from 'node:fs/promises';
import { NodeCommandRunner } from '@microbosh/host';
import { groupName } from '../control-groups.ts';

/** What a VM may leave on a machine, by kind; two looks are compared. */
export type MachineTraces = Readonly<Record<string, readonly string[]>>;

/** Looks only at what bears the marks of one root directory, so that tests beside this one do not count. */
export async function tracesOf(rootDir: string): Promise<MachineTraces> {
  const runner = new NodeCommandRunner();
  const output = async (argv: readonly [string, ...string[]]) =>
    (await runner.run(argv)).stdout.split('\n').filter((line) => line !== '');
  const links = await output(['ip', '-details', '-oneline', 'link', 'show']);
  return {
    mounts: (await readFile('/proc/self/mounts', 'utf8'))
      .split('\n')
      .filter((line) => line.includes(rootDir)),
    loops: (await output(['losetup', '--list', '--noheadings', '--output', 'NAME,BACK-FILE'])).filter(
      (line) => line.includes(rootDir),
    ),
    links: links.filter((line) => line.includes(`alias microbosh ${rootDir} `) || line.endsWith(rootDir)),
    processes: await processesNaming(rootDir),
    controlGroups: await controlGroups(groupName(rootDir, '')),
  };
}

async function processesNaming(rootDir: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
    if (environment.includes(`MICROBOSH_LOCAL_VM=${rootDir}/`)) found.push(pid);
  }
  return found;
}

async function controlGroups(prefix: string): Promise<string[]> {
  const found: string[] = [];
  for (const mount of (await readFile('/proc/self/mounts', 'utf8')).split('\n')) {
    const [, path, type] = mount.split(' ');
    if (path === undefined || (type !== 'cgroup' && type !== 'cgroup2')) continue;
    for (const name of await readdir(path)) if (name.startsWith(prefix)) found.push(`${path}/${name}`);
  }
  return found.sort();
}
