import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { CloudError } from '@microbosh/cpi';
import { cloudDispatcher, limitedText } from '@microbosh/cpi/http';
import { errorCode, isJsonObject, messageOf } from '@microbosh/errors';
import type { Json } from '@microbosh/errors';
import type { Static, TSchema } from 'typebox';
import { Value } from 'typebox/value';
import { request } from 'undici';
import type { Dispatcher } from 'undici';
import type { OpenstackConfig } from './openstack-config.ts';
import { tokenSchema } from './schemas.ts';
import type { CatalogEntry } from './schemas.ts';

export type Service = 'compute' | 'network' | 'image' | 'volume';

/** Catalog types of each service, the first that the catalog has wins, and what is appended to the catalog's URL. */
const services: Readonly<Record<Service, { readonly types: readonly string[]; readonly version?: string }>> =
  {
    compute: { types: ['compute'] },
    network: { types: ['network'], version: '/v2.0' },
    image: { types: ['image', 'imagev2'], version: '/v2' },
    volume: { types: ['volumev3', 'block-storage', 'volumev2', 'volume'] },
  };

export interface CallOptions {
  readonly body?: Json;
  /** Sent instead of `body`; opened anew for each attempt. Repeated only when the service did not take it. */
  readonly stream?: { readonly open: () => Readable; readonly sizeBytes: number };
  /** Not repeated when the service may have carried it out (5xx): the caller looks first. */
  readonly once?: boolean;
  readonly query?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

/** An answer of OpenStack that is not a success. */
export class OpenstackAnswer extends CloudError {
  readonly status: number;
  readonly answer: string;

  constructor(method: string, path: string, status: number, answer: string) {
    super(`OpenStack API ${method} ${path}: ${status} ${innermostMessage(answer)}`, {
      okToRetry: status === 429 || status >= 500,
      details: { status, path },
    });
    this.status = status;
    this.answer = answer;
  }
}

/** The request left, and no answer came: it may have been carried out. */
export class OpenstackSilent extends CloudError {
  readonly timedOut: boolean;

  constructor(method: string, path: string, reason: string, timedOut: boolean) {
    super(`OpenStack API ${method} ${path}: no answer: ${reason}`, { okToRetry: true, details: { path } });
    this.timedOut = timedOut;
  }
}

/** `{"badRequest":{"message":"…"}}`, `{"NeutronError":{"message":"…"}}`, `{"error":{…}}`: one object deep. */
function innermostMessage(answer: string): string {
  try {
    const value: unknown = JSON.parse(answer);
    if (!isJsonObject(value)) return answer.slice(0, 500);
    if (typeof value['message'] === 'string') return value['message'];
    for (const inner of Object.values(value)) {
      if (isJsonObject(inner) && typeof inner['message'] === 'string') return inner['message'];
    }
  } catch {
    // not JSON: shown as it is
  }
  return answer.slice(0, 500);
}

interface Session {
  readonly token: string;
  readonly expiresAtEpochMs: number;
  readonly catalog: readonly CatalogEntry[];
}

const attempts = 10;
const pauseMs = 3000;
const maxAnswerBytes = 32 << 20;

/**
 * The calls of Keystone v3, Nova, Neutron, Glance and Cinder that the CPI needs: one token, renewed a minute before it
 * ends and once on 401; bounded repetition (500 and 503 always, as the original; other 5xx, resets and time-outs for calls
 * that change nothing; 413 and 429 after the pause that the service asks for).
 */
export class OpenstackClient {
  readonly #config: OpenstackConfig;
  /** Between attempts. */
  readonly pauseMs: number;
  readonly #dispatcher: Dispatcher;
  #session: Promise<Session> | undefined;
  /** Requests sent, by method and path without ids; for the benchmark and for tests. */
  readonly calls: string[] = [];

