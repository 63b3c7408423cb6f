import { randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { link, mkdir, open, rename, rm, stat, unlink, writeFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { Transform, type Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { DigestVerifier, isBlobId } from '@microbosh/agent-protocol';
import { errorCode } from '@microbosh/errors';
import { ActionError } from '../errors.ts';
import type { Layout } from '../layout.ts';

export interface OpenBlob {
  readonly size: number;
  pipeTo(target: Writable): Promise<void>;
  close(): Promise<void>;
}

const temporaryName = 'tmp';

/** The index of compiled packages and the temporary directory lie beside the blobs, but are none. */
function isReserved(id: string): boolean {
  return !isBlobId(id) || id.startsWith('.') || id === temporaryName;
}

function refuseReserved(id: string): void {
  if (isReserved(id)) throw new ActionError('The id of the blob is not valid', { code: 'E_BLOB_ID' });
}

/**
 * Blobs on this machine: `data/blobs` and what a micro stemcell brings are served over HTTPS, `data/sensitive_blobs` is not. A blob is complete or
 * absent: content goes to a temporary file first.
 */
export class LocalBlobs {
  readonly #layout: Layout;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  get temporaryDir(): string {
    return join(this.#layout.blobs, temporaryName);
  }

  async prepare(): Promise<void> {
    await mkdir(this.#layout.blobs, { recursive: true, mode: 0o700 });
    await mkdir(this.#layout.sensitiveBlobs, { recursive: true, mode: 0o700 });
    // Nothing there belongs to a running operation: this process has just begun.
    await rm(this.temporaryDir, { recursive: true, force: true });
    await mkdir(this.temporaryDir, { recursive: true, mode: 0o750 });
  }

  async temporaryFile(): Promise<string> {
    await mkdir(this.temporaryDir, { recursive: true, mode: 0o750 });
    return join(this.temporaryDir, randomUUID());
  }

  async write(id: string, content: Readable): Promise<void> {
    refuseReserved(id);
    const temporary = await this.temporaryFile();
    try {
      await pipeline(content, createWriteStream(temporary, { mode: 0o640, highWaterMark: 1 << 20 }));
      await rename(temporary, join(this.#layout.blobs, id));
    } catch (error) {
      await unlink(temporary).catch(() => undefined);
      throw error;
    }
  }

  /** Takes over a finished file of the same file system, or copies it. */
  async adopt(id: string, path: string): Promise<void> {
    const target = join(this.#layout.blobs, id);
    try {
      await link(path, target);
    } catch (error) {
      if (errorCode(error) !== 'EXDEV') throw error;
      await this.write(id, createReadStream(path));
    }
  }

  async writeSensitive(id: string, bytes: Uint8Array): Promise<void> {
    refuseReserved(id);
    const temporary = join(this.#layout.sensitiveBlobs, `.${randomUUID()}.tmp`);
    await mkdir(this.#layout.sensitiveBlobs, { recursive: true, mode: 0o700 });
    await writeFile(temporary, bytes, { mode: 0o600 });
    await rename(temporary, join(this.#layout.sensitiveBlobs, id));
  }

  async openPublic(id: string): Promise<OpenBlob | undefined> {
    if (isReserved(id)) return undefined;
    const file =
      (await openExisting(join(this.#layout.blobs, id))) ??
      (await openExisting(join(this.#layout.bakedBlobs, id)));
    if (file === undefined) return undefined;
    const info = await file.stat();
    if (!info.isFile()) {
      await file.close();
      return undefined;
    }
    return {
      size: info.size,
      pipeTo: (target) => pipeline(file.createReadStream({ highWaterMark: 1 << 20 }), target),
      close: () => file.close(),
    };
  }

  /** Path of a local blob, sensitive ones first; undefined when there is none. */
  async find(id: string): Promise<string | undefined> {
    if (isReserved(id)) return undefined;
    for (const dir of [this.#layout.sensitiveBlobs, this.#layout.blobs, this.#layout.bakedBlobs]) {
      const path = join(dir, id);
      if (await isFile(path)) return path;
    }
    return undefined;
  }

  async remove(id: string): Promise<void> {
    if (isReserved(id)) return;
    for (const dir of [this.#layout.sensitiveBlobs, this.#layout.blobs]) {
      await rm(join(dir, id), { force: true });
    }
  }
}

async function openExisting(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Reads a file to its end and compares its digest. */
export async function verifyFile(path: string, digest: string, what: string): Promise<void> {
  const verifier = new DigestVerifier(digest);
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    verifier.update(chunk);
  }
  verifier.verify(what);
}

/** Passes content on while it is hashed; fails at its end when the digest differs. */
export function verifying(digest: string, what: string): Transform {
  const verifier = new DigestVerifier(digest);
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      verifier.update(chunk);
      done(null, chunk);
    },
    flush(done) {
      try {
        verifier.verify(what);
        done();
      } catch (error) {
        done(error as Error);
      }
    },
  });
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR') return false;
    throw error;
  }
}
