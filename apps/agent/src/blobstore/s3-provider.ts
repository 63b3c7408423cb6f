import { createHash, createHmac } from 'node:crypto';
import type { BlobProvider } from './provider.ts';
import { download, probe, sha256OfFile, upload, type TransferOptions } from './http-transfer.ts';

export interface S3Options {
  readonly bucket: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly region: string;
  /** Origin, `https://host:port`; path-style addressing. */
  readonly endpoint: string;
  /** Prefix of every key. */
  readonly folder?: string;
  /** PEM. */
  readonly ca?: string;
}

const emptySha256 = createHash('sha256').update('').digest('hex');

/** An S3-compatible object store, path-style, signed with AWS Signature Version 4. */
export class S3Provider implements BlobProvider {
  readonly #options: S3Options;
  readonly #now: () => Date;

  constructor(options: S3Options, now: () => Date = () => new Date()) {
    this.#options = options;
    this.#now = now;
  }

  async get(id: string, path: string, signal?: AbortSignal): Promise<void> {
    const url = this.#url(id);
    await download(url, path, this.#transfer('GET', url, emptySha256, signal));
  }

  async put(path: string, id: string, signal?: AbortSignal): Promise<void> {
    const url = this.#url(id);
    await upload(url, path, this.#transfer('PUT', url, await sha256OfFile(path), signal));
  }

  async has(id: string, signal?: AbortSignal): Promise<boolean> {
    const url = this.#url(id);
    return (await probe(url, this.#transfer('HEAD', url, emptySha256, signal))) === 200;
  }

  #url(id: string): URL {
    const { endpoint, bucket, folder } = this.#options;
    const key = [bucket, ...(folder ?? '').split('/').filter(Boolean), id].map(encodeURIComponent).join('/');
    return new URL(`${endpoint.replace(/\/+$/, '')}/${key}`);
  }

  #transfer(method: string, url: URL, payloadHash: string, signal: AbortSignal | undefined): TransferOptions {
    const { ca } = this.#options;
    return {
      headers: signV4({ ...this.#options, method, url, payloadHash, at: this.#now() }),
      ...(ca === undefined ? {} : { ca }),
      ...(signal ? { signal } : {}),
    };
  }
}

/** Headers of a request signed with AWS Signature Version 4 for the service `s3`. */
export function signV4(request: {
  readonly method: string;
  readonly url: URL;
  readonly payloadHash: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly region: string;
  readonly at: Date;
}): Record<string, string> {
  const stamp = request.at.toISOString().replace(/[-:]|\.\d{3}/g, '');
  const day = stamp.slice(0, 8);
  const headers: Record<string, string> = {
    host: request.url.host,
    'x-amz-content-sha256': request.payloadHash,
    'x-amz-date': stamp,
  };
  const names = Object.keys(headers).sort();
  const canonical = [
    request.method,
    request.url.pathname,
    request.url.searchParams.toString(),
    ...names.map((name) => `${name}:${headers[name] ?? ''}`),
    '',
    names.join(';'),
    request.payloadHash,
  ].join('\n');
  const scope = `${day}/${request.region}/s3/aws4_request`;
  const toSign = [
    'AWS4-HMAC-SHA256',
    stamp,
    scope,
    createHash('sha256').update(canonical).digest('hex'),
  ].join('\n');
  const hmac = (key: string | Buffer, text: string) => createHmac('sha256', key).update(text).digest();
  const key = [day, request.region, 's3', 'aws4_request'].reduce<string | Buffer>(
    (current, part) => hmac(current, part),
    `AWS4${request.secretAccessKey}`,
  );
  const signature = hmac(key, toSign).toString('hex');
  return {
    ...headers,
    authorization: `AWS4-HMAC-SHA256 Credential=${request.accessKeyId}/${scope}, SignedHeaders=${names.join(';')}, Signature=${signature}`,
  };
}
