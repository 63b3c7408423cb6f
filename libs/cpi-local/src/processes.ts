import { readFile, readdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode } from '@microbosh/errors';
import { LocalResourceBusy } from './local-errors.ts';

/** A process that cannot be confused with a later one of the same number. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Field `starttime` of /proc/<pid>/stat, in clock ticks since boot. */
  readonly startTicks: number;
  readonly bootId: string;
}

/** Name of the environment variable that every process of a VM's set-up and its PID 1 carry. */
export const vmMarker = 'MICROBOSH_LOCAL_VM';

export async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

/** Undefined when there is no such process, or only its zombie. */
export async function identifyProcess(pid: number): Promise<ProcessIdentity | undefined> {
  const text = await readProc(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  // The name, in parentheses, may hold anything.
  const [state, ...fields] = text.slice(text.lastIndexOf(')') + 2).split(' ');
  if (state === 'Z' || state === 'X') return undefined;
  return { pid, startTicks: Number(fields[18]), bootId: await bootId() };
}

export async function isAlive(identity: ProcessIdentity): Promise<boolean> {
  const present = await identifyProcess(identity.pid);
  return present?.startTicks === identity.startTicks && present.bootId === identity.bootId;
}

/** Every process whose environment names the VM directory. */
export async function processesOfVm(vmDir: string): Promise<number[]> {
  const needle = `${vmMarker}=${vmDir}\0`;
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const environment = await readProc(`/proc/${name}/environ`);
    if (environment !== undefined && (environment.startsWith(needle) || environment.includes(`\0${needle}`)))
      found.push(Number(name));
  }
  return found;
}

/**
 * Ends all processes of a VM; the kernel ends the rest of a PID namespace with its PID 1. Returns when none is left, or
 * throws LocalResourceBusy.
 */
export async function killVmProcesses(vmDir: string): Promise<void> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const pids = await processesOfVm(vmDir);
    if (pids.length === 0) return;
    for (const pid of pids) signalProcess(pid, 'SIGKILL');
    if (Date.now() > deadline) {
      throw new LocalResourceBusy(`Processes ${pids.join(', ')} of the VM do not end`, {
        advice: 'They are likely to wait for a device; look at /proc/<pid>/stack.',
      });
    }
    await sleep(10);
  }
}

/** Waits until the process has ended; false when it still lives at the end of the time. */
export async function waitForExit(
  identity: ProcessIdentity,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<boolean> {
  const deadline = Date.now() + timeoutMs;
  while (await isAlive(identity)) {
    signal?.throwIfAborted();
    if (Date.now() > deadline) return false;
    await sleep(25);
  }
  return true;
}

export function signalProcess(pid: number, name: NodeJS.Signals | number): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (errorCode(error) !== 'ESRCH') throw error;
  }
}

async function readProc(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'latin1');
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES') return undefined;
    throw error;
  }
}
