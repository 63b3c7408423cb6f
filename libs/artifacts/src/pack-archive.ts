import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { pack } from 'tar-stream';

export interface PackedFile {
  /** Relative; it is written with a leading `./`. */
  readonly path: string;
  readonly content: string | Uint8Array | { readonly file: string; readonly sizeBytes: number };
  /** Default 0644. */
  readonly mode?: number;
}

export interface PackedLink {
  readonly path: string;
  readonly linkTarget: string;
}

export interface PackedArchive {
  readonly path: string;
  /** `sha256:<hex>`. */
  readonly digest: string;
  readonly sizeBytes: number;
}

/**
 * Writes a tar.gz that depends on nothing but the entries: sorted by path, no owner, no time; directories are listed
 * before what is in them.
 */
export async function packTarGz(
  entries: readonly (PackedFile | PackedLink)[],
  path: string,
  options: { readonly signal?: AbortSignal } = {},
): Promise<PackedArchive> {
  const archive = pack();
  const hash = createHash('sha256');
  let sizeBytes = 0;
  const measure = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      sizeBytes += chunk.length;
      done(null, chunk);
    },
  });
  const written = pipeline(
    Readable.from(archive as AsyncIterable<Buffer>, { objectMode: false }),
    createGzip(),
    measure,
    createWriteStream(path, { mode: 0o600 }),
    options.signal === undefined ? {} : { signal: options.signal },
  );
  // A failure here ends the packing below with the same error.
  written.catch((error: unknown) =>
    archive.destroy(error instanceof Error ? error : new Error(String(error))),
  );
  const fill = async () => {
    const byPath = [...entries].sort((left, right) =>
      left.path < right.path ? -1 : left.path > right.path ? 1 : 0,
    );
    for (const directory of directoriesOf(byPath.map((entry) => entry.path)))
      await addEntry(archive, {
        name: directory === '' ? './' : `./${directory}/`,
        type: 'directory',
        mode: 0o755,
      });
    for (const entry of byPath) await addFile(archive, entry);
    archive.finalize();
  };
  await Promise.all([
    written,
    fill().catch((error: unknown) => {
      archive.destroy(error instanceof Error ? error : new Error(String(error)));
      throw error;
    }),
  ]);
  return { path, digest: `sha256:${hash.digest('hex')}`, sizeBytes };
}

type Pack = ReturnType<typeof pack>;
type Headers = Parameters<Pack['entry']>[0];
const constant = { mtime: new Date(0), uid: 0, gid: 0, uname: '', gname: '' };

async function addFile(archive: Pack, entry: PackedFile | PackedLink): Promise<void> {
  const name = `./${entry.path}`;
  if ('linkTarget' in entry) {
    await addEntry(archive, { name, type: 'symlink', linkname: entry.linkTarget, mode: 0o777 });
    return;
  }
  const mode = entry.mode ?? 0o644;
  if (typeof entry.content === 'string' || entry.content instanceof Uint8Array) {
    await addEntry(archive, { name, mode }, Buffer.from(entry.content));
    return;
  }
  const { file, sizeBytes } = entry.content;
  const sink = archive.entry({ ...constant, name, mode, size: sizeBytes });
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), sink);
}

function addEntry(archive: Pack, headers: Headers, content?: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: Error | null) => (error ? reject(error) : resolve());
    if (content === undefined) archive.entry({ ...constant, ...headers }, done);
    else archive.entry({ ...constant, ...headers }, content, done);
  });
}

function directoriesOf(paths: readonly string[]): string[] {
  const directories = new Set<string>(['']);
  for (const path of paths) {
    const segments = path.split('/').slice(0, -1);
    segments.forEach((_segment, index) => directories.add(segments.slice(0, index + 1).join('/')));
  }
  return [...directories].sort();
}
