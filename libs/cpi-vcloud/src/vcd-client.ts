import { randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { CloudError } from '@microbosh/cpi';
import { cloudDispatcher, limitedText, untrustedCertificate } from '@microbosh/cpi/http';
import { parseXml } from '@microbosh/cpi/xml';
import type { XmlNode } from '@microbosh/cpi/xml';
import { messageOf } from '@microbosh/errors';
import { request } from 'undici';
import type { Dispatcher } from 'undici';
import { chooseVersion } from './api-version.ts';
import type { ApiVersion } from './api-version.ts';
import { actionOf, entityType, linkOf, linksOf, mediaType } from './links.ts';
import type { VcloudConfig } from './vcloud-config.ts';
import { isAbsent, VcdError, VcdSilent } from './vcd-error.ts';

type Signal = AbortSignal | undefined;
type Headers = Readonly<Record<string, string>>;

interface Session {
  readonly version: ApiVersion;
  readonly headers: Headers;
  readonly organizationUrl: string;
  /** Ends in a slash; a URN goes behind it. */
  readonly resolverUrl: string;
  readonly openedAtMs: number;
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Undefined when the body is empty or not XML. */
  readonly document: XmlNode | undefined;
}

interface Body {
  readonly type: string;
  readonly content: string | (() => Readable);
  readonly sizeBytes?: number;
}

export interface VcdClientOptions {
  /** First pause between looks at a task; it doubles up to `control.wait_delay`. Default 1000. */
  readonly pauseMs?: number;
}

const maxAnswerBytes = 64 << 20;
const attempts = 6;
const maxRetryPauseMs = 5000;
const ended = ['success', 'error', 'canceled', 'aborted'];

/**
 * The calls of the vCloud Director API that the CPI needs: the highest version of the API that both sides know, one session,
 * opened when it is first needed and again when it is old or refused. Reads are repeated whatever happens on the way, other
 * calls only on answers which say that nothing was done.
 */
export class VcdClient {
  readonly #config: VcloudConfig;
  readonly #dispatcher: Dispatcher;
  readonly #pauseMs: number;
  #session: Promise<Session> | undefined;
  #organization: XmlNode | undefined;
  /** Requests sent, by method and path without ids; for the benchmark and for tests. */
  readonly calls: string[] = [];

  constructor(config: VcloudConfig, options: VcdClientOptions = {}) {
    this.#config = config;
    this.#pauseMs = Math.min(options.pauseMs ?? 1000, config.waitDelayMs);
    this.#dispatcher = cloudDispatcher(config.connection, {
      connectTimeoutMs: 60_000,
      readTimeoutSeconds: 240,
    });
  }

  /** Ends the session; the server would keep it for half an hour. */
  async close(): Promise<void> {
    const session = await this.#session?.catch(() => undefined);
    if (session !== undefined) {
      const url = `${this.#config.url}/api/session`;
      await this.#exchange('DELETE', url, session.headers, undefined, undefined).catch(() => undefined);
    }
    await this.#dispatcher.close();
  }

  async version(signal: Signal): Promise<ApiVersion> {
    return (await this.#authenticated(signal)).version;
  }

  /** The organisation's own document, with links to its datacenters and catalogs; kept until `refresh`. */
  async organization(signal: Signal, refresh = false): Promise<XmlNode> {
    if (this.#organization === undefined || refresh) {
      const { organizationUrl } = await this.#authenticated(signal);
      this.#organization = await this.get(organizationUrl, signal);
    }
    return this.#organization;
  }

  async get(url: string, signal: Signal): Promise<XmlNode> {
    return required(await this.#call('GET', url, undefined, signal), `GET ${pathOf(url)}`);
  }

  /** Undefined when the object is not there. */
  async find(url: string, signal: Signal): Promise<XmlNode | undefined> {
    try {
      return await this.get(url, signal);
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
  }

  /** The object that a URN names, when nothing is at work on it; undefined when there is none, or one of another type. */
  async resolve(urn: string, type: string, signal: Signal): Promise<XmlNode | undefined> {
    // Anything else would be another path.
    if (!/^urn:vcloud:\w+:[\w-]+$/.test(urn)) return undefined;
    const { resolverUrl } = await this.#authenticated(signal);
    const entity = await this.find(`${resolverUrl}${urn}`, signal);
    const link = entity && linksOf(entity).find((candidate) => candidate.type === mediaType(type));
    const object = link && (await this.find(link.href, signal));
    // An earlier call may be at work on it still.
    const isBusy = object?.at('Tasks') !== undefined;
    return link !== undefined && isBusy ? this.settled(link.href, signal) : object;
  }

  /** Answers the document that came back: an object with its tasks, a task, or nothing. */
  async post(url: string, type: string, content: string, signal: Signal): Promise<XmlNode | undefined> {
    return this.#call('POST', url, { type: mediaType(type), content: document(content) }, signal);
  }

  async put(url: string, type: string, content: string, signal: Signal): Promise<XmlNode | undefined> {
    return this.#call('PUT', url, { type: mediaType(type), content: document(content) }, signal);
  }

  /** An action without parameters. */
  async act(url: string, signal: Signal): Promise<void> {
    await this.settle(await this.#call('POST', url, undefined, signal), signal);
  }

  /** Deletes and waits; an object that is not there is success. */
  async remove(url: string, signal: Signal): Promise<void> {
    try {
      await this.settle(await this.#call('DELETE', url, undefined, signal), signal);
    } catch (error) {
      if (!isAbsent(error)) throw error;
    }
  }

  async upload(
    url: string,
    source: { readonly open: () => Readable; readonly sizeBytes: number; readonly type: string },
    signal: Signal,
  ): Promise<void> {
    const { open, sizeBytes, type } = source;
    await this.#call('PUT', url, { type, content: open, sizeBytes }, signal);
  }

  /**
   * Waits for a task, or for the tasks of an object and looks at it again. Answers the object. Throws when a task failed
   * that is not an old one.
   */
  async settle(node: XmlNode | undefined, signal: Signal): Promise<XmlNode | undefined> {
    if (node === undefined) return undefined;
    if (node.name === 'Task') {
      await this.#finished(node, signal);
      return undefined;
    }
    const tasks = node.at('Tasks')?.all('Task') ?? [];
    for (const task of tasks) await this.#finished(task, signal);
    const href = node.attribute('href');
    return tasks.length === 0 || href === undefined ? node : this.find(href, signal);
  }

  /** An object when nothing is at work on it any more; undefined when it has gone. */
  async settled(url: string, signal: Signal): Promise<XmlNode | undefined> {
    const deadlineMs = Date.now() + this.#config.waitMaxMs;
    for (let pauseMs = this.#pauseMs; ; pauseMs = Math.min(pauseMs * 2, this.#config.waitDelayMs)) {
      const object = await this.find(url, signal);
      const tasks = object?.at('Tasks')?.all('Task') ?? [];
      if (tasks.every((task) => ended.includes(task.attribute('status') ?? ''))) return object;
      if (Date.now() > deadlineMs) throw this.#timedOut(pathOf(url));
      await this.pause(pauseMs, signal);
    }
  }

  /** The same, with transfers that nobody will finish given up. */
  async abandoned(url: string, signal: Signal): Promise<XmlNode | undefined> {
    const object = await this.find(url, signal);
    for (const task of object?.at('Tasks')?.all('Task') ?? []) {
      const cancel = actionOf(task, 'task:cancel');
      if (cancel === undefined) continue;
      await this.act(cancel, signal).catch((error: unknown) => {
        // It has come to its end meanwhile.
        if (!(error instanceof VcdError && error.status < 500)) throw error;
      });
    }
    return this.settled(url, signal);
  }

  async pause(milliseconds: number, signal: Signal): Promise<void> {
    await sleep(milliseconds, undefined, signal ? { signal } : {});
  }

  #timedOut(what: string): CloudError {
    const seconds = this.#config.waitMaxMs / 1000;
    return new CloudError(`vCloud: ${what} was not finished after ${seconds} s`, {
      advice: "'entities.control.wait_max' sets the limit.",
    });
  }

  async #finished(first: XmlNode, signal: Signal): Promise<void> {
    const href = first.attribute('href') ?? '';
    const name = `Task ${first.attribute('id') ?? pathOf(href)} ${first.attribute('operation') ?? ''}`;
    const deadlineMs = Date.now() + this.#config.waitMaxMs;
    let task = first;
    for (let pauseMs = this.#pauseMs; ; pauseMs = Math.min(pauseMs * 2, this.#config.waitDelayMs)) {
      const status = task.attribute('status') ?? '';
      if (status === 'success') return;
      if (ended.includes(status)) {
        const startedMs = Date.parse(task.attribute('startTime') ?? '');
        if (Date.now() - startedMs > this.#config.oldTaskMs) return;
        const details = task.at('Error')?.attribute('message') ?? task.textAt('Details') ?? '';
        throw new CloudError(`${name} completed unsuccessfully, Details: ${details}`, {
          details: { status },
        });
      }
      if (Date.now() > deadlineMs) throw this.#timedOut(name);
      await this.pause(pauseMs, signal);
      task = await this.get(href, signal);
    }
  }

  #authenticated(signal: Signal): Promise<Session> {
    const fresh = (): Promise<Session> => {
      const session = this.#login(signal);
      this.#session = session;
      // A failed login is not kept.
      session.catch(() => {
        if (this.#session === session) this.#session = undefined;
      });
      return session;
    };
    const current = this.#session;
    if (current === undefined) return fresh();
    const { sessionMaxAgeMs } = this.#config;
    return current.then((session) => (Date.now() - session.openedAtMs > sessionMaxAgeMs ? fresh() : session));
  }

  async #login(signal: Signal): Promise<Session> {
    const { url, organization, user, password } = this.#config;
    const anyXml = { accept: 'application/*+xml' };
    const versions = await this.#repeated('GET', signal, () =>
      this.#exchange('GET', `${url}/api/versions`, anyXml, undefined, signal),
    );
    const version = chooseVersion(required(versions.document, 'GET /api/versions'), url);
    const loginUrl = new URL(version.loginUrl ?? '/api/sessions', url);
    const isCloudApi = loginUrl.pathname.startsWith('/cloudapi/');
    if (isCloudApi && /^system$/i.test(organization)) loginUrl.pathname += '/provider';
    const basic = Buffer.from(`${user}@${organization}:${password}`).toString('base64');
    const accept = `application/${isCloudApi ? 'json' : '*+xml'};version=${version.name}`;
    const answer = await this.#repeated('POST login', signal, () =>
      this.#exchange('POST', loginUrl.href, { accept, authorization: `Basic ${basic}` }, undefined, signal),
    );
    const headers = {
      accept: `application/*+xml;version=${version.name}`,
      ...tokenHeaders(answer, `POST ${loginUrl.pathname}`),
    };
    const session = answer.document?.name === 'Session' ? answer.document : undefined;
    const linked =
      session &&
      linkOf(session, (link) => link.type === mediaType('vcloud.org') && link.name === organization);
    const resolver = session && linkOf(session, (link) => link.type === mediaType(entityType));
    return {
      version,
      headers,
      organizationUrl: linked?.href ?? (await this.#listedOrganization(headers, signal)),
      resolverUrl: resolver?.href.replace(/\/*$/, '/') ?? `${url}/api/entity/`,
      openedAtMs: Date.now(),
    };
  }

  /** Some servers have no link to the organisation in the session. */
  async #listedOrganization(headers: Headers, signal: Signal): Promise<string> {
    const { url, organization } = this.#config;
    const { document: list } = await this.#repeated('GET', signal, () =>
      this.#exchange('GET', `${url}/api/org`, headers, undefined, signal),
    );
    const found = list?.all('Org').find((org) => org.attribute('name') === organization);
    const href = found?.attribute('href');
    if (href !== undefined) return href;
    throw new CloudError(`Organization '${organization}' not found in ${url}`, {
      advice: "Check 'entities.organization'.",
    });
  }

  async #call(
    method: Dispatcher.HttpMethod,
    url: string,
    body: Body | undefined,
    signal: Signal,
  ): Promise<XmlNode | undefined> {
    const send = async (): Promise<Answer> => {
      const { headers } = await this.#authenticated(signal);
      return this.#exchange(method, url, headers, body, signal);
    };
    const answer = await this.#repeated(method, signal, async () => {
      try {
        return await send();
      } catch (error) {
        if (!(error instanceof VcdError && error.status === 401)) throw error;
        this.#session = undefined;
        return send();
      }
    });
    return answer.document;
  }

  async #repeated(method: string, signal: Signal, action: () => Promise<Answer>): Promise<Answer> {
    let pauseMs = this.#config.retryDelayMs;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await action();
      } catch (error) {
        const nothingDone =
          error instanceof VcdError && ([429, 503].includes(error.status) || error.reason === 'BUSY_ENTITY');
        const harmless = method === 'GET' || method === 'POST login';
        const passing = error instanceof VcdSilent || (error instanceof VcdError && error.status >= 500);
        if (attempt >= attempts || !(nothingDone || (harmless && passing))) throw error;
      }
      await this.pause(pauseMs, signal);
      pauseMs = Math.min(pauseMs * 3, maxRetryPauseMs);
    }
  }

  async #exchange(
    method: Dispatcher.HttpMethod,
    url: string,
    headers: Headers,
    body: Body | undefined,
    signal: Signal,
  ): Promise<Answer> {
    const name = `${method} ${pathOf(url)}`;
    this.calls.push(name.replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}/g, '{id}'));
    signal?.throwIfAborted();
    let answer: Answer;
    try {
      const response = await request(url, {
        method,
        headers: {
          ...headers,
          'x-vmware-vcloud-client-request-id': randomUUID(),
          ...(body === undefined ? {} : { 'content-type': body.type }),
          ...(body?.sizeBytes === undefined ? {} : { 'content-length': String(body.sizeBytes) }),
        },
        ...(body === undefined
          ? {}
          : { body: typeof body.content === 'string' ? body.content : body.content() }),
        dispatcher: this.#dispatcher,
        ...(signal && { signal }),
      });
      const text = await limitedText(response.body, maxAnswerBytes, `vCloud ${name}`);
      answer = {
        status: response.statusCode,
        headers: response.headers,
        document: xmlOf(text),
      };
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof CloudError) throw error;
      throw untrustedCertificate(this.#config.url, error) ?? new VcdSilent(name, messageOf(error));
    }
    if (answer.status < 300) return answer;
    throw new VcdError(name, answer.status, answer.document);
  }
}

/** What later requests carry: the token as newer servers want it, else as older ones do. */
function tokenHeaders({ headers }: Answer, name: string): Headers {
  const bearer = single(headers['x-vmware-vcloud-access-token']);
  if (bearer !== undefined) {
    return {
      authorization: `Bearer ${bearer}`,
      'x-vmware-vcloud-access-token': bearer,
      'x-vmware-vcloud-token-type': 'Bearer',
    };
  }
  const token = single(headers['x-vcloud-authorization']);
  if (token === undefined) throw new CloudError(`vCloud ${name}: the answer has no token`);
  return { 'x-vcloud-authorization': token, cookie: `vcloud-token=${token}` };
}

function single(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}

function pathOf(url: string): string {
  return URL.canParse(url) ? new URL(url).pathname : url;
}

function xmlOf(text: string): XmlNode | undefined {
  if (!text.trimStart().startsWith('<')) return undefined;
  try {
    return parseXml(text);
  } catch {
    return undefined;
  }
}

function required(node: XmlNode | undefined, name: string): XmlNode {
  if (node !== undefined) return node;
  throw new CloudError(`vCloud ${name}: the answer is no document`, { okToRetry: true });
}

function document(content: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?>${content}`;
}
