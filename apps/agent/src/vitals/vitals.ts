import type { JsonObject } from '@microbosh/errors';
import { readFile, statfs } from 'node:fs/promises';
import type { Layout } from '../layout.ts';

interface CpuTimes {
  readonly user: number;
  readonly sys: number;
  readonly wait: number;
  readonly total: number;
}

/** Measures the machine; CPU shares count from the look before. Numbers are strings, as both originals send them. */
export class Vitals {
  readonly #layout: Layout;
  #before: CpuTimes | undefined;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  async read(): Promise<JsonObject> {
    const [load, memory, uptime, cpu, disk] = await Promise.all([
      readFile('/proc/loadavg', 'utf8'),
      readFile('/proc/meminfo', 'utf8'),
      readFile('/proc/uptime', 'utf8'),
      readFile('/proc/stat', 'utf8'),
      this.#disks(),
    ]);
    const times = cpuTimes(cpu);
    const shares = cpuShares(this.#before, times);
    this.#before = times;
    return {
      cpu: shares,
      disk,
      load: load.split(' ').slice(0, 3),
      ...memoryVitals(memory),
      uptime: { secs: Math.round(Number(uptime.split(' ')[0] ?? 0)) },
    };
  }

  /** Only what is a mounted file system of its own. */
  async #disks(): Promise<JsonObject> {
    const mounts = new Set(
      (await readFile('/proc/self/mounts', 'utf8')).split('\n').map((line) => line.split(' ')[1] ?? ''),
    );
    const disks: Record<string, JsonObject> = {};
    const places = { system: '/', ephemeral: this.#layout.data, persistent: this.#layout.store };
    for (const [name, path] of Object.entries(places)) {
      const info = mounts.has(path) ? await statfs(path).catch(() => undefined) : undefined;
      if (!info) continue;
      disks[name] = {
        percent: percent(info.blocks - info.bavail, info.blocks),
        inode_percent: percent(info.files - info.ffree, info.files),
      };
    }
    return disks;
  }
}

/** @example memoryVitals('MemTotal: 100 kB\nMemAvailable: 75 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB').mem */
export function memoryVitals(meminfo: string): JsonObject {
  const kb = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(meminfo)?.[1] ?? 0);
  const used = kb('MemTotal') - kb('MemAvailable');
  const swap = kb('SwapTotal') - kb('SwapFree');
  return {
    mem: { kb: String(used), percent: percent(used, kb('MemTotal')) },
    swap: { kb: String(swap), percent: percent(swap, kb('SwapTotal')) },
  };
}

export function cpuTimes(stat: string): CpuTimes {
  const fields = (stat.split('\n', 1)[0] ?? '').trim().split(/\s+/).slice(1, 9).map(Number);
  const [user = 0, nice = 0, system = 0, , wait = 0] = fields;
  return { user: user + nice, sys: system, wait, total: fields.reduce((sum, value) => sum + value, 0) };
}

function cpuShares(before: CpuTimes | undefined, now: CpuTimes): JsonObject {
  const total = now.total - (before?.total ?? 0);
  const share = (key: 'user' | 'sys' | 'wait') =>
    (total <= 0 ? 0 : ((now[key] - (before?.[key] ?? 0)) * 100) / total).toFixed(1);
  return { user: share('user'), sys: share('sys'), wait: share('wait') };
}

function percent(part: number, whole: number): string {
  return String(whole <= 0 ? 0 : Math.round((part * 100) / whole));
}
