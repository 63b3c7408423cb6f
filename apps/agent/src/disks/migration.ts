import { syncDirectory, writeFileDurably } from '@microbosh/host';
import { chmod, chown, readdir, rm, stat, statfs, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { HostContext } from '../platform/host-context.ts';
import { readJsonObjectIfPresent, removeFileDurably } from '../platform/files.ts';
import { MountTable } from '../platform/mount-table.ts';
import { stringOf } from '../settings/json-keys.ts';
import { DiskBusy, MigrationRefused } from './errors.ts';
import { summariseTree, type TreeSummary } from './tree-digest.ts';

/** In the top directory of a disk that is being filled: it must not be taken for the original. */
export const unfinishedCopyFile = '.microbosh-unfinished-copy.json';
const halfWrittenMarker = /^\.\.microbosh-unfinished-copy\.json\.[0-9a-f]+\.tmp$/;
const notCopied = ['lost+found', unfinishedCopyFile];

export interface MigrationOptions {
  readonly from: string;
  readonly to: string;
  readonly context: HostContext;
  readonly signal?: AbortSignal;
  readonly unmount: (point: string) => Promise<void>;
  readonly mountOnStore: (cid: string) => Promise<void>;
  readonly mountReadOnlyOnTarget: (cid: string) => Promise<void>;
  readonly isOnStore: (cid: string) => Promise<boolean>;
  /** Records the disk that belongs on `store`. */
  readonly record: (cid: string) => Promise<void>;
}

/**
 * Moves the data of the disk on `store` to the disk on `store_migration_target`, and that disk to `store`.
 *
 * The old disk is only ever read. The new one carries a marker from before its first byte until it is the disk on
 * `store`; the journal beside the agent tells a restarted agent which side of the switch it died on.
 */
export class Migration {
  readonly #options: MigrationOptions;

  constructor(options: MigrationOptions) {
    this.#options = options;
  }

  async run(): Promise<void> {
    const { store, migrationTarget } = this.#options.context.paths;
    const copied = await this.#startCopy();
    await this.#write('copying');
    await this.#setReadOnly(store, true);
    try {
      if (!copied) await this.#copy();
      const before = await summariseTree(store, notCopied, this.#options.signal);
      // Mounted anew, so that what is compared comes from the disk and not from memory.
      await this.#options.unmount(migrationTarget);
      await this.#options.mountReadOnlyOnTarget(this.#options.to);
      const after = await summariseTree(migrationTarget, notCopied, this.#options.signal);
      assertSame(before, after);
    } catch (error) {
      await this.#setReadOnly(store, false);
      await this.#setReadOnly(migrationTarget, false);
      await removeFileDurably(this.#options.context.paths.diskMigration);
      throw error;
    }
    await this.#write('switching');
    await this.#switch();
  }

  /** After a crash: forward when the copy was proven, back when it was not. */
  async recover(proven: boolean): Promise<readonly string[]> {
    if (proven) {
      await this.#switch();
      return [`finish the migration to the disk '${this.#options.to}'`];
    }
    const { store } = this.#options.context.paths;
    if (!(await this.#options.isOnStore(this.#options.from)))
      await this.#options.mountOnStore(this.#options.from);
    else await this.#setReadOnly(store, false);
    await this.#options.record(this.#options.from);
    await removeFileDurably(this.#options.context.paths.diskMigration);
    return [`give up an unfinished migration; the disk '${this.#options.from}' is in use as before`];
  }

  /** Checks the target and marks it. True when it already holds everything. */
  async #startCopy(): Promise<boolean> {
    const { store, migrationTarget } = this.#options.context.paths;
    const table = await MountTable.read();
    if (table.at(migrationTarget) === undefined) {
      throw new MigrationRefused(`Nothing is mounted on ${migrationTarget}.`);
    }
    const markerPath = join(migrationTarget, unfinishedCopyFile);
    const marker = await readJsonObjectIfPresent(markerPath);
    // What an agent that died while it wrote the marker has left of it.
    for (const name of await readdir(migrationTarget)) {
      if (halfWrittenMarker.test(name)) await rm(join(migrationTarget, name));
    }
    const held = (await readdir(migrationTarget)).filter((name) => !notCopied.includes(name));
    if (marker !== undefined && stringOf(marker, 'from') === this.#options.from) {
      // What an interrupted copy has left; the marker proves that it is nothing else.
      for (const name of held) await rm(join(migrationTarget, name), { recursive: true });
    } else if (held.length > 0) {
      return this.#acceptCompleteCopy();
    }
    const [source, target] = await Promise.all([statfs(store), statfs(migrationTarget)]);
    const neededBytes = (source.blocks - source.bfree) * source.bsize;
    const neededFiles = source.files - source.ffree;
    if (target.bavail * target.bsize < neededBytes || (target.files > 0 && target.ffree < neededFiles)) {
      throw new MigrationRefused(
        `The disk '${this.#options.to}' is too small for the data of '${this.#options.from}'.`,
        {
          details: { neededBytes, availableBytes: target.bavail * target.bsize },
          advice: 'Choose a larger persistent disk.',
        },
      );
    }
    await writeFileDurably(markerPath, JSON.stringify({ from: this.#options.from }));
    return false;
  }

  /** A target with data is fine when it is exactly the data of the source: a migration whose machine was replaced. */
  async #acceptCompleteCopy(): Promise<boolean> {
    const { store, migrationTarget } = this.#options.context.paths;
    const [source, target] = [
      await summariseTree(store, notCopied, this.#options.signal),
      await summariseTree(migrationTarget, notCopied, this.#options.signal),
    ];
    if (source.digest === target.digest) return true;
    throw new MigrationRefused(
      `The disk '${this.#options.to}' is not empty: it holds ${target.entries} entries of its own.`,
      { advice: 'Nothing was changed. Use an empty disk as the target.' },
    );
  }

  async #copy(): Promise<void> {
    const { store, migrationTarget } = this.#options.context.paths;
    const { runner } = this.#options.context;
    const names = (await readdir(store)).filter((name) => !notCopied.includes(name));
    const options = {
      timeoutMs: 7 * 86_400_000,
      ...(this.#options.signal ? { signal: this.#options.signal } : {}),
    };
    const flags = ['--no-dereference', '--recursive', '--one-file-system', '--sparse=auto'];
    if (names.length > 0) {
      await runner.run(
        [
          'cp',
          ...flags,
          '--preserve=mode,ownership,timestamps,links,xattr',
          '--target-directory',
          migrationTarget,
          '--',
          ...names.map((name) => join(store, name)),
        ],
        options,
      );
    }
    const top = await stat(store);
    await chown(migrationTarget, top.uid, top.gid);
    await chmod(migrationTarget, top.mode & 0o7777);
    await runner.run(['sync', '--file-system', migrationTarget], options);
  }

  /** From here on the new disk is the one; every part may run again. */
  async #switch(): Promise<void> {
    const { context, to, from } = this.#options;
    const { store, migrationTarget } = context.paths;
    if (!(await this.#options.isOnStore(to))) {
      if ((await MountTable.read()).at(migrationTarget) !== undefined)
        await this.#options.unmount(migrationTarget);
      if (await this.#options.isOnStore(from)) await this.#options.unmount(store);
      await this.#options.mountOnStore(to);
    }
    await this.#options.record(to);
    await unlink(join(store, unfinishedCopyFile)).catch((error: unknown) => {
      if (!(error instanceof Error) || !('code' in error) || error.code !== 'ENOENT') throw error;
    });
    await syncDirectory(store);
    await removeFileDurably(context.paths.diskMigration);
  }

  async #setReadOnly(point: string, readOnly: boolean): Promise<void> {
    const entry = (await MountTable.read()).at(point);
    if (entry === undefined || entry.options.includes('ro') === readOnly) return;
    try {
      await this.#options.context.runner.run(['mount', '-o', `remount,${readOnly ? 'ro' : 'rw'}`, point]);
    } catch (error) {
      if (readOnly) await removeFileDurably(this.#options.context.paths.diskMigration);
      throw new DiskBusy(
        `${point} cannot be made ${readOnly ? 'read-only' : 'writable'}: files on it are open.`,
        {
          advice: 'Stop the jobs that write there, and try again.',
          cause: error,
        },
      );
    }
  }

  async #write(phase: 'copying' | 'switching'): Promise<void> {
    const { from, to, context } = this.#options;
    await writeFileDurably(context.paths.diskMigration, JSON.stringify({ from, to, phase }));
  }
}

function assertSame(before: TreeSummary, after: TreeSummary): void {
  if (before.entries === after.entries && before.bytes === after.bytes && before.digest === after.digest)
    return;
  throw new MigrationRefused('The copy differs from the original; the old disk stays in use.', {
    details: {
      entries: before.entries,
      copiedEntries: after.entries,
      bytes: before.bytes,
      copiedBytes: after.bytes,
    },
    advice: 'Try again; if it happens again, the new disk may be faulty.',
  });
}
