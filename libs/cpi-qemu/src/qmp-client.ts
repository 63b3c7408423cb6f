import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { isJsonObject, messageOf, type Json, type JsonObject } from '@microbosh/errors';
import { QmpCommandFailed, QmpUnreachable } from './qemu-errors.ts';

export interface QmpEvent {
  readonly event: string;
  readonly data: JsonObject;
}

export interface QmpOptions {
  readonly signal?: AbortSignal;
  /** For connecting: QEMU serves one client at a time, so another call's has to end first. Default 20 000. */
  readonly connectTimeoutMs?: number;
  /** For the answer to one command. Default 30 000. */
  readonly commandTimeoutMs?: number;
}

interface Pending {
  readonly command: string;
  readonly resolve: (value: Json) => void;
  readonly reject: (error: Error) => void;
}

/** Opens a conversation with the QEMU behind a socket, runs `work`, and ends it. */
export async function withQmp<T>(
  socketPath: string,
  options: QmpOptions,
  work: (client: QmpClient) => Promise<T>,
): Promise<T> {
  const client = await QmpClient.connect(socketPath, options);
  try {
    return await work(client);
  } finally {
    client.close();
  }
}

/** QEMU Machine Protocol: JSON lines, commands answered in order, events in between. */
export class QmpClient {
  readonly #socket: Socket;
  readonly #options: QmpOptions;
  readonly #pending = new Map<number, Pending>();
  readonly #events: QmpEvent[] = [];
  readonly #eventWaiters = new Set<() => void>();
  #buffer = '';
  #lastId = 0;
  #ended: Error | undefined;
  #greeted: (() => void) | undefined;

  private constructor(socket: Socket, options: QmpOptions) {
    this.#socket = socket;
    this.#options = options;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#read(text));
    socket.on('error', (error) => this.#end(error));
    socket.on('close', () => this.#end(new Error('the connection was closed')));
  }

  static async connect(socketPath: string, options: QmpOptions): Promise<QmpClient> {
    const deadline = Date.now() + (options.connectTimeoutMs ?? 20_000);
    for (;;) {
      options.signal?.throwIfAborted();
      const client = new QmpClient(connect(socketPath), options);
      try {
        await client.#handshake(Math.max(100, deadline - Date.now()));
        return client;
      } catch (error) {
        client.close();
        options.signal?.throwIfAborted();
        if (Date.now() >= deadline) {
          throw new QmpUnreachable(`QEMU does not answer at ${socketPath}: ${messageOf(error)}`, {
            cause: error,
          });
        }
      }
      await sleep(100, undefined, options.signal ? { signal: options.signal } : {});
    }
  }

  /** Resolves with `return` of the answer. */
  async execute(command: string, args?: JsonObject): Promise<Json> {
    if (this.#ended) throw this.#unreachable(command, this.#ended);
    this.#lastId += 1;
    const id = this.#lastId;
    const answer = new Promise<Json>((resolve, reject) => {
      this.#pending.set(id, { command, resolve, reject });
    });
    this.#socket.write(`${JSON.stringify({ execute: command, id, ...(args && { arguments: args }) })}\n`);
    return this.#within(this.#options.commandTimeoutMs ?? 30_000, answer, command).finally(() => {
      this.#pending.delete(id);
    });
  }

  /** Waits for an event that was sent since the connection was made; each event is delivered once. */
  async waitForEvent(matches: (event: QmpEvent) => boolean, timeoutMs: number): Promise<QmpEvent> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const index = this.#events.findIndex(matches);
      const [event] = index < 0 ? [] : this.#events.splice(index, 1);
      if (event !== undefined) return event;
      if (this.#ended) throw this.#unreachable('an event', this.#ended);
      const leftMs = deadline - Date.now();
      if (leftMs <= 0)
        throw new QmpUnreachable(`QEMU did not send the expected event within ${timeoutMs} ms`);
      let wake: () => void = () => undefined;
      const woken = new Promise<void>((resolve) => {
        wake = resolve;
      });
      this.#eventWaiters.add(wake);
      const timer = setTimeout(wake, leftMs);
      await woken;
      clearTimeout(timer);
      this.#eventWaiters.delete(wake);
      this.#options.signal?.throwIfAborted();
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  async #handshake(timeoutMs: number): Promise<void> {
    const greeting = new Promise<void>((resolve) => {
      this.#greeted = resolve;
    });
    const ended = new Promise<never>((_resolve, reject) => {
      this.#socket.once('error', reject);
      this.#socket.once('close', () => reject(new Error('the connection was closed')));
    });
    ended.catch(() => undefined);
    await this.#within(timeoutMs, Promise.race([greeting, ended]), 'its greeting');
    await this.execute('qmp_capabilities');
  }

  async #within<T>(timeoutMs: number, answer: Promise<T>, what: string): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const { signal } = this.#options;
    let onAbort: (() => void) | undefined;
    const stop = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(
        () => reject(new QmpUnreachable(`QEMU did not answer ${what} within ${timeoutMs} ms`)),
        timeoutMs,
      );
      onAbort = () => reject(signal?.reason instanceof Error ? signal.reason : new Error('aborted'));
      signal?.addEventListener('abort', onAbort, { once: true });
    });
    try {
      return await Promise.race([answer, stop]);
    } finally {
      clearTimeout(timer);
      if (onAbort) signal?.removeEventListener('abort', onAbort);
    }
  }

  #read(text: string): void {
    this.#buffer += text;
    for (let end = this.#buffer.indexOf('\n'); end >= 0; end = this.#buffer.indexOf('\n')) {
      const line = this.#buffer.slice(0, end).trim();
      this.#buffer = this.#buffer.slice(end + 1);
      if (line !== '') this.#receive(line);
    }
  }

  #receive(line: string): void {
    let message: unknown;
    try {
      message = JSON.parse(line);
    } catch (error) {
      this.#end(new Error(`not JSON: ${messageOf(error)}`));
      this.#socket.destroy();
      return;
    }
    if (!isJsonObject(message)) return;
    if ('QMP' in message) {
      this.#greeted?.();
    } else if (typeof message['event'] === 'string') {
      const data = message['data'];
      this.#events.push({ event: message['event'], data: isJsonObject(data) ? data : {} });
      if (this.#events.length > 1000) this.#events.shift();
      for (const wake of this.#eventWaiters) wake();
    } else if (typeof message['id'] === 'number') {
      const pending = this.#pending.get(message['id']);
      const error = message['error'];
      if (isJsonObject(error)) {
        pending?.reject(new QmpCommandFailed(pending.command, textOf(error['class']), textOf(error['desc'])));
      } else {
        pending?.resolve(message['return'] ?? null);
      }
    }
  }

  #end(error: Error): void {
    this.#ended ??= error;
    for (const pending of this.#pending.values()) {
      pending.reject(this.#unreachable(pending.command, this.#ended));
    }
    this.#pending.clear();
    for (const wake of this.#eventWaiters) wake();
  }

  #unreachable(what: string, cause: Error): QmpUnreachable {
    return new QmpUnreachable(`QEMU ended the conversation before it answered ${what}: ${cause.message}`, {
      cause,
    });
  }
}

function textOf(value: Json | undefined): string {
  return typeof value === 'string' ? value : '';
}
