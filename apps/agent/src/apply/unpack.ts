import { createReadStream, createWriteStream } from 'node:fs';
import { chmod, link, lstat, mkdir, open, statfs, symlink } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { errorCode } from '@microbosh/errors';
import { extract, type Header } from 'tar-stream';
import { ActionError } from '../errors.ts';

export class ArchiveInvalid extends ActionError {
  constructor(message: string, cause?: unknown) {
    super(message, {
      code: 'E_ARCHIVE',
      cause,
      advice: 'Build the release again; nothing was installed from it.',
    });
  }
}

const maxEntries = 1_000_000;
const maxBytes = 64 * 2 ** 30;

/**
 * Unpacks a tar or tar.gz. `place` maps a member's clean path to where it goes, or undefined to leave it out. Refused:
 * absolute paths, `..`, devices, sockets, members below a link of the same archive, hard links to anything that is
 * not a file of the archive, and more than the file system has room for.
 */
export async function unpack(
  archive: string,
  place: (path: string) => string | undefined,
  options: { readonly root: string; readonly signal?: AbortSignal },
): Promise<{ readonly entries: number }> {
  const space = await statfs(options.root);
  const freeBytes = Math.min(space.bavail * space.bsize, maxBytes);
  const links = new Set<string>();
  const files = new Map<string, string>();
  const made = new Set<string>();
  let entries = 0;
  let bytes = 0;

  const makeDir = async (path: string) => {
    if (made.has(path)) return;
    await mkdir(path, { recursive: true, mode: 0o755 });
    made.add(path);
  };

  const tar = extract();
  const input = pipeline(await decompressed(archive), tar, options.signal ? { signal: options.signal } : {});
  input.catch(() => undefined);
  try {
    for await (const entry of tar) {
      const header = entry.header;
      entries += 1;
      if (entries > maxEntries) throw new ArchiveInvalid('The archive has too many members');
      const path = cleanMember(header.name);
      const target = path === '' ? undefined : place(path);
      if (target === undefined) {
        entry.resume();
        continue;
      }
      for (let parent = posix.dirname(path); parent !== '.'; parent = posix.dirname(parent)) {
        if (links.has(parent)) throw new ArchiveInvalid(`The archive writes through the link '${parent}'`);
      }
      bytes += header.size ?? 0;
      if (bytes > freeBytes) {
        throw new ActionError('There is no room to unpack the archive', {
          code: 'E_NO_SPACE',
          advice: 'Give the VM a larger ephemeral disk.',
        });
      }
      await makeDir(dirname(target));
      await writeMember(header, entry, { path, target, links, files, makeDir });
    }
    await input;
  } catch (error) {
    if (error instanceof ActionError || errorCode(error)?.startsWith('E')) throw error;
    throw new ArchiveInvalid('The archive cannot be read', error);
  }
  return { entries };
}

async function writeMember(
  header: Header,
  content: AsyncIterable<unknown> & { readonly destroyed: boolean; resume(): unknown },
  to: {
    readonly path: string;
    readonly target: string;
    readonly links: Set<string>;
    readonly files: Map<string, string>;
    readonly makeDir: (path: string) => Promise<void>;
  },
): Promise<void> {
  const mode = (header.mode ?? 0o644) & 0o777;
  switch (header.type) {
    case 'directory':
      content.resume();
      // Its mode would become that of what the link points at.
      if (to.links.has(to.path)) throw new ArchiveInvalid('The archive has two members of the same name');
      await to.makeDir(to.target);
      await chmod(to.target, mode | 0o700);
      return;
    case 'symlink':
      content.resume();
      await refuseExisting(to.target);
      await symlink(header.linkname ?? '', to.target);
      to.links.add(to.path);
      return;
    case 'link': {
      content.resume();
      const source = to.files.get(cleanMember(header.linkname ?? ''));
      if (source === undefined)
        throw new ArchiveInvalid(`'${to.path}' links to what is no file of the archive`);
      await link(source, to.target);
      to.files.set(to.path, source);
      return;
    }
    case 'file':
    case 'contiguous-file':
      // Waiting for one that is gone already would never end.
      if (content.destroyed) throw new ArchiveInvalid(`The archive ends within '${to.path}'`);
      await pipeline(content, createWriteStream(to.target, { flags: 'wx', mode: mode | 0o200 }));
      await chmod(to.target, mode);
      to.files.set(to.path, to.target);
      return;
    default:
      throw new ArchiveInvalid(
        `'${to.path}' is a ${header.type ?? 'member of unknown kind'}, which is not allowed`,
      );
  }
}

async function refuseExisting(path: string): Promise<void> {
  const existing = await lstat(path).catch(() => undefined);
  if (existing) throw new ArchiveInvalid('The archive has two members of the same name');
}

/** Relative path without `./` and trailing slash; '' for the root itself. */
function cleanMember(name: string): string {
  if (name.startsWith('/') || name.includes('\0')) throw new ArchiveInvalid(`'${name}' is an absolute path`);
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw new ArchiveInvalid(`'${name}' leads out of the archive`);
  return parts.join('/');
}

async function decompressed(archive: string): Promise<Readable> {
  const file = await open(archive, 'r');
  const magic = Buffer.alloc(2);
  try {
    await file.read(magic, 0, 2, 0);
  } finally {
    await file.close();
  }
  const raw = createReadStream(archive, { highWaterMark: 1 << 20 });
  if (magic[0] !== 0x1f || magic[1] !== 0x8b) return raw;
  const gunzip = createGunzip({ chunkSize: 1 << 18 });
  raw.on('error', (error) => gunzip.destroy(error));
  return raw.pipe(gunzip);
}

/** Target below `dir` for every member; the whole archive. */
export function everythingBelow(dir: string): (path: string) => string {
  return (path) => join(dir, path);
}
