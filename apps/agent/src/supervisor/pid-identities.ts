import { readFile, stat } from 'node:fs/promises';
import { isJsonObject, type JsonObject } from '@microbosh/errors';
import { processFacts, type ProcessFacts } from './process-table.ts';

interface Identity {
  readonly pid: number;
  readonly startTicks: number;
  readonly boot: string;
  /** Tells whether the pid file was written again. */
  readonly written: string;
}

/**
 * Which process each pid file meant. A pid is given out again, at the latest after a boot: a pid file that was not written
 * since, but names a process that began at another time, is stale, whoever has the pid now.
 */
export class PidIdentities {
  readonly #known = new Map<string, Identity>();
  #boot: string | undefined;
  #changed = false;

  /** The living process that a pid file means; undefined when there is none. */
  async processOf(pidFile: string): Promise<ProcessFacts | undefined> {
    const [text, info] = await Promise.all([
      readFile(pidFile, 'utf8').catch(() => ''),
      stat(pidFile, { bigint: true }).catch(() => undefined),
    ]);
    const pid = Number(/^\s*(\d{1,9})/.exec(text)?.[1] ?? 0);
    const facts = pid < 1 || !info ? undefined : await processFacts(pid);
    if (!facts || !info) return undefined;
    const boot = (this.#boot ??= await bootId());
    const written = `${info.ino}-${info.mtimeNs}`;
    const known = this.#known.get(pidFile);
    if (known && known.written === written && known.pid === pid) {
      return known.boot === boot && known.startTicks === facts.startTicks ? facts : undefined;
    }
    this.#known.set(pidFile, { pid, startTicks: facts.startTicks, boot, written });
    this.#changed = true;
    return facts;
  }

  /** True once after something was learnt. */
  takeChanged(): boolean {
    const changed = this.#changed;
    this.#changed = false;
    return changed;
  }

  toJson(pidFiles: ReadonlySet<string>): JsonObject {
    for (const path of this.#known.keys()) if (!pidFiles.has(path)) this.#known.delete(path);
    return Object.fromEntries([...this.#known].map(([path, identity]) => [path, { ...identity }]));
  }

  restore(document: unknown): void {
    for (const [path, entry] of Object.entries(isJsonObject(document) ? document : {})) {
      if (!isJsonObject(entry)) continue;
      const { pid, startTicks, boot, written } = entry;
      if (typeof pid !== 'number' || typeof startTicks !== 'number') continue;
      if (typeof boot !== 'string' || typeof written !== 'string') continue;
      this.#known.set(path, { pid, startTicks, boot, written });
    }
  }
}

async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')).trim();
}
