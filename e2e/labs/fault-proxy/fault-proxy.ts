import { Agent as HttpAgent, createServer, request as httpRequest } from 'node:http';
import type { IncomingHttpHeaders, IncomingMessage, Server, ServerResponse } from 'node:http';
import { Agent as HttpsAgent, createServer as createTlsServer, request as httpsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';

/** What happens to a matching request. */
export type Fault =
  /** The proxy answers itself; the service never sees the request. */
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly body?: string;
      readonly headers?: Record<string, string>;
    }
  /** The request reaches the service after a while. */
  | { readonly kind: 'delay'; readonly delayMs: number }
  /** Never answered; the connection stays open until the client gives up. The service never sees the request. */
  | { readonly kind: 'hang' }
  /** The connection is cut before the service sees the request. */
  | { readonly kind: 'cut-before' }
  /** The service carries the request out, the client gets no answer: the connection is cut. */
  | { readonly kind: 'cut-after' }
  /** The service's answer is changed before the client sees it: freezes a state, hides a resource. */
  | { readonly kind: 'rewrite'; readonly change: (body: string, requestBody: string) => string };

export interface FaultRule {
  readonly method?: string;
  /** Matched against path and query. */
  readonly path: RegExp;
  /** Matched against the request's body when given. */
  readonly body?: RegExp;
  /** How many matching requests pass unharmed first. Default 0. */
  readonly after?: number;
  /** How many are harmed. Default 1. */
  readonly times?: number;
  readonly fault: Fault;
}

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  /** Of the answer; undefined when none reached the client. */
  readonly status?: number;
  readonly faulted: boolean;
}

/** A request that reached a service, as the service has got and answered it. */
export interface ProxiedExchange {
  readonly upstream: string;
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly requestBody: string;
  readonly answerBody: string;
}

interface ActiveRule {
  readonly rule: FaultRule;
  passed: number;
  harmed: number;
}

const maxBodyBytes = 64 << 20;

/** Of the proxy and of the services behind it: one certificate for this machine. */
export interface FaultProxyTls {
  readonly key: string;
  readonly cert: string;
}

/**
 * Stands in front of the services of a cloud, one listener each, on loopback. Texts in JSON and XML answers that name a
 * service's own address (Keystone's catalog, links) are rewritten to the proxy's, so that clients stay behind it.
 */
export class FaultProxy {
  readonly #tls: FaultProxyTls | undefined;
  /** Connections to the services are kept: a handshake for each request would take more time than all else. */
  readonly #toHttp = new HttpAgent({ keepAlive: true });
  readonly #toHttps: HttpsAgent;
  readonly #listeners = new Map<string, Server>();
  readonly #addresses = new Map<string, string>();
  #rules: ActiveRule[] = [];
  readonly seen: SeenRequest[] = [];
  onExchange: ((exchange: ProxiedExchange) => void) | undefined;

  private constructor(tls: FaultProxyTls | undefined) {
    this.#tls = tls;
    this.#toHttps = new HttpsAgent({ keepAlive: true, ...(tls === undefined ? {} : { ca: tls.cert }) });
  }

  /** `upstreams`: origins like `http://127.0.0.1:5000`. With `tls` the proxy speaks https, too. */
  static async start(upstreams: readonly string[], tls?: FaultProxyTls): Promise<FaultProxy> {
    const proxy = new FaultProxy(tls);
    for (const upstream of upstreams) await proxy.#listen(new URL(upstream).origin);
    return proxy;
  }

  /** The proxy's address of a service, or of a URL below it. */
  addressOf(url: string): string {
    const { origin } = new URL(url);
    const address = this.#addresses.get(origin);
    if (address === undefined) throw new Error(`${origin} is not behind this proxy`);
    return url.replace(origin, address);
  }

  inject(...rules: readonly FaultRule[]): void {
    this.#rules.push(...rules.map((rule) => ({ rule, passed: 0, harmed: 0 })));
  }

  /** Forgets all rules; true when every rule did its harm as often as it was meant to. */
  clear(): boolean {
    const done = this.#rules.every(({ rule, harmed }) => harmed >= (rule.times ?? 1));
    this.#rules = [];
    return done;
  }

