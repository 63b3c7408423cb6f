import { createHash, randomBytes } from 'node:crypto';
import { Agent, request, type Dispatcher } from 'undici';
import { isJsonObject, messageOf, type JsonObject } from '@microbosh/errors';
import { retry, type RetryPolicy } from '@microbosh/host';
import type { AgentSettings } from '@microbosh/spec';
import { RegistryRefused, RegistryUnreachable } from './registry-errors.ts';

export interface RegistryClientOptions {
  /** Base URL without credentials. */
  readonly endpoint: string;
  readonly user: string;
  readonly password: string;
  /** PEM trust anchor of an https endpoint; absent: the system's roots. */
  readonly ca?: string;
  /** Per request. Default 15 000 ms. */
  readonly timeoutMs?: number;
  readonly retry?: RetryPolicy;
}

const defaultRetry: RetryPolicy = { attempts: 4, delayMs: 200, factor: 3, maxDelayMs: 3000 };
const maxAnswerBytes = 8 << 20;

/**
 * The CPI's side of the registry (`PUT`, `GET`, `DELETE /instances/<key>/settings`), as the clients of the Ruby and Go
 * registries speak it: pre-emptive Basic credentials, any 2xx for PUT, a missing row for DELETE is success. All methods
 * are idempotent and retried on transport errors, 429 and 5xx; they throw RegistryUnreachable or RegistryRefused.
 */
export class RegistryClient {
  readonly #options: RegistryClientOptions;
  readonly #base: string;
  readonly #authorization: string;
  readonly #dispatcher: Dispatcher;

  constructor(options: RegistryClientOptions) {
    this.#options = options;
    this.#base = options.endpoint.replace(/\/+$/, '');
    this.#authorization = `Basic ${Buffer.from(`${options.user}:${options.password}`).toString('base64')}`;
    this.#dispatcher = new Agent({
      connect: options.ca === undefined ? {} : { ca: options.ca },
      keepAliveTimeout: 1000,
    });
  }

  get endpoint(): string {
    return this.#base;
  }

  async putSettings(key: string, settings: AgentSettings | JsonObject, signal?: AbortSignal): Promise<void> {
    const { status } = await this.#send('PUT', key, 'settings', 'update', signal, JSON.stringify(settings));
    if (status < 200 || status > 299) throw new RegistryRefused('update', key, status);
  }

  /** Undefined when the registry has no such row: 404, or the 500 with which the Ruby registry says so. */
  async getSettings(key: string, signal?: AbortSignal): Promise<JsonObject | undefined> {
    const { status, body } = await this.#send('GET', key, 'settings', 'read', signal);
    if (status === 404) return undefined;
    if (status !== 200) throw new RegistryRefused('read', key, status);
    const answer = parseObject(body);
    const settings = typeof answer?.['settings'] === 'string' ? parseObject(answer['settings']) : undefined;
    if (settings === undefined) throw new RegistryRefused('read', key, status);
    return settings;
  }

  async deleteSettings(key: string, signal?: AbortSignal): Promise<void> {
    const { status } = await this.#send('DELETE', key, 'settings', 'delete', signal);
    if (status === 404 || (status >= 200 && status <= 299)) return;
    throw new RegistryRefused('delete', key, status);
  }

  /**
   * Reads, edits and writes back one document. Callers serialise the edits of one key: the original contract has no
   * conditional request.
   */
  async editSettings(
    key: string,
    edit: (settings: JsonObject) => JsonObject,
    signal?: AbortSignal,
  ): Promise<void> {
    const settings = await this.getSettings(key, signal);
    if (settings === undefined) throw new RegistryRefused('read', key, 404);
    await this.putSettings(key, edit(settings), signal);
  }

  /**
   * Mints a read token for one instance and answers the endpoint that goes into its user data: the token is the
   * password of the URL's user-info, so that agents that know nothing of tokens use it too. A registry without tokens
   * (the original's) answers 404: then the endpoint carries no credentials.
   */
  async instanceEndpoint(key: string, signal?: AbortSignal): Promise<string> {
    const { status, body } = await this.#send('POST', key, 'tokens', 'mint a token for the', signal, '{}');
    if (status === 404) return this.#base;
    const token = parseObject(body)?.['token'];
    if (status !== 200 || typeof token !== 'string') {
      throw new RegistryRefused('mint a token for the', key, status);
    }
    return this.endpointWith(key, token);
  }

  /** The endpoint with credentials that read one instance's settings. */
  endpointWith(key: string, token: string): string {
    const url = new URL(this.#base);
    url.username = encodeURIComponent(key);
    url.password = token;
    return url.toString().replace(/\/$/, '');
  }

  /** A token that is put into user data before the instance's key is known; `registerReadToken` makes it valid. */
  newReadToken(): string {
    return `mbt_${randomBytes(32).toString('base64url')}`;
  }

  /** Registering the same token again is not an error. */
  async registerReadToken(key: string, token: string, signal?: AbortSignal): Promise<void> {
    const body = JSON.stringify({ token_sha256: createHash('sha256').update(token).digest('hex') });
    const { status } = await this.#send('POST', key, 'tokens', 'register a token for the', signal, body);
    // A registry without tokens cannot check them either.
    if (status !== 200 && status !== 404) throw new RegistryRefused('register a token for the', key, status);
  }

  async #send(
    method: 'GET' | 'PUT' | 'POST' | 'DELETE',
    key: string,
    resource: string,
    action: string,
    signal: AbortSignal | undefined,
    body?: string,
  ): Promise<{ readonly status: number; readonly body: string }> {
    const url = `${this.#base}/instances/${encodeURIComponent(key)}/${resource}`;
    return retry(
      this.#options.retry ?? defaultRetry,
      async () => {
        const answer = await this.#request(method, url, key, action, signal, body);
        if (answer.status === 429 || answer.status >= 502)
          throw new RegistryRefused(action, key, answer.status);
        return answer;
      },
      {
        ...(signal && { signal }),
        shouldRetry: (error) => error instanceof RegistryUnreachable || error instanceof RegistryRefused,
      },
    );
  }

  async #request(
    method: Dispatcher.HttpMethod,
    url: string,
    key: string,
    action: string,
    signal: AbortSignal | undefined,
    body: string | undefined,
  ): Promise<{ readonly status: number; readonly body: string }> {
    const deadline = AbortSignal.timeout(this.#options.timeoutMs ?? 15_000);
    try {
      const response = await request(url, {
        method,
        dispatcher: this.#dispatcher,
        signal: signal === undefined ? deadline : AbortSignal.any([signal, deadline]),
        headers: {
          authorization: this.#authorization,
          accept: 'application/json',
          ...(body !== undefined && { 'content-type': 'application/json' }),
        },
        ...(body !== undefined && { body }),
      });
      const chunks: Buffer[] = [];
      let size = 0;
      for await (const chunk of response.body as AsyncIterable<Buffer>) {
        size += chunk.length;
        if (size > maxAnswerBytes) throw new Error(`the answer exceeds ${maxAnswerBytes} bytes`);
        chunks.push(chunk);
      }
      return { status: response.statusCode, body: Buffer.concat(chunks).toString('utf8') };
    } catch (error) {
      signal?.throwIfAborted();
      throw new RegistryUnreachable(
        `Cannot ${action} settings for '${key}': the registry at ${this.#base} does not answer: ${messageOf(error)}`,
        {
          cause: error,
          details: { key, endpoint: this.#base },
          advice: 'Check that the registry runs, and that its certificate is issued by the configured CA.',
        },
      );
    }
  }
}

function parseObject(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isJsonObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
