import { isJsonObject, messageOf, type JsonObject } from '@microbosh/errors';
import { retry, type RetryPolicy } from '@microbosh/host';
import type { UserData } from '@microbosh/spec';
import { Resolver } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { SettingsInvalid, SettingsUnavailable } from './errors.ts';
import { httpGet, type HttpAnswer } from './http-get.ts';
import type { ReadOptions } from './sources/settings-source.ts';

/** The registry that user data names, for one machine. */
export class Registry {
  readonly #userData: UserData & { readonly registry: NonNullable<UserData['registry']> };
  readonly #key: string;
  #etag: string | undefined;

  constructor(userData: UserData & { readonly registry: NonNullable<UserData['registry']> }, key: string) {
    this.#userData = userData;
    this.#key = key;
  }

  /** Where it is, without credentials; undefined for a file. */
  get endpoint(): URL | undefined {
    if (!this.#isHttp) return undefined;
    const url = new URL(this.#userData.registry.endpoint);
    url.username = '';
    url.password = '';
    return url;
  }

  get #isHttp(): boolean {
    return this.#userData.registry.endpoint.startsWith('http');
  }

  /**
   * The settings document of this machine. An endpoint that is not http(s) is the path of a file that holds it.
   * Contract: GET <endpoint>/instances/<key>/settings → {"status":"ok","settings":"<JSON as a string>"}.
   */
  async read(options: ReadOptions): Promise<JsonObject> {
    if (!this.#isHttp) return this.#readFile(this.#userData.registry.endpoint);
    const answer = await this.#request('GET', 'settings', options);
    if (answer.status !== 200) throw this.#refused(answer.status);
    this.#etag = answer.etag;
    return decodeRegistryAnswer(answer.body, this.#name);
  }

  /** Tells the registry that the settings have arrived and are stored. Registries that do not know the call answer 404. */
  async confirm(options: ReadOptions): Promise<void> {
    if (!this.#isHttp) return;
    const answer = await this.#request('POST', 'settings/confirm', { ...options, patient: false });
    if (answer.status !== 404 && answer.status !== 405 && answer.status >= 400)
      throw this.#refused(answer.status);
  }

  async #request(method: 'GET' | 'POST', path: string, options: ReadOptions): Promise<HttpAnswer> {
    const endpoint = this.#userData.registry.endpoint.replace(/\/+$/, '');
    const url = new URL(`${endpoint}/instances/${encodeURIComponent(this.#key)}/${path}`);
    const { ca } = this.#userData.registry;
    try {
      return await retry(
        options.patient ? patienceFor(url) : { attempts: 2, delayMs: 200 },
        async () => {
          const address = await this.#addressOf(url);
          const answer = await httpGet(url, {
            method,
            ...(address === undefined ? {} : { address }),
            timeoutMs: options.patient ? 30_000 : 3000,
            ...(method === 'POST' && this.#etag !== undefined ? { headers: { 'if-match': this.#etag } } : {}),
            ...(ca === undefined ? {} : { ca }),
            ...(options.signal ? { signal: options.signal } : {}),
          });
          if (answer.status >= 500 || answer.status === 429)
            throw new Error(`invalid status: ${answer.status}`);
          return answer;
        },
        options.signal ? { signal: options.signal } : {},
      );
    } catch (error) {
      options.signal?.throwIfAborted();
      throw new SettingsUnavailable(`${this.#name} does not answer: ${messageOf(error)}.`, {
        advice: 'Check that the registry runs and that this machine can reach its address and port.',
        cause: error,
      });
    }
  }

  /** User data may name the servers that know the registry's host name. */
  async #addressOf(url: URL): Promise<string | undefined> {
    const servers = this.#userData.dns?.nameserver ?? [];
    const host = url.hostname.replace(/^\[|\]$/g, '');
    if (servers.length === 0 || isIP(host) !== 0) return undefined;
    if (host === 'localhost') return '127.0.0.1';
    const resolver = new Resolver({ timeout: 1000, tries: 2 });
    resolver.setServers([...servers]);
    const [address] = await resolver.resolve4(host).catch(() => resolver.resolve6(host));
    return address;
  }

  async #readFile(path: string): Promise<JsonObject> {
    try {
      const value: unknown = JSON.parse(await readFile(path, 'utf8'));
      if (isJsonObject(value)) return value;
    } catch (error) {
      throw new SettingsUnavailable(`The registry file ${path} cannot be read: ${messageOf(error)}.`, {
        cause: error,
      });
    }
    throw new SettingsInvalid(`The registry file ${path} does not hold a JSON object.`);
  }

  get #name(): string {
    return `The registry ${this.endpoint?.origin ?? this.#userData.registry.endpoint}`;
  }

  #refused(status: number): SettingsUnavailable {
    const why =
      status === 401 || status === 403
        ? 'it refuses the credentials in the user data'
        : `it has no settings for '${this.#key}' (status ${status})`;
    return new SettingsUnavailable(`${this.#name} gave no settings: ${why}.`, {
      advice: 'Check the instance key and the token that the CPI put into the user data.',
      details: { status },
    });
  }
}

/** One on the own loopback interface is the end of a tunnel, which comes up when its other side finds the way in. */
function patienceFor({ hostname }: URL): RetryPolicy {
  const isTunnel = ['127.0.0.1', 'localhost', '[::1]'].includes(hostname);
  return { attempts: isTunnel ? 150 : 10, delayMs: 1000 };
}

/** @example decodeRegistryAnswer('{"status":"ok","settings":"{\\"agent_id\\":\\"a\\"}"}', 'x') */
export function decodeRegistryAnswer(body: string, name: string): JsonObject {
  let problem = 'the answer is not an object with a settings string';
  try {
    const answer: unknown = JSON.parse(body);
    const text = isJsonObject(answer)
      ? Object.entries(answer).find(([key]) => key.toLowerCase() === 'settings')?.[1]
      : undefined;
    if (typeof text === 'string') {
      const settings: unknown = JSON.parse(text);
      if (isJsonObject(settings)) return settings;
      problem = 'the settings are not a JSON object';
    }
  } catch {
    problem = 'the answer is not JSON';
  }
  // The body may hold secrets: it is never quoted.
  throw new SettingsInvalid(`${name} gave an answer that is not valid: ${problem}.`);
}
