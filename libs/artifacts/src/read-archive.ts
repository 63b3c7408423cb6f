import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import { Readable } from 'node:stream';
import { errorCode, isOperationalError, messageOf } from '@microbosh/errors';
import { extract, type Header } from 'tar-stream';
import { decompress } from './decompress.ts';
import { ArchiveDamaged, ArchiveUnsafe, ArtifactUnreadable } from './errors.ts';

/** What an archive may unpack to; more than that is a bomb. */
export interface ArchiveLimits {
  readonly maxEntries: number;
  readonly maxBytes: number;
  /** Unpacked bytes per packed byte, beyond the first 64 MiB. */
  readonly maxRatio: number;
}

/** For archives as large as a stemcell with its raw, mostly empty disk image. */
export const defaultLimits: ArchiveLimits = { maxEntries: 500_000, maxBytes: 2 ** 36, maxRatio: 250 };

export interface ArchiveEntry {
  /** Relative, without `.` and `..`; safe to join to a directory. */
  readonly path: string;
  readonly kind: 'file' | 'directory' | 'symlink' | 'hard-link';
  /** As written; for hard links a safe relative path. Empty for other kinds. */
  readonly linkTarget: string;
  /** Permission bits. */
  readonly mode: number;
  readonly sizeBytes: number;
  /** To be read before the next entry is asked for; the rest is skipped. */
  readonly content: AsyncIterable<Buffer>;
}

export interface ReadArchiveOptions {
  readonly limits?: ArchiveLimits;
  readonly signal?: AbortSignal;
  /** Sees every byte of the file as it is on disk, in order, to its end. */
  readonly onPackedChunk?: (chunk: Uint8Array) => void;
}

export interface ArchiveSource {
  /** Shown in messages. */
  readonly name: string;
  readonly packed: AsyncIterable<Uint8Array>;
}

const readBytes = 1 << 20;
const ratioFreeBytes = 64 << 20;

export function archiveFile(path: string): ArchiveSource {
  return { name: path, packed: createReadStream(path, { highWaterMark: readBytes }) };
}

export function archiveBytes(name: string, bytes: Uint8Array): ArchiveSource {
  return { name, packed: Readable.from([bytes], { objectMode: false }) };
}

/**
 * Entries of a tar archive (plain, gzip, zstd, xz, bzip2), one after the other, in one pass. Refuses entries that no
 * honest archive holds before they are handed out. Throws ArchiveDamaged, ArchiveUnsafe, ArtifactUnreadable, and what
 * the signal was aborted with.
 */
export async function* readArchive(
  source: ArchiveSource,
  options: ReadArchiveOptions = {},
): AsyncGenerator<ArchiveEntry> {
  const limits = options.limits ?? defaultLimits;
  const archive = basename(source.name);
  let packedBytes = 0;
  let unpackedBytes = 0;
  let entryPath = '';
  const place = () => (entryPath === '' ? archive : `${archive}, entry '${entryPath}'`);

  const counted = async function* () {
    for await (const chunk of source.packed) {
      options.signal?.throwIfAborted();
      packedBytes += chunk.length;
      options.onPackedChunk?.(chunk);
      yield chunk;
    }
  };
  const parser = extract();
  let inputError: unknown;
  const feed = (async () => {
    try {
      for await (const chunk of decompress(counted(), archive)) {
        unpackedBytes += chunk.length;
        if (
          unpackedBytes > limits.maxBytes ||
          (unpackedBytes > ratioFreeBytes && unpackedBytes > packedBytes * limits.maxRatio)
        )
          throw bomb(place(), unpackedBytes, packedBytes);
        if (parser.destroyed) return;
        if (!parser.write(chunk)) await drained(parser);
      }
      parser.end(null);
    } catch (error) {
      inputError = error;
      parser.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  })();

  const failure = (error: unknown) => translate(inputError ?? error, source.name, place());
  // What is read fails in the reader's hands, not in this function's.
  const readable = async function* (content: AsyncIterable<Buffer>) {
    try {
      yield* content;
    } catch (error) {
      options.signal?.throwIfAborted();
      throw failure(error);
    }
  };
  let entries = 0;
  try {
    for await (const entry of parser) {
      entryPath = entry.header.name;
      entries += 1;
      if (entries > limits.maxEntries) throw bomb(place(), unpackedBytes, packedBytes);
      const described = describe(entry.header, readable(entry as AsyncIterable<Buffer>), archive);
      if (described !== undefined) yield described;
      entry.resume();
    }
    await feed;
    if (inputError !== undefined) throw inputError;
    if (entries === 0)
      throw new ArchiveDamaged(`${archive} is not a tar archive, or an empty one.`, {
        advice: 'Check that the file is a release or stemcell tarball; download or build it again.',
      });
  } catch (error) {
    options.signal?.throwIfAborted();
    throw failure(error);
  } finally {
    parser.destroy(null);
    await feed;
  }
}

/** The parser takes more, or has been destroyed. */
function drained(parser: ReturnType<typeof extract>): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      parser.off('drain', done);
      parser.off('close', done);
      resolve();
    };
    parser.on('drain', done);
    parser.on('close', done);
  });
}

