import { mkdir, readFile, rm, unlink } from 'node:fs/promises';
import { hostname, userInfo } from 'node:os';
import { DatabaseSync } from 'node:sqlite';
import { isJsonObject } from '@microbosh/errors';
import { writeFileDurably } from '@microbosh/host';
import { EnvironmentLocked } from '../errors.ts';
import type { EnvironmentPaths } from './environment-paths.ts';

export interface LockHolder {
  readonly owner: string;
  readonly host: string;
  readonly pid: number;
  readonly command: string;
  /** RFC 3339. */
  readonly since: string;
}

/**
 * One process at a time works on an environment. The kernel holds the lock (through SQLite), so it ends with its
 * process, however that ends. The record beside it says who holds it, and guards an environment on a file system that
 * another machine shares, where locks do not reach: a record of another machine blocks until `unlock --force`.
 */
export class EnvironmentLock {
  readonly #database: DatabaseSync;
  readonly #paths: EnvironmentPaths;

  private constructor(database: DatabaseSync, paths: EnvironmentPaths) {
    this.#database = database;
    this.#paths = paths;
  }

  static async acquire(paths: EnvironmentPaths, command: string): Promise<EnvironmentLock> {
    await mkdir(paths.folder, { recursive: true, mode: 0o700 });
    const database = new DatabaseSync(paths.lock, { timeout: 0 });
    try {
      database.exec('BEGIN EXCLUSIVE');
    } catch {
      database.close();
      throw locked(paths, await readLockHolder(paths));
    }
    const lock = new EnvironmentLock(database, paths);
    const previous = await readLockHolder(paths);
    if (previous !== undefined && previous.host !== hostname()) {
      lock.#letGo();
      throw locked(paths, previous);
    }
    const holder: LockHolder = {
      owner: userInfo().username,
      host: hostname(),
      pid: process.pid,
      command,
      since: new Date().toISOString(),
    };
    await writeFileDurably(paths.lockHolder, JSON.stringify(holder));
    return lock;
  }

  async release(): Promise<void> {
    await unlink(this.#paths.lockHolder).catch(() => undefined);
    this.#letGo();
  }

  /** For an environment that is gone: the lock's own files as well. */
  async releaseAndRemove(): Promise<void> {
    await rm(this.#paths.folder, { recursive: true, force: true });
    this.#letGo();
  }

  #letGo(): void {
    this.#database.close();
  }
}

/** Who holds the lock, or held it when it crashed. */
export async function readLockHolder(paths: EnvironmentPaths): Promise<LockHolder | undefined> {
  let document: unknown;
  try {
    document = JSON.parse(await readFile(paths.lockHolder, 'utf8'));
  } catch {
    return undefined;
  }
  if (!isJsonObject(document)) return undefined;
  const { owner, host, pid, command, since } = document;
  if (typeof owner !== 'string' || typeof host !== 'string' || typeof pid !== 'number') return undefined;
  if (typeof command !== 'string' || typeof since !== 'string') return undefined;
  return { owner, host, pid, command, since };
}

function locked(paths: EnvironmentPaths, holder: LockHolder | undefined): EnvironmentLocked {
  const who =
    holder === undefined
      ? 'another process'
      : `'${holder.command}' of ${holder.owner} on ${holder.host} (pid ${holder.pid}, since ${holder.since})`;
  return new EnvironmentLocked(`The environment of '${paths.shownState}' is in use by ${who}`, {
    details: holder === undefined ? {} : { ...holder },
    advice:
      'Wait until it is done. If that process runs on a machine that no longer exists: microbosh unlock MANIFEST --force',
  });
}
