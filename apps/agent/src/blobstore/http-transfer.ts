import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { pipeline } from 'node:stream/promises';
import { ActionError } from '../errors.ts';

export interface TransferOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** PEM authority of the server; absent: the system's. */
  readonly ca?: string;
  readonly signal?: AbortSignal;
}

const idleMs = 120_000;

/** GET into a file; anything but 200 is an error. */
export async function download(url: URL, path: string, options: TransferOptions = {}): Promise<void> {
  const response = await exchange('GET', url, options);
  if (response.statusCode !== 200) throw statusError('GET', url, response);
  await pipeline(response, createWriteStream(path, { flags: 'wx', mode: 0o600, highWaterMark: 1 << 20 }));
}

/** PUT of a file; any 2xx is success. */
export async function upload(url: URL, path: string, options: TransferOptions = {}): Promise<void> {
  const { size } = await stat(path);
  const headers = { 'content-length': String(size), expect: '100-continue', ...options.headers };
  const response = await exchange('PUT', url, { ...options, headers }, path);
  response.resume();
  const status = response.statusCode ?? 0;
  if (status < 200 || status > 299) throw statusError('PUT', url, response);
}

/** Status of a HEAD. */
export async function probe(url: URL, options: TransferOptions = {}): Promise<number> {
  const response = await exchange('HEAD', url, options);
  response.resume();
  return response.statusCode ?? 0;
}

export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('hex');
}

async function exchange(
  method: string,
  url: URL,
  options: TransferOptions,
  bodyPath?: string,
): Promise<IncomingMessage> {
  const requestOptions: RequestOptions & { ca?: string } = {
    method,
    headers: { ...options.headers },
    ...(options.ca === undefined ? {} : { ca: options.ca }),
    ...(options.signal ? { signal: options.signal } : {}),
  };
  return new Promise((resolve, reject) => {
    const request =
      url.protocol === 'https:' ? httpsRequest(url, requestOptions) : httpRequest(url, requestOptions);
    request.setTimeout(idleMs, () => request.destroy(new Error(`no data for ${idleMs} ms`)));
    request.once('response', resolve);
    request.once('error', (error) =>
      reject(
        new ActionError(`${method} ${withoutSecrets(url)}`, {
          code: 'E_BLOB_TRANSFER',
          retryable: true,
          cause: error,
        }),
      ),
    );
    if (bodyPath === undefined) {
      request.end();
      return;
    }
    const send = () =>
      void pipeline(createReadStream(bodyPath, { highWaterMark: 1 << 20 }), request).catch(() => undefined);
    // A server that refuses does so before the body is sent; one that says nothing gets the body after a second.
    const patience = setTimeout(send, 1_000);
    request.once('continue', () => {
      clearTimeout(patience);
      send();
    });
    request.once('response', () => clearTimeout(patience));
    request.once('close', () => clearTimeout(patience));
    request.flushHeaders();
  });
}

function statusError(method: string, url: URL, response: IncomingMessage): ActionError {
  response.resume();
  const status = response.statusCode ?? 0;
  return new ActionError(`${method} ${withoutSecrets(url)}: unexpected status ${status}`, {
    code: 'E_BLOB_STATUS',
    retryable: status >= 500 || status === 429,
    details: { status },
  });
}

/** User info and query (signatures) are secrets. */
export function withoutSecrets(url: URL): string {
  return `${url.protocol}//${url.host}${url.pathname}`;
}