  constructor(config: OpenstackConfig, options: { readonly pauseMs?: number } = {}) {
    this.#config = config;
    this.pauseMs = options.pauseMs ?? pauseMs;
    this.#dispatcher = cloudDispatcher(config.properties.connection_options ?? {}, {
      connectTimeoutMs: 30_000,
      readTimeoutSeconds: 120,
    });
  }

  async close(): Promise<void> {
    await this.#dispatcher.close();
  }

  /** Sends one call and checks the answer against the schema. */
  async call<T extends TSchema>(
    service: Service,
    method: Dispatcher.HttpMethod,
    path: string,
    schema: T,
    options: CallOptions = {},
  ): Promise<Static<T>> {
    const answer = await this.send(service, method, path, options);
    const value: unknown = parse(answer, method, path);
    if (!Value.Check(schema, value)) {
      const [problem] = Value.Errors(schema, value);
      throw new CloudError(
        `OpenStack API ${method} ${path}: unexpected answer: ${problem?.instancePath ?? ''} ${problem?.message ?? ''}`,
      );
    }
    return value;
  }

  /** Like `call`, but undefined when the object does not exist. */
  async find<T extends TSchema>(
    service: Service,
    path: string,
    schema: T,
    signal: AbortSignal | undefined,
  ): Promise<Static<T> | undefined> {
    try {
      return await this.call(service, 'GET', path, schema, { signal });
    } catch (error) {
      if (error instanceof OpenstackAnswer && error.status === 404) return undefined;
      throw error;
    }
  }

  /** Where a service is, by the catalog; throws when the credentials are refused or the catalog lacks it. */
  async endpoint(service: Service, signal: AbortSignal | undefined): Promise<string> {
    return this.#endpoint(await this.#authenticated(signal), service);
  }

  /** Deletes; an object that does not exist is success. */
  async delete(service: Service, path: string, signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.send(service, 'DELETE', path, { signal });
    } catch (error) {
      if (!(error instanceof OpenstackAnswer && error.status === 404)) throw error;
    }
  }

  async send(
    service: Service,
    method: Dispatcher.HttpMethod,
    path: string,
    options: CallOptions = {},
  ): Promise<string> {
    const harmless = method === 'GET' || method === 'HEAD' || method === 'DELETE';
    let renewed = false;
    for (let attempt = 1; ; attempt += 1) {
      options.signal?.throwIfAborted();
      try {
        return await this.#once(service, method, path, options);
      } catch (error) {
        if (attempt >= attempts) throw error;
        if (error instanceof OpenstackAnswer && error.status === 401 && !renewed) {
          renewed = true;
          this.#session = undefined;
          continue;
        }
        const pause = this.#pauseBeforeRetry(error, harmless, options);
        if (pause === undefined) throw error;
        await sleep(pause, undefined, options.signal ? { signal: options.signal } : {});
      }
    }
  }

  #pauseBeforeRetry(error: unknown, harmless: boolean, options: CallOptions): number | undefined {
    if (error instanceof OpenstackSilent) return harmless ? this.pauseMs : undefined;
    if (!(error instanceof OpenstackAnswer)) return undefined;
    if (error.status === 413 || error.status === 429) return retryAfterMs(error.answer) ?? this.pauseMs;
    if (options.once || (options.stream !== undefined && error.status !== 503)) return undefined;
    if (error.status === 500 || error.status === 503) return this.pauseMs;
    return harmless && error.status > 500 ? this.pauseMs : undefined;
  }

  async #once(
    service: Service,
    method: Dispatcher.HttpMethod,
    path: string,
    options: CallOptions,
  ): Promise<string> {
    const session = await this.#authenticated(options.signal);
    const query = new URLSearchParams(options.query).toString();
    const url = `${this.#endpoint(session, service)}${path}${query === '' ? '' : `?${query}`}`;
    const headers: Record<string, string> = { 'x-auth-token': session.token, accept: 'application/json' };
    if (options.stream !== undefined) {
      headers['content-type'] = 'application/octet-stream';
      headers['content-length'] = String(options.stream.sizeBytes);
    } else if (options.body !== undefined) {
      headers['content-type'] = 'application/json';
    }
    const { status, text, retryAfter } = await this.#request(
      method,
      url,
      path,
      headers,
      options.stream?.open() ?? (options.body === undefined ? undefined : JSON.stringify(options.body)),
      options.signal,
    );
    if (status >= 200 && status < 300) return text;
    const answer = retryAfter === undefined ? text : withRetryAfter(text, retryAfter);
    throw new OpenstackAnswer(method, path, status, answer);
  }

  async #request(
    method: Dispatcher.HttpMethod,
    url: string,
    path: string,
    headers: Record<string, string>,
    body: string | Readable | undefined,
    signal: AbortSignal | undefined,
  ): Promise<{
    status: number;
    text: string;
    retryAfter: string | undefined;
    subjectToken: string | undefined;
  }> {
    this.calls.push(`${method} ${path}`);
    try {
      const response = await request(url, {
        method,
        headers,
        dispatcher: this.#dispatcher,
        ...(body === undefined ? {} : { body }),
        ...(signal === undefined ? {} : { signal }),
      });
      return {
        status: response.statusCode,
        text: await limitedText(response.body, maxAnswerBytes, `OpenStack API ${method} ${path}`),
        retryAfter: single(response.headers['retry-after']),
        subjectToken: single(response.headers['x-subject-token']),
      };
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof CloudError) throw error;
      const timedOut = /TIMEOUT/.test(errorCode(error) ?? '');
      throw new OpenstackSilent(method, path, messageOf(error), timedOut);
    }
  }

  #authenticated(signal: AbortSignal | undefined): Promise<Session> {
    const current = this.#session;
    const fresh = (): Promise<Session> => {
      const session = this.#login(signal);
      this.#session = session;
      // A failed login is not kept.
      session.catch(() => {
        if (this.#session === session) this.#session = undefined;
      });
      return session;
    };
    if (current === undefined) return fresh();
    return current.then((session) => (session.expiresAtEpochMs - Date.now() < 60_000 ? fresh() : session));
  }

  async #login(signal: AbortSignal | undefined): Promise<Session> {
    const url = `${this.#config.identityUrl}/v3/auth/tokens`;
    const path = '/v3/auth/tokens';
    for (let attempt = 1; ; attempt += 1) {
      try {
        const { status, text, subjectToken } = await this.#request(
          'POST',
          url,
          path,
          { 'content-type': 'application/json', accept: 'application/json' },
          JSON.stringify(loginBody(this.#config)),
          signal,
        );
        if (status !== 201 || subjectToken === undefined)
          throw new OpenstackAnswer('POST', path, status, text);
        const value: unknown = parse(text, 'POST', path);
        if (!Value.Check(tokenSchema, value)) {
          throw new CloudError(`Keystone at ${this.#config.identityUrl} answered without a catalog`);
        }
        return {
          token: subjectToken,
          expiresAtEpochMs: Date.parse(value.token.expires_at),
          catalog: value.token.catalog,
        };
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof OpenstackAnswer && error.status === 401) {
          throw new CloudError(
            `Unable to authenticate to OpenStack at ${this.#config.identityUrl}: ${messageOf(error)}`,
            {
              advice:
                "Check 'username' and 'api_key' (or the application credential), 'project' and 'domain'.",
            },
          );
        }
        const again =
          error instanceof OpenstackSilent ||
          (error instanceof OpenstackAnswer && (error.status >= 500 || error.status === 429));
        if (!again || attempt >= 5) {
          throw error instanceof OpenstackSilent
            ? new CloudError(
                `Unable to connect to the OpenStack Keystone API ${this.#config.identityUrl}: ${messageOf(error)}`,
                { okToRetry: true, cause: error },
              )
            : error;
        }
        await sleep(Math.min(1000, this.pauseMs), undefined, signal ? { signal } : {});
      }
    }
  }

  #endpoint(session: Session, service: Service): string {
    const { types, version = '' } = services[service];
    const wanted = (this.#config.properties.endpoint_type ?? 'publicURL').replace(/URL$/, '');
    const region = this.#config.properties.region;
    for (const type of types) {
      const endpoints = session.catalog
        .filter((entry) => entry.type === type)
        .flatMap((entry) => entry.endpoints)
        .filter((endpoint) => endpoint.interface === wanted)
        .filter((endpoint) => region === undefined || (endpoint.region_id ?? endpoint.region) === region);
      const [first, ...more] = endpoints;
      if (first === undefined) continue;
      if (more.length > 0) {
        throw new CloudError(`OpenStack's catalog has several ${wanted} endpoints of type '${type}'`, {
          advice: "Set 'region' in the OpenStack properties.",
        });
      }
      const url = first.url.replace(/\/+$/, '');
      return version === '' || url.endsWith(version) ? url : `${url}${version}`;
    }
    throw new CloudError(
      `OpenStack's catalog has no ${wanted} endpoint for ${service} (types ${types.join(', ')}${region === undefined ? '' : `, region ${region}`})`,
      { advice: "Check 'endpoint_type' and 'region'." },
    );
  }
}

