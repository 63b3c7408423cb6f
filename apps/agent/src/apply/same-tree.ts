import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode } from '@microbosh/errors';

const none: ReadonlySet<string> = new Set();

/** True when both directories hold the same names, modes, owners and contents; `except` names what is at their top. */
export async function isSameTree(
  one: string,
  other: string,
  except: ReadonlySet<string> = none,
): Promise<boolean> {
  const [names, others] = await Promise.all([namesIn(one, except), namesIn(other, except)]);
  if (names === undefined || names.join('\0') !== others?.join('\0')) return false;
  for (const name of names) if (!(await isSame(join(one, name), join(other, name)))) return false;
  return true;
}

async function isSame(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([lstat(one), lstat(other)]);
  if (a.mode !== b.mode || a.uid !== b.uid || a.gid !== b.gid) return false;
  if (a.isDirectory()) return isSameTree(one, other);
  if (a.isSymbolicLink()) return (await readlink(one)) === (await readlink(other));
  if (!a.isFile() || a.size !== b.size) return false;
  return (await readFile(one)).equals(await readFile(other));
}

/** Undefined for a directory that is gone. */
async function namesIn(dir: string, except: ReadonlySet<string>): Promise<readonly string[] | undefined> {
  try {
    return (await readdir(dir)).filter((name) => !except.has(name)).sort();
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
