import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { Exchange, RecordedCall, RecordedService } from './recording.ts';
import { exchangeOf } from './recording.ts';

/** In a recording, and in what answers from it, a service stands at this address. */
export const recordedOrigin = (service: RecordedService): string => `http://${service}.recorded`;

/** Answers what real services answered: one recorded call after the other, request by request. */
export class RecordedCloud {
  readonly #server: Server;
  #exchanges: Exchange[] = [];
  #last = new Map<string, Exchange>();
  /** Requests that the recording does not have. */
  readonly strangers: string[] = [];
  /** What the CPI has sent since `play`, as exchanges with the recorded answers. */
  readonly sent: Exchange[] = [];

  private constructor() {
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch(() => response.destroy());
    });
  }

  static async start(): Promise<RecordedCloud> {
    const cloud = new RecordedCloud();
    await new Promise<void>((resolve) => cloud.#server.listen(0, '127.0.0.1', resolve));
    return cloud;
  }

  get #origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get authUrl(): string {
    return `${this.#origin}/identity/v3`;
  }

  /** From now on the answers are those of this call. */
  play({ exchanges }: RecordedCall): void {
    this.#exchanges = [...exchanges];
    this.#last = new Map();
    this.sent.length = 0;
  }

  /** Recorded requests that change something and were not sent again. */
  get unsent(): readonly string[] {
    return this.#exchanges
      .filter(({ method, service }) => method !== 'GET' && service !== 'identity')
      .map(({ method, path }) => `${method} ${path}`);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, service = '', path = ''] = /^\/([a-z]+)(\/.*)$/.exec(request.url ?? '') ?? [];
    const asked = exchangeOf(service as RecordedService, {
      method: request.method ?? '',
      path,
      status: 0,
      requestBody: await text(request),
      answerBody: '',
    });
    const recorded = this.#take(asked);
    if (recorded === undefined) {
      this.strangers.push(`${asked.method} ${service} ${asked.path}`);
      response.writeHead(501).end('the recording has no such request');
      return;
    }
    this.sent.push({ ...asked, status: recorded.status, answer: recorded.answer });
    let body = recorded.answer === null ? '' : JSON.stringify(recorded.answer);
    for (const name of ['identity', 'compute', 'network', 'image', 'volume'] as const) {
      body = body.replaceAll(recordedOrigin(name), `${this.#origin}/${name}`);
    }
    const token = service === 'identity' ? { 'x-subject-token': 'recorded' } : {};
    response.writeHead(recorded.status, { 'content-type': 'application/json', ...token }).end(body);
  }

  /** The next of its kind; the last one again for who looks once more. */
  #take({ service, method, path }: Exchange): Exchange | undefined {
    const key = `${method} ${service} ${path}`;
    const index = this.#exchanges.findIndex(
      (exchange) => `${exchange.method} ${exchange.service} ${exchange.path}` === key,
    );
    const [found] = index === -1 ? [] : this.#exchanges.splice(index, 1);
    if (found !== undefined) this.#last.set(key, found);
    return found ?? (method === 'GET' ? this.#last.get(key) : undefined);
  }
}