function single(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}

function parse(text: string, method: string, path: string): unknown {
  try {
    return text === '' ? {} : JSON.parse(text);
  } catch {
    throw new CloudError(`OpenStack API ${method} ${path}: the answer is not JSON`);
  }
}

function withRetryAfter(text: string, seconds: string): string {
  return text.includes('retryAfter')
    ? text
    : JSON.stringify({ overLimit: { message: text, retryAfter: seconds } });
}

/** At most a minute, whatever the service asks for. */
function retryAfterMs(answer: string): number | undefined {
  const seconds = Number(/"retryAfter"\s*:\s*"?(\d+)/.exec(answer)?.[1] ?? Number.NaN);
  return Number.isNaN(seconds) ? undefined : Math.min(seconds, 60) * 1000;
}

function loginBody({ properties }: OpenstackConfig): Json {
  if (properties.application_credential_id !== undefined) {
    return {
      auth: {
        identity: {
          methods: ['application_credential'],
          application_credential: {
            id: properties.application_credential_id,
            secret: properties.application_credential_secret ?? '',
          },
        },
      },
    };
  }
  const userDomain = { name: properties.user_domain_name ?? properties.domain ?? '' };
  const projectDomain = { name: properties.project_domain_name ?? properties.domain ?? '' };
  return {
    auth: {
      identity: {
        methods: ['password'],
        password: {
          user: { name: properties.username ?? '', domain: userDomain, password: properties.api_key ?? '' },
        },
      },
      scope: {
        project:
          properties.project_id === undefined
            ? { name: properties.project ?? '', domain: projectDomain }
            : { id: properties.project_id },
      },
    },
  };
}
