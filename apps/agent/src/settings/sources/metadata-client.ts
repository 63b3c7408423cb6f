import { messageOf } from '@microbosh/errors';
import { retry, type RetryPolicy } from '@microbosh/host';
import { SettingsUnavailable } from '../errors.ts';
import { httpGet, type HttpAnswer } from '../http-get.ts';
import type { ReadOptions } from './settings-source.ts';

export interface MetadataClientOptions {
  readonly uri: string;
  readonly headers: Readonly<Record<string, string>>;
  /** IMDSv2: a session token is fetched there first. */
  readonly tokenPath?: string;
}

const patientRetry: RetryPolicy = { attempts: 10, delayMs: 1000 };
const hastyRetry: RetryPolicy = { attempts: 2, delayMs: 200 };
const tokenLifetimeSeconds = '300';

/** Reads paths of a metadata service. */
export class MetadataClient {
  readonly #options: MetadataClientOptions;
  #token: { readonly value: string; readonly expiresAtMs: number } | undefined;

  constructor(options: MetadataClientOptions) {
    this.#options = options;
  }

  /** The body at `path`; undefined when the service says that there is none (404). */
  async read(path: string, options: ReadOptions): Promise<string | undefined> {
    const answer = await this.#request(path, options);
    if (answer.status === 404) return undefined;
    if (answer.status >= 200 && answer.status < 300) return answer.body;
    throw this.#unavailable(path, `invalid status: ${answer.status}`);
  }

  async #request(path: string, options: ReadOptions): Promise<HttpAnswer> {
    const policy = options.patient ? patientRetry : hastyRetry;
    try {
      return await retry(
        policy,
        async () => {
          const answer = await httpGet(new URL(path, this.#options.uri), {
            headers: { ...this.#options.headers, ...(await this.#tokenHeader(options.signal)) },
            timeoutMs: options.patient ? 30_000 : 3000,
            ...(options.signal ? { signal: options.signal } : {}),
          });
          if (answer.status === 401) this.#token = undefined;
          if (answer.status >= 500 || answer.status === 401 || answer.status === 429) {
            throw new Error(`invalid status: ${answer.status}`);
          }
          return answer;
        },
        options.signal ? { signal: options.signal } : {},
      );
    } catch (error) {
      options.signal?.throwIfAborted();
      throw this.#unavailable(path, messageOf(error), error);
    }
  }

  async #tokenHeader(signal: AbortSignal | undefined): Promise<Record<string, string>> {
    if (this.#options.tokenPath === undefined) return {};
    if (this.#token === undefined || this.#token.expiresAtMs < Date.now()) {
      const answer = await httpGet(new URL(this.#options.tokenPath, this.#options.uri), {
        method: 'PUT',
        headers: { 'x-aws-ec2-metadata-token-ttl-seconds': tokenLifetimeSeconds },
        timeoutMs: 5000,
        ...(signal ? { signal } : {}),
      });
      if (answer.status < 200 || answer.status > 299) {
        throw new Error(`the metadata service gave no session token: status ${answer.status}`);
      }
      // Half of its life, so that a token never ends between two reads.
      this.#token = {
        value: answer.body,
        expiresAtMs: Date.now() + (Number(tokenLifetimeSeconds) * 1000) / 2,
      };
    }
    return { 'x-aws-ec2-metadata-token': this.#token.value };
  }

  #unavailable(path: string, reason: string, cause?: unknown): SettingsUnavailable {
    return new SettingsUnavailable(
      `The metadata service ${this.#options.uri}${path} does not answer: ${reason}.`,
      {
        advice: 'Check that the machine has an address and that its cloud offers a metadata service.',
        cause,
      },
    );
  }
}
