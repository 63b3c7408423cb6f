import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseDigest } from '@microbosh/agent-protocol';
import { ActionError, wrapping } from '../errors.ts';
import { download, upload } from './http-transfer.ts';
import { verifyFile, type LocalBlobs } from './local-blobs.ts';
import type { BlobProvider } from './provider.ts';

/** Where a blob is: in the blobstore, or behind a signed URL. */
export interface BlobSource {
  readonly blobId: string;
  readonly digest: string;
  readonly signedUrl?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A file whose digest was verified; `dispose` deletes it unless it is the blob itself. */
export interface FetchedBlob {
  readonly path: string;
  dispose(): Promise<void>;
}

const attempts = 3;

/** Order and retries of the original: local stores first, then the provider; provider and signed URLs three times. */
export class BlobManager {
  readonly #local: LocalBlobs;
  readonly #provider: () => Promise<BlobProvider>;
  readonly #retryDelayMs: number;

  constructor(options: {
    readonly local: LocalBlobs;
    readonly provider: () => Promise<BlobProvider>;
    readonly retryDelayMs?: number;
  }) {
    this.#local = options.local;
    this.#provider = options.provider;
    this.#retryDelayMs = options.retryDelayMs ?? 1_000;
  }

  async fetch(source: BlobSource, signal?: AbortSignal): Promise<FetchedBlob> {
    parseDigest(source.digest);
    if (source.signedUrl !== undefined && source.signedUrl !== '') {
      const url = signedUrl(source.signedUrl);
      const headers = source.headers ?? {};
      return this.#fetchInto(
        source,
        (path) => download(url, path, { headers, ...(signal ? { signal } : {}) }),
        signal,
      );
    }
    const local = await this.#local.find(source.blobId);
    if (local !== undefined) {
      await verifyFile(local, source.digest, `blob '${source.blobId}'`);
      return { path: local, dispose: async () => undefined };
    }
    const provider = await this.#provider();
    return this.#fetchInto(source, (path) => provider.get(source.blobId, path, signal), signal);
  }

  /** Stores a finished file in the blobstore. The digest is SHA-1, as both originals create it. */
  async store(
    path: string,
    signal?: AbortSignal,
  ): Promise<{ readonly blobId: string; readonly sha1: string }> {
    const blobId = randomUUID();
    const provider = await this.#provider();
    await this.#retry(() => provider.put(path, blobId, signal), signal);
    return { blobId, sha1: await hashFile('sha1', path) };
  }

  /** Sends a finished file to a signed URL, once; the digest has both forms, as in the original. */
  async storeAt(
    url: string,
    path: string,
    headers: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<string> {
    await upload(signedUrl(url), path, { headers, ...(signal ? { signal } : {}) });
    return `${await hashFile('sha1', path)};sha512:${await hashFile('sha512', path)}`;
  }

  async has(blobId: string): Promise<boolean> {
    if ((await this.#local.find(blobId)) !== undefined) return true;
    return (await (await this.#provider()).has(blobId)) === true;
  }

  async #fetchInto(
    source: BlobSource,
    get: (path: string) => Promise<void>,
    signal: AbortSignal | undefined,
  ): Promise<FetchedBlob> {
    const path = await this.#local.temporaryFile();
    const dispose = () => rm(path, { force: true });
    try {
      await this.#retry(async () => {
        await dispose();
        await get(path);
        await verifyFile(path, source.digest, `blob '${source.blobId}'`);
      }, signal);
      return { path, dispose };
    } catch (error) {
      await dispose();
      throw error;
    }
  }

  async #retry(run: () => Promise<void>, signal: AbortSignal | undefined): Promise<void> {
    await wrapping(`Trying the blobstore up to ${attempts} times`, async () => {
      for (let attempt = 1; ; attempt += 1) {
        signal?.throwIfAborted();
        try {
          return await run();
        } catch (error) {
          if (attempt >= attempts) throw error;
          await sleep(this.#retryDelayMs, undefined, signal ? { signal } : {});
        }
      }
    });
  }
}

export async function hashFile(algorithm: 'sha1' | 'sha512', path: string): Promise<string> {
  const hash = createHash(algorithm);
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('hex');
}

function signedUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === 'https:' || url?.protocol === 'http:') return url;
  throw new ActionError('The signed URL is no http or https URL', { code: 'E_BLOB_URL' });
}
