import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { classifySqliteError, isLocked } from './commit-queue.ts';

interface Waiting {
  readonly work: () => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly enqueuedAtMs: number;
}

const RETRY_MS = 5;

/**
 * Answers the reads of one turn of the event loop together, in one transaction. Each of them alone would lock and
 * unlock the log, and with other work between them the processor would fetch the code of the database anew for each.
 */
export class ReadQueue {
  readonly #database: DatabaseSync;
  readonly #lockWaitMs: number;
  readonly #begin: StatementSync;
  readonly #end: StatementSync;
  #waiting: Waiting[] = [];

  constructor(database: DatabaseSync, lockWaitMs: number) {
    this.#database = database;
    this.#lockWaitMs = lockWaitMs;
    this.#begin = database.prepare('BEGIN');
    this.#end = database.prepare('COMMIT');
  }

  /** A read that meets a lock, while another process rebuilds the log, is tried again without blocking. */
  run<T>(work: () => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({
        work,
        resolve: (value) => resolve(value as T),
        reject,
        enqueuedAtMs: performance.now(),
      });
      if (this.#waiting.length === 1) setImmediate(() => this.#answer());
    });
  }

  #answer(): void {
    const batch = this.#waiting;
    this.#waiting = [];
    const isShared = batch.length > 1 && this.#database.isOpen;
    try {
      if (isShared) this.#begin.run();
      for (const one of batch) this.#read(one);
    } finally {
      if (isShared) this.#end.run();
    }
  }

  #read(one: Waiting): void {
    try {
      one.resolve(one.work());
    } catch (error) {
      const isOverdue = performance.now() - one.enqueuedAtMs > this.#lockWaitMs;
      if (!isLocked(error) || isOverdue) one.reject(classifySqliteError(error));
      else setTimeout(() => this.#again(one), RETRY_MS);
    }
  }

  #again(one: Waiting): void {
    this.#waiting.push(one);
    if (this.#waiting.length === 1) setImmediate(() => this.#answer());
  }
}
