import { errorCode, messageOf } from '@microbosh/errors';
import { Agent, EnvHttpProxyAgent } from 'undici';
import type { Dispatcher } from 'undici';
import { CloudError } from '../errors.ts';

/** `connection_options` of a cloud: names as in the original OpenStack CPI, the same for all clouds. */
export interface ConnectionOptions {
  readonly ca_cert?: string | undefined;
  readonly ssl_verify_peer?: boolean | undefined;
  /** Seconds without an answer. */
  readonly read_timeout?: number | undefined;
}

/** Connections to a cloud, through the proxy that the environment names. */
export function cloudDispatcher(
  options: ConnectionOptions,
  defaults: { readonly connectTimeoutMs: number; readonly readTimeoutSeconds: number },
): Dispatcher {
  const { ca_cert: ca, ssl_verify_peer: verify, read_timeout: readTimeout } = options;
  const connect = {
    ...(ca === undefined || ca === '' ? {} : { ca }),
    ...(verify === false ? { rejectUnauthorized: false } : {}),
    timeout: defaults.connectTimeoutMs,
  };
  const timeoutMs = (readTimeout ?? defaults.readTimeoutSeconds) * 1000;
  const limits = { connect, headersTimeout: timeoutMs, bodyTimeout: timeoutMs };
  const proxied = ['http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'].some(
    (name) => process.env[name],
  );
  return proxied ? new EnvHttpProxyAgent(limits) : new Agent(limits);
}

/** The body as text; throws CloudError beyond the limit. */
export async function limitedText(
  body: AsyncIterable<unknown>,
  maxBytes: number,
  what: string,
): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) throw new CloudError(`${what}: the answer is too large`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** What to do about a certificate that nobody vouches for; undefined when that is not what went wrong. */
export function untrustedCertificate(server: string, error: unknown): CloudError | undefined {
  if (!/CERT|SELF_SIGNED|UNABLE_TO_VERIFY/.test(errorCode(error) ?? '')) return undefined;
  return new CloudError(`The certificate of ${server} is not trusted: ${messageOf(error)}`, {
    cause: error,
    advice:
      "Put the authority's certificate into 'connection_options.ca_cert', or 'connection_options.ssl_verify_peer: false' to trust anyone.",
  });
}
