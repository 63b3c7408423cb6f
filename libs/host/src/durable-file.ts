import { randomBytes } from 'node:crypto';
import { open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/**
 * Replaces a file so that a reader, also one after a power loss, sees the old content or the new one, never a mixture:
 * temporary sibling, fsync, rename, fsync of the directory. `mode` is the exact mode of the result (default 0600);
 * `owner` its user and group (default: those of this process; others need root).
 */
export async function writeFileDurably(
  path: string,
  content: string | Uint8Array,
  options: { readonly mode?: number; readonly owner?: { readonly uid: number; readonly gid: number } } = {},
): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(content);
      if (options.owner) await file.chown(options.owner.uid, options.owner.gid);
      await file.chmod(options.mode ?? 0o600);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Makes renames, creations and removals in a directory survive a power loss. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