  async stop(): Promise<void> {
    this.#toHttp.destroy();
    this.#toHttps.destroy();
    for (const server of this.#listeners.values()) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  async #listen(upstream: string): Promise<void> {
    const handle = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
      this.#handle(upstream, incoming, outgoing).catch(() => outgoing.destroy());
    };
    const server = this.#tls === undefined ? createServer(handle) : createTlsServer(this.#tls, handle);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    const { port } = server.address() as AddressInfo;
    this.#listeners.set(upstream, server);
    this.#addresses.set(upstream, `${this.#tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`);
  }

  #faultFor(method: string, path: string, body: Buffer): Fault | undefined {
    for (const active of this.#rules) {
      const { rule } = active;
      if (rule.method !== undefined && rule.method !== method) continue;
      if (!rule.path.test(path)) continue;
      if (rule.body !== undefined && !rule.body.test(body.toString('utf8'))) continue;
      if (active.passed < (rule.after ?? 0)) {
        active.passed += 1;
        continue;
      }
      if (active.harmed >= (rule.times ?? 1)) continue;
      active.harmed += 1;
      return rule.fault;
    }
    return undefined;
  }

  async #handle(upstream: string, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const method = incoming.method ?? 'GET';
    const path = incoming.url ?? '/';
    const body = await read(incoming);
    const fault = this.#faultFor(method, path, body);
    const record = (status?: number): void => {
      this.seen.push({
        method,
        path,
        faulted: fault !== undefined,
        ...(status === undefined ? {} : { status }),
      });
    };
    switch (fault?.kind) {
      case 'answer':
        record(fault.status);
        outgoing.writeHead(fault.status, { 'content-type': 'application/json', ...fault.headers });
        outgoing.end(fault.body ?? '');
        return;
      case 'hang':
        record();
        return;
      case 'cut-before':
        record();
        outgoing.destroy();
        return;
      case 'delay':
        await new Promise((resolve) => setTimeout(resolve, fault.delayMs));
        break;
      default:
    }
    const answer = await this.#forward(upstream, method, path, incoming.headers, body);
    this.onExchange?.({
      upstream,
      method,
      path,
      status: answer.status,
      requestBody: body.toString('utf8'),
      answerBody: answer.body.toString('utf8'),
    });
    if (fault?.kind === 'cut-after') {
      record();
      outgoing.destroy();
      return;
    }
    record(answer.status);
    let content = this.#withProxyAddresses(answer);
    if (fault?.kind === 'rewrite')
      content = Buffer.from(fault.change(content.toString('utf8'), body.toString('utf8')));
    const headers = { ...answer.headers };
    delete headers['transfer-encoding'];
    delete headers['content-encoding'];
    if (typeof headers.location === 'string') headers.location = this.#rewritten(headers.location);
    // HEAD answers keep the length of what GET would give.
    if (method !== 'HEAD') headers['content-length'] = String(content.length);
    outgoing.writeHead(answer.status, headers);
    outgoing.end(content);
  }

  #rewritten(text: string): string {
    let result = text;
    for (const [origin, address] of this.#addresses) result = result.replaceAll(origin, address);
    return result;
  }

  #withProxyAddresses(answer: { readonly headers: IncomingHttpHeaders; readonly body: Buffer }): Buffer {
    if (!/json|xml/.test(answer.headers['content-type'] ?? '')) return answer.body;
    return Buffer.from(this.#rewritten(answer.body.toString('utf8')));
  }

  #forward(
    upstream: string,
    method: string,
    path: string,
    headers: IncomingHttpHeaders,
    body: Buffer,
  ): Promise<{ status: number; headers: IncomingHttpHeaders; body: Buffer }> {
    const url = new URL(path, upstream);
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
    const forwarded: IncomingHttpHeaders = {
      ...headers,
      host: url.host,
      'content-length': String(body.length),
    };
    delete forwarded['transfer-encoding'];
    delete forwarded['accept-encoding'];
    delete forwarded['expect'];
    delete forwarded['connection'];
    return new Promise((resolve, reject) => {
      const agent = url.protocol === 'https:' ? this.#toHttps : this.#toHttp;
      const options = { method, headers: forwarded, agent, timeout: 300_000 };
      const outgoing = send(url, options, (response) => {
        read(response).then(
          (content) =>
            resolve({ status: response.statusCode ?? 502, headers: response.headers, body: content }),
          reject,
        );
      });
      outgoing.on('timeout', () => outgoing.destroy(new Error('the service does not answer')));
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  }
}

async function read(stream: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBodyBytes) throw new Error('body too large for the fault proxy');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
