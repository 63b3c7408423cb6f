import { readFile, readdir } from 'node:fs/promises';

export interface ProcessFacts {
  readonly pid: number;
  readonly ppid: number;
  /** In clock ticks since boot: tells two processes of the same pid apart. */
  readonly startTicks: number;
  readonly cpuTicks: number;
  readonly rssKb: number;
}

const ticksPerSecond = 100;
const pageKb = 4;

/** Facts of a living process; undefined when it is gone or a zombie. */
export async function processFacts(pid: number): Promise<ProcessFacts | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  // The name in parentheses may contain anything, also parentheses.
  const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ');
  if (!fields || fields[0] === 'Z' || fields[0] === 'X') return undefined;
  const number = (index: number) => Number(fields[index] ?? 0);
  return {
    pid,
    ppid: number(1),
    cpuTicks: number(11) + number(12),
    startTicks: number(19),
    rssKb: number(21) * pageKb,
  };
}

/** The pid that a pid file names; undefined when there is none, or the process is gone. */
export async function processOfPidFile(path: string): Promise<ProcessFacts | undefined> {
  const text = await readFile(path, 'utf8').catch(() => '');
  const pid = /^\s*(\d{1,9})/.exec(text)?.[1];
  return pid === undefined || Number(pid) < 1 ? undefined : processFacts(Number(pid));
}

/** The oldest process whose command line matches. */
export async function processMatching(pattern: string): Promise<ProcessFacts | undefined> {
  const expression = new RegExp(pattern);
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    const command = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    if (command !== '' && expression.test(command.replaceAll('\0', ' ').trim())) {
      const facts = await processFacts(Number(name));
      if (facts) return facts;
    }
  }
  return undefined;
}

/** A process and everything below it. */
export async function processTree(root: ProcessFacts): Promise<readonly ProcessFacts[]> {
  const all: ProcessFacts[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const facts = await processFacts(Number(name));
    if (facts) all.push(facts);
  }
  const tree = [root];
  for (const member of tree)
    tree.push(...all.filter(({ ppid, pid }) => ppid === member.pid && pid !== root.pid));
  return tree;
}

export async function uptimeSecs(facts: ProcessFacts): Promise<number> {
  const text = await readFile('/proc/uptime', 'utf8');
  return Math.max(0, Math.round(Number(text.split(' ')[0] ?? 0) - facts.startTicks / ticksPerSecond));
}

export async function totalMemoryKb(): Promise<number> {
  const text = await readFile('/proc/meminfo', 'utf8');
  return Number(/^MemTotal:\s+(\d+)/m.exec(text)?.[1] ?? 1);
}

/** CPU use in percent of one machine between two looks at the same process. */
export function cpuPercent(
  before: ProcessFacts | undefined,
  now: ProcessFacts,
  elapsedMs: number,
  cpus: number,
): number {
  if (!before || before.pid !== now.pid || before.startTicks !== now.startTicks || elapsedMs <= 0) return 0;
  const seconds = (now.cpuTicks - before.cpuTicks) / ticksPerSecond;
  return Math.max(0, (seconds * 100_000) / elapsedMs / cpus);
}
