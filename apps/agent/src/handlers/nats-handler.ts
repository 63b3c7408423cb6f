import { lookup } from 'node:dns/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConnectionOptions } from 'node:tls';
import type { AgentAnswer } from '@microbosh/agent-protocol';
import { messageOf } from '@microbosh/errors';
import { connect, type NatsConnection, type TlsOptions } from '@nats-io/transport-node';
import { ActionError } from '../errors.ts';
import type { Log } from '../ports/log.ts';
import type { Dispatcher } from './dispatcher.ts';

export interface NatsOptions {
  readonly urls: readonly string[];
  readonly agentId: string;
  /** PEM; absent: no TLS, as the old servers have it. */
  readonly tls?: { readonly ca?: string; readonly certificate?: string; readonly privateKey?: string };
  readonly dispatcher: Dispatcher;
  /** Forgets the hardware address of a server: after a failover its IP answers from another machine. */
  readonly flushNeighbour: (ip: string) => Promise<void>;
  /** A name of the message bus may mean another address now. */
  readonly refreshFirewall: () => Promise<void>;
  /** Keeps an answer that is too large for a message; answers the id of its blob. */
  readonly storeLarge: (content: string) => Promise<string>;
  readonly log: Log;
}

/** NATS refuses larger messages by default. */
const maxAnswerBytes = 1_048_576;
const maxConcurrent = 64;
const flushIntervalMs = 5_000;
/** What the certificate of a message bus is issued for; host names and addresses are not compared, as in the original. */
const serverName = /^[a-zA-Z0-9*-]*\.nats\.bosh-internal$/;

/** `agent.<id>` request and reply, and what the agent says unasked. Reconnects for ever, slower each time up to 10 s. */
export class NatsHandler {
  readonly #options: NatsOptions;
  readonly #connection: NatsConnection;
  readonly #closing = new AbortController();
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
    const hosts = servers.map(({ host }) => host);
    await flushNeighbours(hosts, options);
    const connection = await connect({
      servers: servers.map(({ server }) => server),
      name: options.agentId,
      ...(first.user === undefined ? {} : { user: first.user, pass: first.password ?? '' }),
      waitOnFirstConnect: true,
      maxReconnectAttempts: -1,
      reconnectDelayHandler: () => Math.min(10_000, 2_000 * (attempts += 1)),
      ...(tls ? { tls: tlsOptions(tls) } : {}),
    });
    const handler = new NatsHandler(options, connection);
    void handler.#watch(hosts, () => (attempts = 0));
    void handler.#serve();
    await connection.flush();
    return handler;
  }

  /** A notice that is lost while the server is away is not repeated: the next heartbeat says the same. */
  publish(subject: 'heartbeat' | 'alert' | 'shutdown', message: unknown): void {
    this.#connection.publish(`hm.agent.${subject}.${this.#options.agentId}`, JSON.stringify(message));
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#connection.drain().catch(() => this.#connection.close());
  }

  async #watch(hosts: readonly string[], onConnected: () => void): Promise<void> {
    let away: AbortController | undefined;
    for await (const status of this.#connection.status()) {
      this.#options.log.info({ status: status.type }, 'message bus');
      if (status.type === 'disconnect' && away === undefined) {
        away = new AbortController();
        void this.#flushWhileAway(hosts, AbortSignal.any([away.signal, this.#closing.signal]));
      }
      if (status.type !== 'reconnect') continue;
      away?.abort();
      away = undefined;
      onConnected();
      await this.#options
        .refreshFirewall()
        .catch((error: unknown) =>
          this.#options.log.warn({ err: messageOf(error) }, 'the firewall was not refreshed'),
        );
    }
    away?.abort();
  }

  async #flushWhileAway(hosts: readonly string[], signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await flushNeighbours(hosts, this.#options);
      await sleep(flushIntervalMs, undefined, { signal }).catch(() => undefined);
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
      if (subject === undefined || subject === '') return;
      this.#connection.publish(subject, await this.#encode(answer));
    } catch (error) {
      // As both originals: what is no request gets no answer.
      log.warn({ err: messageOf(error) }, 'a message was not answered');
    }
  }

  async #encode(answer: AgentAnswer): Promise<string> {
    const fitting = encodeAnswer(answer);
    if (fitting !== undefined) return fitting;
    const { storeLarge, log } = this.#options;
    const message = 'Response exceeded maximum allowed length';
    try {
      // As the Ruby agent: directors fetch the blob and show it.
      const blobstoreId = await storeLarge(JSON.stringify(answer));
      return JSON.stringify({ exception: { message, blobstore_id: blobstoreId } });
    } catch (error) {
      log.warn({ err: messageOf(error) }, 'a large answer could not be stored');
      return JSON.stringify({ exception: { message } });
    }
  }
}

/** An answer that fits into a message: a long exception loses its middle; undefined for a value that is too long. */
export function encodeAnswer(answer: AgentAnswer, limit = maxAnswerBytes): string | undefined {
  const encoded = JSON.stringify(answer);
  if (Buffer.byteLength(encoded) <= limit) return encoded;
  if ('value' in answer) return undefined;
  const { message } = answer.exception;
  // A character may need six bytes in JSON.
  const half = Math.floor((limit - 200) / 12);
  const short = `${message.slice(0, half)}\n...[truncated]...\n${message.slice(-half)}`;
  return JSON.stringify({ exception: { message: short } });
}

function tlsOptions(
  tls: NonNullable<NatsOptions['tls']>,
): TlsOptions & Pick<ConnectionOptions, 'minVersion' | 'checkServerIdentity'> {
  return {
    minVersion: 'TLSv1.2',
    checkServerIdentity: (_host, { subject }) => {
      const name = String(subject.CN);
      if (serverName.test(name)) return undefined;
      return new ActionError('server Certificate CommonName does not match *.nats.bosh-internal', {
        code: 'E_MBUS_CERTIFICATE',
        details: { name },
      });
    },
    ...(tls.ca === undefined ? {} : { ca: tls.ca }),
    ...(tls.certificate === undefined ? {} : { cert: tls.certificate }),
    ...(tls.privateKey === undefined ? {} : { key: tls.privateKey }),
  };
}

async function flushNeighbours(
  hosts: readonly string[],
  { flushNeighbour, log }: Pick<NatsOptions, 'flushNeighbour' | 'log'>,
): Promise<void> {
  for (const host of new Set(hosts)) {
    try {
      for (const { address } of await lookup(host, { all: true })) await flushNeighbour(address);
    } catch (error) {
      log.debug({ err: messageOf(error) }, 'the neighbour of the message bus was not forgotten');
    }
  }
}

function natsServer(text: string): {
  readonly server: string;
  readonly host: string;
  readonly user?: string;
  readonly password?: string;
} {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'nats:' && url?.protocol !== 'tls:') {
    throw new ActionError('The message bus is neither an https nor a nats URL', { code: 'E_MBUS' });
  }
  return {
    server: url.host,
    host: url.hostname.replace(/^\[|\]$/g, ''),
    ...(url.username === ''
      ? {}
      : { user: decodeURIComponent(url.username), password: decodeURIComponent(url.password) }),
  };
}
