import { createHash } from 'node:crypto';
import { access, constants, mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode } from '@microbosh/errors';
import { LocalResourceBusy } from './local-errors.ts';

export interface ResourceLimits {
  /** Number of CPUs, may be a fraction. */
  readonly cpu?: number | undefined;
  readonly memoryMiB?: number | undefined;
}

interface Hierarchy {
  readonly mountPoint: string;
  /** Empty for the unified hierarchy (version 2). */
  readonly controllers: readonly string[];
}

const usedControllers = ['memory', 'cpu', 'pids', 'name=systemd'];

/** One group per VM in every hierarchy that this process may write; without any, VMs run unlimited. */
export class ControlGroups {
  readonly #rootDir: string;

  constructor(rootDir: string) {
    this.#rootDir = rootDir;
  }

  /** Makes the groups, sets limits and moves the process (and what it starts from now on) into them. */
  async place(name: string, pid: number, limits: ResourceLimits): Promise<void> {
    for (const hierarchy of await hierarchies()) {
      const path = join(hierarchy.mountPoint, groupName(this.#rootDir, name));
      try {
        await mkdir(path, { recursive: true });
        await setLimits(path, hierarchy, limits);
        await writeFile(join(path, 'cgroup.procs'), String(pid));
      } catch (error) {
        if (!isRefusal(error)) throw error;
      }
    }
  }

  /** Removes the groups, which must have no living process any more. */
  async remove(name: string): Promise<void> {
    for (const hierarchy of await hierarchies()) {
      await removeGroup(join(hierarchy.mountPoint, groupName(this.#rootDir, name)));
    }
  }
}

/** The group of one VM of one root directory. */
export function groupName(rootDir: string, name: string): string {
  return `microbosh-${createHash('sha256').update(rootDir).digest('hex').slice(0, 8)}-${name}`;
}

async function hierarchies(): Promise<Hierarchy[]> {
  const result: Hierarchy[] = [];
  for (const line of (await readFile('/proc/mounts', 'utf8')).split('\n')) {
    const [, mountPoint, type, options = ''] = line.split(' ');
    if (mountPoint === undefined || (type !== 'cgroup' && type !== 'cgroup2')) continue;
    const controllers = type === 'cgroup' ? options.split(',') : [];
    if (type === 'cgroup' && !controllers.some((controller) => usedControllers.includes(controller)))
      continue;
    if (await isWritable(mountPoint)) result.push({ mountPoint, controllers });
  }
  return result;
}

async function isWritable(path: string): Promise<boolean> {
  try {
    await access(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

async function setLimits(path: string, hierarchy: Hierarchy, limits: ResourceLimits): Promise<void> {
  const { cpu, memoryMiB } = limits;
  const unified = hierarchy.controllers.length === 0;
  const writes: [file: string, value: string][] = [];
  if (memoryMiB !== undefined) {
    if (unified) writes.push(['memory.max', String(memoryMiB * 2 ** 20)]);
    if (hierarchy.controllers.includes('memory'))
      writes.push(['memory.limit_in_bytes', String(memoryMiB * 2 ** 20)]);
  }
  if (cpu !== undefined) {
    if (unified) writes.push(['cpu.max', `${Math.round(cpu * 100_000)} 100000`]);
    if (hierarchy.controllers.includes('cpu'))
      writes.push(['cpu.cfs_quota_us', String(Math.round(cpu * 100_000))]);
  }
  for (const [file, value] of writes) {
    try {
      await writeFile(join(path, file), value);
    } catch (error) {
      // The controller is not enabled for this hierarchy.
      if (!isRefusal(error)) throw error;
    }
  }
}

async function removeGroup(path: string): Promise<void> {
  let entries;
  try {
    entries = await readdir(path, { withFileTypes: true });
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return;
    throw error;
  }
  for (const entry of entries) {
    if (entry.isDirectory()) await removeGroup(join(path, entry.name));
  }
  const deadline = Date.now() + 5000;
  for (;;) {
    try {
      await rmdir(path);
      return;
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return;
      if (errorCode(error) !== 'EBUSY') throw error;
      if (Date.now() > deadline) throw new LocalResourceBusy(`Control group ${path} still has processes`);
    }
    await sleep(20);
  }
}

function isRefusal(error: unknown): boolean {
  return ['EACCES', 'EPERM', 'EROFS', 'ENOENT', 'EOPNOTSUPP', 'ENOTSUP'].includes(errorCode(error) ?? '');
}
