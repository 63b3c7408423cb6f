import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { getCACertificates } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { isOperationalError, messageOf } from '@microbosh/errors';
import { retry, syncDirectory, type RetryPolicy } from '@microbosh/host';
import { parseDigest, strongestDigest, type ArtifactRef } from '@microbosh/spec';
import { Agent, EnvHttpProxyAgent, fetch, type buildConnector } from 'undici';
import { Digester } from './digester.ts';
import { ArtifactUnreadable, DigestMismatch, DownloadFailed } from './errors.ts';
import { writeContent } from './unpack-archive.ts';

export interface FetchOptions {
  /** Verified downloads are kept here under their digest. */
  readonly cacheDir: string;
  readonly signal?: AbortSignal;
  readonly retryPolicy?: RetryPolicy;
  /** Longest silence of the server. Default 60 000. */
  readonly stallTimeoutMs?: number;
  /** Makes the connections, in the place of this machine's network and its proxies for HTTP. */
  readonly connector?: (tls: buildConnector.BuildOptions) => buildConnector.connector;
  readonly onProgress?: (receivedBytes: number, totalBytes: number | undefined) => void;
}

export interface FetchedArtifact {
  readonly path: string;
  /** Digest string that is still to be verified by whoever reads the file: that of a local file. */
  readonly unverified?: string;
  readonly fromCache: boolean;
}

const defaultPolicy: RetryPolicy = { attempts: 3, delayMs: 500 };

/**
 * Brings an artifact to this machine. Local files are used in place; what is downloaded is verified while it arrives
 * and kept by its digest, so that one content is downloaded once whatever its URL.
 * Throws ArtifactUnreadable, DownloadFailed, DigestMismatch, DigestInvalid.
 */
export async function fetchArtifact(ref: ArtifactRef, options: FetchOptions): Promise<FetchedArtifact> {
  if (!/^https?:\/\//i.test(ref.url)) return useLocalFile(ref);

  const shown = withoutPassword(ref.url);
  if (ref.sha1 === undefined || ref.sha1.trim() === '')
    throw new DownloadFailed(`'${shown}' has no digest: what is downloaded must be verifiable.`, {
      advice: "Add the 'sha1' of the artifact to the manifest (sha1, sha256:… or sha512:…).",
    });
  const { algorithm, hex } = strongestDigest(parseDigest(ref.sha1));
  const cached = join(options.cacheDir, `${algorithm}-${hex}`);
  if (await holds(cached, ref.sha1)) return { path: cached, fromCache: true };

  await mkdir(options.cacheDir, { recursive: true, mode: 0o700 });
  const partial = join(options.cacheDir, `.${algorithm}-${hex}.${randomBytes(6).toString('hex')}.part`);
  try {
    await retry(
      options.retryPolicy ?? defaultPolicy,
      () => download(ref.url, shown, ref.sha1 ?? '', partial, options),
      {
        ...(options.signal === undefined ? {} : { signal: options.signal }),
        shouldRetry: (error) =>
          !isOperationalError(error) || error.retryable || error instanceof DigestMismatch,
      },
    );
    await rename(partial, cached);
    await syncDirectory(options.cacheDir);
  } catch (error) {
    options.signal?.throwIfAborted();
    throw error;
  } finally {
    await rm(partial, { force: true });
  }
  return { path: cached, fromCache: false };
}

async function useLocalFile(ref: ArtifactRef): Promise<FetchedArtifact> {
  const path = localPath(ref.url);
  const found = await stat(path).catch((error: unknown) => {
    throw new ArtifactUnreadable(`'${path}' cannot be read: ${messageOf(error)}`, {
      cause: error,
      advice: 'Check the url in the manifest, and the permissions of the file.',
    });
  });
  if (!found.isFile())
    throw new ArtifactUnreadable(`'${path}' is not a file.`, { advice: 'Give the path of a tarball.' });
  return { path, fromCache: false, ...(ref.sha1 === undefined ? {} : { unverified: ref.sha1 }) };
}

/** `file://~/x` and `file://rel` are no proper URLs, but manifests have them. */
function localPath(url: string): string {
  const path = /^file:\/\/\//i.test(url) ? fileURLToPath(encodeHash(url)) : url.replace(/^file:\/\//i, '');
  return path.startsWith('~/') ? join(homedir(), path.slice(2)) : path;
}

const encodeHash = (url: string) => url.replaceAll('%', '%25').replaceAll('#', '%23').replaceAll('?', '%3F');

/** A damaged file in the cache is not used, and is replaced by the download that follows. */
async function holds(path: string, digest: string): Promise<boolean> {
  if ((await stat(path).catch(() => undefined)) === undefined) return false;
  const digester = Digester.for(digest);
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>)
    digester.update(chunk);
  try {
    digester.verify(digest, path, '');
    return true;
  } catch (error) {
    if (error instanceof DigestMismatch) return false;
    throw error;
  }
}

