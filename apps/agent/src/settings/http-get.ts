import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';

export interface HttpAnswer {
  readonly status: number;
  readonly etag?: string;
  readonly body: string;
}

export interface HttpOptions {
  readonly method?: 'GET' | 'PUT' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  /** PEM. Replaces the system's trust anchors. */
  readonly ca?: string;
  /** Connects there instead of resolving the host name; the certificate is still checked against the name. */
  readonly address?: string;
  /** From connecting to the last byte. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

const maxBodyBytes = 8 << 20;

/**
 * One request, without redirects, proxies or connection reuse; user-info in the URL becomes Basic authentication.
 * Node's own client rather than a library's: this runs before the agent answers, and loading a library costs 0.1 s.
 */
export async function httpGet(url: URL, options: HttpOptions): Promise<HttpAnswer> {
  const deadline = AbortSignal.timeout(options.timeoutMs);
  const signal = options.signal ? AbortSignal.any([options.signal, deadline]) : deadline;
  const target = new URL(url);
  target.username = '';
  target.password = '';
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
  const auth =
    url.username === ''
      ? {}
      : { auth: `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}` };

  return new Promise<HttpAnswer>((resolve, reject) => {
    const request = send(
      target,
      {
        method: options.method ?? 'GET',
        headers: { accept: 'application/json', connection: 'close', ...options.headers },
        agent: false,
        signal,
        ...auth,
        ...(options.ca === undefined ? {} : { ca: options.ca }),
        ...(options.address === undefined ? {} : { lookup: lookupOf(options.address) }),
      },
      (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size > maxBodyBytes)
            request.destroy(new Error(`the answer is larger than ${maxBodyBytes} bytes`));
          else chunks.push(chunk);
        });
        response.on('error', reject);
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            body: Buffer.concat(chunks).toString('utf8'),
            ...(response.headers.etag === undefined ? {} : { etag: response.headers.etag }),
          }),
        );
      },
    );
    request.on('error', (error) =>
      reject(deadline.aborted ? new Error(`no answer within ${options.timeoutMs} ms`) : error),
    );
    request.end();
  });
}

function lookupOf(address: string): LookupFunction {
  const family = isIP(address);
  return (_hostname, options, done) =>
    options.all ? done(null, [{ address, family }]) : done(null, address, family);
}
