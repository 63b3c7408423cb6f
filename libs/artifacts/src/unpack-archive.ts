import { chmod, link, lstat, mkdir, open, symlink } from 'node:fs/promises';
import { basename, dirname, join, normalize } from 'node:path';
import { errorCode } from '@microbosh/errors';
import { ArtifactNoRoom } from './errors.ts';
import {
  readArchive,
  unsafe,
  type ArchiveEntry,
  type ArchiveSource,
  type ReadArchiveOptions,
} from './read-archive.ts';

/**
 * Unpacks an archive below `directory`, which must be empty or new, and answers the paths of its files. Nothing is
 * written or linked to outside of it: links that lead out are refused, and no entry is written through a link.
 * Errors as of `readArchive`.
 */
export async function unpackTar(
  source: ArchiveSource,
  directory: string,
  options: ReadArchiveOptions = {},
): Promise<string[]> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const archive = basename(source.name);
  const links = new Set<string>();
  const files = new Set<string>();
  const unpackEntry = async (entry: ArchiveEntry): Promise<void> => {
    const target = join(directory, entry.path);
    await mkdir(entry.kind === 'directory' ? target : dirname(target), { recursive: true, mode: 0o755 });
    switch (entry.kind) {
      case 'directory':
        await chmod(target, (entry.mode & 0o777) | 0o700);
        break;
      case 'file':
        if (await isOther(target)) throw unsafe(archive, entry.path, 'replaces something that is no file');
        await writeContent(entry.content, target, (entry.mode & 0o777) | 0o600);
        files.add(entry.path);
        break;
      case 'symlink':
        await addSymlink(archive, entry, target);
        links.add(entry.path);
        break;
      case 'hard-link':
        if (!files.has(entry.linkTarget))
          throw unsafe(
            archive,
            entry.path,
            `is a hard link to '${entry.linkTarget}', which is no file of the archive`,
          );
        refuseBelowLink(archive, entry.linkTarget, links);
        await link(join(directory, entry.linkTarget), target);
        files.add(entry.path);
        break;
    }
  };
  for await (const entry of readArchive(source, options)) {
    refuseBelowLink(archive, entry.path, links);
    try {
      await unpackEntry(entry);
    } catch (error) {
      if (impossible.has(errorCode(error) ?? ''))
        throw unsafe(archive, entry.path, `cannot be put where it says (${errorCode(error)})`);
      throw error;
    }
  }
  return [...files];
}

/** What the file system says when entries of one archive contradict each other, or have names that nothing can have. */
const impossible = new Set(['EEXIST', 'ENOTDIR', 'EISDIR', 'ELOOP', 'ENAMETOOLONG', 'ERR_INVALID_ARG_VALUE']);

function refuseBelowLink(archive: string, path: string, links: ReadonlySet<string>): void {
  for (let parent = path; parent !== '.'; parent = dirname(parent))
    if (links.has(parent)) throw unsafe(archive, path, `is written through the link '${parent}'`);
}

async function addSymlink(archive: string, entry: ArchiveEntry, target: string): Promise<void> {
  const leadsTo = normalize(join(dirname(entry.path), entry.linkTarget));
  if (entry.linkTarget.startsWith('/') || leadsTo === '..' || leadsTo.startsWith('../'))
    throw unsafe(archive, entry.path, `is a link to '${entry.linkTarget}', outside of the archive`);
  await symlink(entry.linkTarget, target);
}

async function isOther(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined);
  return found !== undefined && !found.isFile();
}

export async function writeContent(
  content: AsyncIterable<Uint8Array>,
  path: string,
  mode: number,
  onChunk?: (chunk: Uint8Array) => void,
): Promise<void> {
  const file = await open(path, 'w', mode);
  let pending: Promise<unknown> = Promise.resolve();
  try {
    let offset = 0;
    for await (const chunk of content) {
      const at = offset;
      offset += chunk.length;
      // One write is in flight while the chunk is hashed and the next one arrives.
      await pending;
      pending = writeAll(file, chunk, at, path);
      pending.catch(() => undefined); // it is awaited below; until then nobody listens
      onChunk?.(chunk);
    }
    await pending;
  } finally {
    await pending.catch(() => undefined);
    await file.close();
  }
}

const zeros = Buffer.alloc(1 << 20);

/** Like writeContent, but leaves holes where the content is zero: disk images are mostly empty. */
export async function writeSparse(
  content: AsyncIterable<Uint8Array>,
  path: string,
  onChunk: (chunk: Uint8Array) => void,
): Promise<void> {
  const file = await open(path, 'w', 0o600);
  let pending: Promise<unknown> = Promise.resolve();
  try {
    let offset = 0;
    for await (const chunk of content) {
      const isZero =
        chunk.length <= zeros.length && zeros.compare(chunk, 0, chunk.length, 0, chunk.length) === 0;
      const at = offset;
      offset += chunk.length;
      await pending;
      if (!isZero) pending = writeAll(file, chunk, at, path);
      pending.catch(() => undefined); // it is awaited below; until then nobody listens
      onChunk(chunk);
    }
    await pending;
    await file.truncate(offset);
  } finally {
    await pending.catch(() => undefined);
    await file.close();
  }
}

async function writeAll(
  file: Awaited<ReturnType<typeof open>>,
  chunk: Uint8Array,
  position: number,
  path: string,
): Promise<void> {
  let done = 0;
  try {
    while (done < chunk.length) {
      const { bytesWritten } = await file.write(chunk, done, chunk.length - done, position + done);
      done += bytesWritten;
    }
  } catch (error) {
    throw noRoom(error, path);
  }
}

/** A full disk, or a quota, said so that the operator knows what to do; anything else as it is. */
function noRoom(error: unknown, path: string): unknown {
  const code = errorCode(error);
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error;
  return new ArtifactNoRoom(`There is no room for '${path}'.`, {
    cause: error,
    advice: `Make room on the file system of '${dirname(path)}', or set TMPDIR to a folder that has it, and run the command again.`,
    details: { path },
  });
}
