import { setTimeout as sleep } from 'node:timers/promises';
import { createServer as createPlainServer } from 'node:http';
import type { IncomingMessage, RequestListener, Server, ServerOptions } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Duplex } from 'node:stream';
import type { SecureContextOptions } from 'node:tls';
import { errorCode } from '@microbosh/errors';
import type { HttpLimits } from './limits.ts';

export interface TlsMaterial {
  /** PEM, the chain. */
  readonly certificate: string;
  /** PEM. */
  readonly privateKey: string;
  /** PEM of the CA that signs client certificates; with it, clients are asked for one. */
  readonly clientCa?: string;
}

export interface ListenerOptions {
  readonly address: string;
  /** 0: any free port. */
  readonly port: number;
  /** Without it: plain HTTP, for old clients. */
  readonly tls?: TlsMaterial;
}

export interface BoundListener {
  readonly url: string;
  readonly address: string;
  readonly port: number;
  readonly tls: boolean;
}

/** For requests that were sent before their connection was known to end. */
const leavingMs = 250;

/** One listening socket with its limits. */
export class Listener {
  readonly #options: ListenerOptions;
  readonly #server: Server;
  readonly #setTls: ((tls: TlsMaterial) => void) | undefined;
  #connections = 0;

  #leaving = false;

  constructor(options: ListenerOptions, limits: HttpLimits, handler: RequestListener) {
    this.#options = options;
    const serverOptions: ServerOptions = {
      maxHeaderSize: limits.headerBytes,
      headersTimeout: limits.headersTimeoutMs,
      requestTimeout: limits.requestTimeoutMs,
      keepAliveTimeout: limits.idleTimeoutMs,
      connectionsCheckingInterval: Math.min(1_000, limits.headersTimeoutMs),
    };
    const opaque: RequestListener = (request, response) => {
      withoutContentType(request);
      if (this.#leaving) response.setHeader('connection', 'close');
      handler(request, response);
    };
    if (options.tls) {
      const server = createTlsServer(
        { ...serverOptions, ...tlsOptions(options.tls), handshakeTimeout: limits.handshakeTimeoutMs },
        opaque,
      );
      this.#setTls = (tls) => server.setSecureContext(tlsOptions(tls));
      this.#server = server;
    } else {
      this.#server = createPlainServer(serverOptions, opaque);
    }
    this.#server.maxConnections = limits.connections;
    this.#server.on('connection', (socket) => {
      this.#connections += 1;
      socket.once('close', () => (this.#connections -= 1));
    });
    this.#server.on('clientError', answerMalformed);
  }

  get connections(): number {
    return this.#connections;
  }

  async listen(): Promise<BoundListener> {
    const { address, port } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host: address, port, backlog: 4_096 }, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
    const bound = this.#server.address();
    if (bound === null || typeof bound === 'string') throw new Error('a TCP listener has a TCP address');
    const host = bound.family === 'IPv6' ? `[${bound.address}]` : bound.address;
    const tls = this.#options.tls !== undefined;
    return {
      url: `${tls ? 'https' : 'http'}://${host}:${bound.port}`,
      address: bound.address,
      port: bound.port,
      tls,
    };
  }

  /** New connections get the new certificate; open ones keep theirs. */
  replaceTls(tls: TlsMaterial): void {
    this.#setTls?.(tls);
  }

  /**
   * Ends the open connections with their next answer, takes no new ones, lets running requests end, and cuts what is left
   * after the time. A request that is on its way when the end begins is still answered: closing an idle connection at
   * once would lose it.
   */
  async close(graceMs: number): Promise<void> {
    if (!this.#server.listening) return;
    if (graceMs > 0 && this.#connections > 0) {
      this.#leaving = true;
      await sleep(Math.min(leavingMs, graceMs));
    }
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    // A connection that was busy becomes idle later, and would stay for its next request.
    const idle = setInterval(() => this.#server.closeIdleConnections(), 20);
    const cut = setTimeout(() => this.#server.closeAllConnections(), graceMs);
    await closed;
    clearInterval(idle);
    clearTimeout(cut);
  }
}

function tlsOptions(
  tls: TlsMaterial,
): SecureContextOptions & { requestCert: boolean; rejectUnauthorized: boolean } {
  return {
    cert: tls.certificate,
    key: tls.privateKey,
    minVersion: 'TLSv1.2',
    ...(tls.clientCa === undefined ? {} : { ca: tls.clientCa }),
    requestCert: tls.clientCa !== undefined,
    // A client without a certificate may still log in with a password: what counts is `authorized` of the socket.
    rejectUnauthorized: false,
  };
}

/** Settings are opaque bytes: no content type, and no malformed one either, may turn a request away. */
function withoutContentType(request: IncomingMessage): void {
  if (request.headers['content-type'] !== undefined)
    request.headers['content-type'] = 'application/octet-stream';
}

const REASON: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};

function answerMalformed(error: Error, socket: Duplex): void {
  // Failed handshakes come here too: there is nobody who could read an answer.
  if (!socket.writable || !/^(HPE_|ERR_HTTP_)/.test(errorCode(error) ?? '')) {
    socket.destroy();
    return;
  }
  const reason = REASON[errorCode(error) ?? ''] ?? '400 Bad Request';
  const body =
    '{"status":"error","code":"E_REGISTRY_BAD_REQUEST","message":"The request is malformed or too slow."}';
  socket.end(
    `HTTP/1.1 ${reason}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
  );
}
