import { Agent, request } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { isJsonObject, type Json } from '@microbosh/errors';
import { blobPath } from '../blob-path.ts';

export interface WireAnswer {
  readonly status: number;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: Buffer;
}

export interface Failure {
  readonly message: string;
  readonly [key: string]: Json;
}

/** Exactly what stood in the envelope. */
export type Envelope = { readonly value: Json } | { readonly exception: Failure };

export interface WireOptions {
  readonly mbus: URL;
  /** PEM; absent: the peer is not verified. */
  readonly ca?: string;
  readonly timeoutMs: number;
}

/** Requests as bytes and answers as bytes: nothing between the suite and the wire but HTTPS itself. */
export class WireAgent {
  readonly #options: WireOptions;
  readonly #connections: Agent;
  readonly #authorization: string;

  constructor(options: WireOptions) {
    this.#options = options;
    const { mbus, ca } = options;
    const credentials = `${decodeURIComponent(mbus.username)}:${decodeURIComponent(mbus.password)}`;
    this.#authorization = `Basic ${Buffer.from(credentials).toString('base64')}`;
    this.#connections = new Agent({
      keepAlive: true,
      ...(ca === undefined ? { rejectUnauthorized: false } : { ca }),
    });
  }

  close(): void {
    this.#connections.destroy();
  }

  async send(
    method: string,
    path: string,
    options: {
      readonly body?: string | Uint8Array;
      /** null: none. */
      readonly authorization?: string | null;
    } = {},
  ): Promise<WireAnswer> {
    const { mbus, timeoutMs } = this.#options;
    const authorization = options.authorization === undefined ? this.#authorization : options.authorization;
    const body = options.body ?? '';
    return new Promise((resolve, reject) => {
      const sent = request(
        {
          agent: this.#connections,
          host: mbus.hostname.replace(/^\[|\]$/g, ''),
          port: mbus.port === '' ? 443 : Number(mbus.port),
          method,
          path,
          headers: {
            ...(authorization === null ? {} : { authorization }),
            'content-type': 'application/json',
            'content-length': Buffer.byteLength(body),
          },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () =>
            resolve({
              status: response.statusCode ?? 0,
              headers: response.headers,
              body: Buffer.concat(chunks),
            }),
          );
        },
      );
      sent.setTimeout(timeoutMs, () => sent.destroy(new Error(`no answer within ${timeoutMs} ms`)));
      sent.on('error', reject);
      sent.end(body);
    });
  }

  /** One request to `/agent`; the answer has to be a JSON envelope with exactly one of its two keys. */
  async post(body: string): Promise<Envelope> {
    const answer = await this.send('POST', '/agent', { body });
    if (answer.status !== 200) throw new Error(`the status is ${answer.status} and not 200`);
    const document: unknown = JSON.parse(answer.body.toString('utf8'));
    if (!isJsonObject(document)) throw new Error('the answer is not a JSON object');
    const keys = Object.keys(document);
    if (keys.length !== 1) throw new Error(`the envelope has the keys ${keys.join(', ') || 'none'}`);
    if (keys[0] === 'value') return { value: document.value ?? null };
    const { exception } = document;
    if (!isJsonObject(exception) || typeof exception.message !== 'string') {
      throw new Error('the exception is not an object with a message');
    }
    return { exception: { ...exception, message: exception.message } };
  }

  async call(method: string, args?: Json, protocol?: number): Promise<Envelope> {
    return this.post(
      JSON.stringify({
        ...{ method, reply_to: 'conformance' },
        ...(args === undefined ? {} : { arguments: args }),
        ...(protocol === undefined ? {} : { protocol }),
      }),
    );
  }

  /** Starts a task; the first answer has to be its id. */
  async begin(method: string, args?: Json, protocol?: number): Promise<string> {
    const first = await this.call(method, args, protocol);
    if ('exception' in first) throw new UnexpectedException(first.exception.message);
    const { value } = first;
    const isTask = isJsonObject(value) && value.state === 'running';
    if (!isTask || typeof value.agent_task_id !== 'string') {
      throw new Error(`the first answer is not a running task: ${JSON.stringify(value).slice(0, 200)}`);
    }
    return value.agent_task_id;
  }

  /** Follows a task to its end. */
  async end(id: string): Promise<Envelope> {
    const deadline = Date.now() + this.#options.timeoutMs;
    for (let delayMs = 20; ; delayMs = Math.min(500, delayMs * 1.5)) {
      const answer = await this.call('get_task', [id]);
      const running = 'value' in answer && isJsonObject(answer.value) && 'agent_task_id' in answer.value;
      if (!running) return answer;
      if (Date.now() > deadline) throw new Error('the task does not end');
      await sleep(delayMs);
    }
  }

  async task(method: string, args?: Json, protocol?: number): Promise<Envelope> {
    return this.end(await this.begin(method, args, protocol));
  }

  /** After a request that ends the agent within about a second: until the next one answers. */
  async untilBack(): Promise<void> {
    const isThere = async () =>
      this.call('ping', []).then(
        () => true,
        () => false,
      );
    const endBy = Date.now() + 2_000;
    while (Date.now() < endBy && (await isThere())) await sleep(50);
    const deadline = Date.now() + this.#options.timeoutMs;
    while (!(await isThere())) {
      if (Date.now() > deadline) throw new Error('the agent did not come back');
      await sleep(200);
    }
  }

  async putBlob(id: string, content: Uint8Array): Promise<void> {
    const { status } = await this.send('PUT', `/blobs/${blobPath(id)}`, { body: content });
    if (status !== 201 && status !== 204) throw new Error(`PUT of a blob: the status is ${status}`);
  }

  async getBlob(id: string): Promise<Buffer> {
    const { status, body } = await this.send('GET', `/blobs/${blobPath(id)}`);
    if (status !== 200) throw new Error(`GET of a blob: the status is ${status}`);
    return body;
  }
}

/** The agent refused where a value was due; "unknown message" means that it has no such method. */
export class UnexpectedException extends Error {}
