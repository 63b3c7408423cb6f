import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode } from '@microbosh/errors';

/**
 * The QEMU of a VM, found by its pid file. Undefined when it has ended: the number may belong to somebody else by now, so
 * the process must carry the VM's name; a zombie that nobody has reaped yet counts as ended.
 */
export async function findQemu(pidFile: string, vmCid: string): Promise<number | undefined> {
  const pid = Number((await read(pidFile))?.trim());
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  const stat = await read(`/proc/${pid}/stat`);
  const state = stat?.slice(stat.lastIndexOf(')') + 2).charAt(0);
  if (state === undefined || state === 'Z' || state === 'X') return undefined;
  const argv = (await read(`/proc/${pid}/cmdline`))?.split('\0') ?? [];
  const name = argv[argv.indexOf('-name') + 1];
  return argv.includes('-name') && name?.split(',')[0] === vmCid ? pid : undefined;
}

/** False when the process still lives at the end of the time. */
export async function waitForQemuEnd(
  pidFile: string,
  vmCid: string,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<boolean> {
  const deadline = Date.now() + timeoutMs;
  while ((await findQemu(pidFile, vmCid)) !== undefined) {
    signal?.throwIfAborted();
    if (Date.now() > deadline) return false;
    await sleep(50);
  }
  return true;
}

/** SIGKILL; returns when the process is gone. */
export async function killQemu(pidFile: string, vmCid: string): Promise<void> {
  const pid = await findQemu(pidFile, vmCid);
  if (pid === undefined) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (errorCode(error) !== 'ESRCH') throw error;
  }
  await waitForQemuEnd(pidFile, vmCid, 20_000);
}

async function read(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'latin1');
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}
