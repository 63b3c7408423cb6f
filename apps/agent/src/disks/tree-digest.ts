import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, opendir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

export interface TreeSummary {
  readonly entries: number;
  readonly bytes: number;
  /** Over names, kinds, modes, owners, sizes, link targets and contents, in the order of the names. */
  readonly digest: string;
}

/**
 * What a directory holds, reduced to numbers that differ when anything differs. `ignore` names entries of the top
 * directory that do not count.
 */
export async function summariseTree(
  root: string,
  ignore: readonly string[],
  signal?: AbortSignal,
): Promise<TreeSummary> {
  const hash = createHash('sha256');
  const totals = { entries: 0, bytes: 0 };
  const links = new Map<string, string>();

  const visit = async (relative: string): Promise<void> => {
    signal?.throwIfAborted();
    const path = join(root, relative);
    const found = await lstat(path, { bigint: true });
    const parts: (string | number | bigint)[] = [relative, found.mode, found.uid, found.gid];
    if (found.isFile()) {
      const first = found.nlink > 1n ? links.get(`${found.dev}:${found.ino}`) : undefined;
      if (first === undefined) {
        if (found.nlink > 1n) links.set(`${found.dev}:${found.ino}`, relative);
        parts.push('file', found.size, found.mtimeNs, await digestOf(path, signal));
        totals.bytes += Number(found.size);
      } else parts.push('link', first);
    } else if (found.isSymbolicLink()) parts.push('symlink', await readlink(path));
    else if (found.isDirectory()) parts.push('directory');
    else parts.push('special', found.rdev);
    if (relative !== '') totals.entries += 1;
    hash.update(`${JSON.stringify(parts.map(String))}\n`);
    if (found.isDirectory())
      for (const name of await namesIn(path)) {
        if (relative === '' && ignore.includes(name)) continue;
        await visit(join(relative, name));
      }
  };
  await visit('');
  return { ...totals, digest: hash.digest('hex') };
}

async function namesIn(path: string): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const entry of await opendir(path)) names.push(entry.name);
  return names.sort();
}

async function digestOf(path: string, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash, signal ? { signal } : {});
  return hash.digest('hex');
}
