import { randomUUID } from 'node:crypto';
import { lstat, mkdir, readlink, rename, rm, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errorCode } from '@microbosh/errors';

/** Target of a link; undefined when there is none. */
export async function linkTarget(path: string): Promise<string | undefined> {
  try {
    return await readlink(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'EINVAL') return undefined;
    throw error;
  }
}

/** Points a link to `target` in one step: a reader sees the old one or the new one. True when something changed. */
export async function pointLink(path: string, target: string): Promise<boolean> {
  if ((await linkTarget(path)) === target) return false;
  await mkdir(dirname(path), { recursive: true, mode: 0o755 });
  const existing = await lstat(path).catch(() => undefined);
  // A directory cannot be replaced by a rename; it was put there by hand, and the original deletes it too.
  if (existing?.isDirectory()) await rm(path, { recursive: true });
  const temporary = join(dirname(path), `.${randomUUID()}.link`);
  await symlink(target, temporary);
  await rename(temporary, path);
  return true;
}
