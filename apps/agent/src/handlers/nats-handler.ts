import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentAnswer } from '@microbosh/agent-protocol';
import { messageOf } from '@microbosh/errors';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { ActionError } from '../errors.ts';
import type { Log } from '../ports/log.ts';
import type { Dispatcher } from './dispatcher.ts';

export interface NatsOptions {
  readonly urls: readonly string[];
  readonly agentId: string;
  /** PEM; absent: no TLS, as the old servers have it. */
  readonly tls?: { readonly ca?: string; readonly certificate?: string; readonly privateKey?: string };
  readonly dispatcher: Dispatcher;
  readonly log: Log;
}

/** NATS refuses larger messages by default. */
const maxAnswerBytes = 1_048_576;
const maxConcurrent = 64;

/** `agent.<id>` request and reply, and what the agent says unasked. Reconnects for ever, slower each time up to 10 s. */
export class NatsHandler {
  readonly #options: NatsOptions;
  readonly #connection: NatsConnection;
  #active = 0;

  private constructor(options: NatsOptions, connection: NatsConnection) {
    this.#options = options;
    this.#connection = connection;
  }

  static async connect(options: NatsOptions): Promise<NatsHandler> {
    const servers = options.urls.map(natsServer);
    const first = servers[0];
    if (!first) throw new ActionError('There is no message bus to connect to', { code: 'E_MBUS' });
    const { tls } = options;
    let attempts = 0;
    const connection = await connect({
      servers: servers.map(({ server }) => server),
      name: options.agentId,
      ...(first.user === undefined ? {} : { user: first.user, pass: first.password ?? '' }),
      waitOnFirstConnect: true,
      maxReconnectAttempts: -1,
      reconnectDelayHandler: () => Math.min(10_000, 2_000 * (attempts += 1)),
      ...(tls
        ? {
            tls: {
              handshakeFirst: false,
              ...(tls.ca === undefined ? {} : { ca: tls.ca }),
              ...(tls.certificate === undefined ? {} : { cert: tls.certificate }),
              ...(tls.privateKey === undefined ? {} : { key: tls.privateKey }),
            },
          }
        : {}),
    });
    const handler = new NatsHandler(options, connection);
    void handler.#watch(() => (attempts = 0));
    void handler.#serve();
    await connection.flush();
    return handler;
  }

  /** A notice that is lost while the server is away is not repeated: the next heartbeat says the same. */
  publish(subject: 'heartbeat' | 'alert' | 'shutdown', message: unknown): void {
    this.#connection.publish(`hm.agent.${subject}.${this.#options.agentId}`, JSON.stringify(message));
  }

  async close(): Promise<void> {
    await this.#connection.drain().catch(() => this.#connection.close());
  }

  async #watch(onConnected: () => void): Promise<void> {
    for await (const status of this.#connection.status()) {
      this.#options.log.info({ status: status.type }, 'message bus');
      if (status.type === 'reconnect') onConnected();
    }
  }

  async #serve(): Promise<void> {
    for await (const message of this.#connection.subscribe(`agent.${this.#options.agentId}`)) {
      while (this.#active >= maxConcurrent) await sleep(5);
      this.#active += 1;
      void this.#answer(message.string(), message.reply).finally(() => (this.#active -= 1));
    }
  }

  async #answer(body: string, reply: string | undefined): Promise<void> {
    const { dispatcher, log } = this.#options;
    try {
      const { request, answer } = await dispatcher.dispatch(body);
      const subject = request.reply_to === '' ? reply : request.reply_to;
      if (subject !== undefined && subject !== '') this.#connection.publish(subject, encodeAnswer(answer));
    } catch (error) {
      // As both originals: what is no request gets no answer.
      log.warn({ err: messageOf(error) }, 'a message was not answered');
    }
  }
}

/** An answer that fits into a message: a long exception loses its middle, a long value becomes an exception. */
export function encodeAnswer(answer: AgentAnswer, limit = maxAnswerBytes): string {
  const encoded = JSON.stringify(answer);
  if (Buffer.byteLength(encoded) <= limit) return encoded;
  if ('value' in answer) {
    return JSON.stringify({ exception: { message: 'Response exceeded maximum allowed length' } });
  }
  const { message } = answer.exception;
  // A character may need six bytes in JSON.
  const half = Math.floor((limit - 200) / 12);
  const short = `${message.slice(0, half)}\n...[truncated]...\n${message.slice(-half)}`;
  return JSON.stringify({ exception: { message: short } });
}

function natsServer(text: string): {
  readonly server: string;
  readonly user?: string;
  readonly password?: string;
} {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'nats:' && url?.protocol !== 'tls:') {
    throw new ActionError('The message bus is neither an https nor a nats URL', { code: 'E_MBUS' });
  }
  return {
    server: url.host,
    ...(url.username === ''
      ? {}
      : { user: decodeURIComponent(url.username), password: decodeURIComponent(url.password) }),
  };
}