/** Said by streams whose input ended early. */
const streamCodes = new Set(['ERR_STREAM_PREMATURE_CLOSE', 'STREAM_DESTROYED', 'PREMATURE_CLOSE']);

function translate(error: unknown, file: string, place: string): unknown {
  if (isOperationalError(error)) return error;
  const code = errorCode(error);
  if (code === 'ENOENT' || code === 'EACCES' || code === 'EISDIR') {
    return new ArtifactUnreadable(`${file} cannot be read: ${messageOf(error)}`, {
      cause: error,
      advice: 'Check the path and its permissions.',
    });
  }
  // Errors of the code that reads the entries (a full disk, say) keep their own words.
  if (code !== undefined && !code.startsWith('Z_') && !code.startsWith('ZSTD_') && !streamCodes.has(code))
    return error;
  return new ArchiveDamaged(`${place} is damaged: ${messageOf(error)}`, {
    cause: error,
    advice: 'The file is truncated or altered; download or build it again.',
    details: { file },
  });
}

function describe(header: Header, content: AsyncIterable<Buffer>, archive: string): ArchiveEntry | undefined {
  const common = {
    mode: header.mode & 0o7777,
    sizeBytes: header.size,
    content,
  };
  const kind = kinds.get(header.type);
  if (kind === undefined) throw unsafe(archive, header.name, `is a ${describeType(header.type)}`);
  const path = safePath(archive, header.name, 'path');
  if (path === '') return undefined;
  if (kind === 'file' || kind === 'directory') return { path, kind, linkTarget: '', ...common };
  // Null in spite of its type, where the header has nothing there.
  const linkTarget = header.linkname as string | null;
  if (linkTarget === null || linkTarget === '') throw unsafe(archive, header.name, 'is a link to nothing');
  switch (kind) {
    case 'symlink':
      return { path, kind, linkTarget, ...common };
    case 'hard-link':
      return { path, kind, linkTarget: safePath(archive, linkTarget, 'hard link'), ...common };
  }
}

const kinds: ReadonlyMap<string | null, ArchiveEntry['kind']> = new Map([
  ['file', 'file'],
  ['contiguous-file', 'file'],
  ['directory', 'directory'],
  ['symlink', 'symlink'],
  ['link', 'hard-link'],
]);

/** The parser gives null for types that it does not know (old sparse files among them). */
const describeType = (type: string | null) => type?.replaceAll('-', ' ') ?? 'file of an unknown kind';

/** The path without empty and `.` segments. Throws ArchiveUnsafe when it is absolute or has a `..`. */
function safePath(archive: string, path: string, what: 'path' | 'hard link'): string {
  const subject = what === 'path' ? 'has' : 'is a hard link to';
  if (path.startsWith('/')) throw unsafe(archive, path, `${subject} an absolute path`);
  const segments = path.split('/').filter((segment) => segment !== '' && segment !== '.');
  if (segments.includes('..')) throw unsafe(archive, path, `${subject} a path with '..' in it`);
  if (path.includes('\0')) throw unsafe(archive, path, `${subject} a path with a zero byte in it`);
  return segments.join('/');
}

export function unsafe(archive: string, entry: string, problem: string): ArchiveUnsafe {
  return new ArchiveUnsafe(`${archive}, entry '${entry}' ${problem}: refused.`, {
    advice:
      'Nothing honest packs this. Find out where the file comes from, and get it again from its author.',
    details: { archive, entry },
  });
}

function bomb(place: string, unpacked: number, packed: number): ArchiveUnsafe {
  const mib = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MiB`;
  return new ArchiveUnsafe(
    `${place}: the archive unpacks to far more than it should (${mib(unpacked)} so far, from ${mib(packed)}): refused.`,
    { advice: 'This looks like a decompression bomb. Find out where the file comes from.' },
  );
}
