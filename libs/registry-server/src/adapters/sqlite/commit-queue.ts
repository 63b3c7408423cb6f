import { setTimeout as sleep } from 'node:timers/promises';
import type { DatabaseSync } from 'node:sqlite';
import { messageOf } from '@microbosh/errors';
import { StoreFull, StoreUnavailable } from '../../errors.ts';

interface Waiting {
  readonly work: () => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly enqueuedAtMs: number;
}

const MAX_BATCH = 256;
const SQLITE_BUSY = 5;
const SQLITE_LOCKED = 6;
const SQLITE_FULL = 13;
const SQLITE_IOERR = 10;

/**
 * Commits what arrives together in one transaction: one fsync for many requests. Nobody gets an answer before the
 * commit that holds his work. While another process holds the write lock the queue waits without blocking the
 * event loop, at most `lockWaitMs`.
 */
export class CommitQueue {
  readonly #database: DatabaseSync;
  readonly #lockWaitMs: number;
  readonly #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;

  constructor(database: DatabaseSync, lockWaitMs: number) {
    this.#database = database;
    this.#lockWaitMs = lockWaitMs;
  }

  /** `work` runs inside a transaction; it must not throw for anything that is an answer rather than a failure. */
  run<T>(work: () => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({
        work,
        resolve: (value) => resolve(value as T),
        reject,
        enqueuedAtMs: performance.now(),
      });
      this.#running ??= this.#drain().finally(() => (this.#running = undefined));
    });
  }

  async idle(): Promise<void> {
    while (this.#running) await this.#running;
  }

  async #drain(): Promise<void> {
    // One turn of the event loop, so that the requests of that turn share the commit.
    await new Promise((resolve) => setImmediate(resolve));
    let lockDelayMs = 1;
    while (this.#waiting.length > 0) {
      const begun = this.#begin();
      if (begun === 'locked') {
        this.#expire();
        await sleep(lockDelayMs);
        lockDelayMs = Math.min(lockDelayMs * 2, 50);
        continue;
      }
      lockDelayMs = 1;
      this.#commit(this.#waiting.splice(0, MAX_BATCH), begun);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #begin(): 'begun' | 'locked' | { readonly failure: unknown } {
    try {
      this.#database.exec('BEGIN IMMEDIATE');
      return 'begun';
    } catch (error) {
      return isLocked(error) ? 'locked' : { failure: error };
    }
  }

  #expire(): void {
    const now = performance.now();
    while (this.#waiting[0] && now - this.#waiting[0].enqueuedAtMs > this.#lockWaitMs) {
      this.#waiting.shift()?.reject(
        new StoreUnavailable('The database is locked by another process.', {
          advice: 'Wait until the backup, restore or import that holds it has ended.',
        }),
      );
    }
  }

  #commit(batch: readonly Waiting[], begun: 'begun' | { readonly failure: unknown }): void {
    const results: unknown[] = [];
    try {
      if (begun !== 'begun') throw begun.failure;
      for (const one of batch) results.push(one.work());
      this.#database.exec('COMMIT');
    } catch (error) {
      this.#rollBack();
      const failure = classifySqliteError(error);
      for (const one of batch) one.reject(failure);
      return;
    }
    batch.forEach((one, index) => one.resolve(results[index]));
  }

  #rollBack(): void {
    // SQLite has rolled back by itself after some failures (full disk); a second roll back would throw.
    if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
  }
}

function primaryCode(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('errcode' in error)) return undefined;
  return typeof error.errcode === 'number' ? error.errcode & 0xff : undefined;
}

export function isLocked(error: unknown): boolean {
  const code = primaryCode(error);
  return code === SQLITE_BUSY || code === SQLITE_LOCKED;
}

/** Turns what SQLite says into what the caller can act on. Anything unknown stays as it is. */
export function classifySqliteError(error: unknown): unknown {
  const code = primaryCode(error);
  if (code === SQLITE_FULL) {
    return new StoreFull('There is no room for the database to grow.', {
      advice: 'Free space on the file system of the database; nothing has to be restarted.',
      cause: error,
    });
  }
  if (code === SQLITE_BUSY || code === SQLITE_LOCKED || code === SQLITE_IOERR) {
    return new StoreUnavailable(`The database cannot be used now: ${messageOf(error)}`, { cause: error });
  }
  return error;
}