async function download(
  url: string,
  shown: string,
  digest: string,
  target: string,
  options: FetchOptions,
): Promise<void> {
  const stall = new AbortController();
  const stallTimeoutMs = options.stallTimeoutMs ?? 60_000;
  let lastByteAt = Date.now();
  const finished = new AbortController();
  const watch = (async () => {
    while (!finished.signal.aborted) {
      await sleep(Math.min(1000, stallTimeoutMs), undefined, { signal: finished.signal }).catch(
        () => undefined,
      );
      if (Date.now() - lastByteAt > stallTimeoutMs)
        stall.abort(new Error(`no data for ${stallTimeoutMs / 1000} s`));
    }
  })();
  const agent = dispatcher(options.connector);
  try {
    const { address, authorization } = splitCredentials(url);
    const response = await fetch(address, {
      dispatcher: agent,
      redirect: 'follow',
      headers: { 'accept-encoding': 'identity', ...(authorization === undefined ? {} : { authorization }) },
      signal: AbortSignal.any([stall.signal, ...(options.signal === undefined ? [] : [options.signal])]),
    });
    if (!response.ok || response.body === null)
      throw new DownloadFailed(
        `Failed to download from '${shown}': the server answered ${response.status}.`,
        {
          retryable: response.status >= 500 || response.status === 429 || response.status === 408,
          advice: 'Check the url in the manifest.',
          details: { status: response.status },
        },
      );
    const length = Number(response.headers.get('content-length') ?? Number.NaN);
    const digester = Digester.for(digest);
    await writeContent(response.body as AsyncIterable<Uint8Array>, target, 0o600, (chunk) => {
      lastByteAt = Date.now();
      digester.update(chunk);
      options.onProgress?.(digester.sizeBytes, Number.isNaN(length) ? undefined : length);
    });
    digester.verify(
      digest,
      `What '${shown}' serves`,
      "Check the 'sha1' in the manifest; if it is right, the server or a proxy delivers something else.",
    );
  } catch (error) {
    options.signal?.throwIfAborted();
    if (isOperationalError(error)) throw error;
    const reason = stall.signal.aborted ? messageOf(stall.signal.reason) : networkReason(error);
    throw new DownloadFailed(`Failed to download from '${shown}': ${reason}`, {
      cause: error,
      retryable: true,
      advice:
        'Check that this machine reaches the server; a proxy is taken from BOSH_ALL_PROXY, or HTTPS_PROXY, HTTP_PROXY and NO_PROXY.',
    });
  } finally {
    finished.abort();
    await watch;
    await agent.close().catch(() => undefined);
  }
}

/** Through the proxies of the environment; trusts the roots of the system beside those of Node.js. */
function dispatcher(connector: FetchOptions['connector']): Agent | EnvHttpProxyAgent {
  const ca = [...new Set([...getCACertificates('default'), ...getCACertificates('system')])];
  if (connector !== undefined) return new Agent({ connect: connector({ ca }) });
  return new EnvHttpProxyAgent({ connect: { ca }, requestTls: { ca }, proxyTls: { ca } });
}

/** undici says "fetch failed"; the cause says why. */
function networkReason(error: unknown): string {
  return error instanceof Error && error.cause instanceof Error ? error.cause.message : messageOf(error);
}

function splitCredentials(url: string): { address: string; authorization?: string } {
  const parsed = new URL(url);
  if (parsed.username === '' && parsed.password === '') return { address: url };
  const pair = `${decodeURIComponent(parsed.username)}:${decodeURIComponent(parsed.password)}`;
  parsed.username = '';
  parsed.password = '';
  return { address: parsed.href, authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
}

function withoutPassword(url: string): string {
  try {
    const parsed = new URL(url);
    if (parsed.password !== '') parsed.password = '<redacted>';
    return parsed.href.replace('%3Credacted%3E', '<redacted>');
  } catch {
    return 'an unreadable url';
  }
}
