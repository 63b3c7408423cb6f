import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { BlockList, connect, createServer, isIP } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { pipeline } from 'node:stream';
import type { Duplex } from 'node:stream';
import { messageOf } from '@microbosh/errors';
import type { Client } from 'ssh2';
import { ProxyInvalid } from '../errors.ts';

/** The way from this machine to VMs and to servers of artifacts that is not its own network. */
export interface ProxyRoute {
  /** A connection to `host`, as the far end of the route resolves it. */
  dial(host: string, port: number, timeoutMs: number): Promise<Duplex>;
  /** A port of this machine's loopback interface that leads to `host`, for programs that cannot dial. */
  listen(host: string, port: number): Promise<{ readonly port: number; close(): Promise<void> }>;
}

type Env = Readonly<Record<string, string | undefined>>;

const routes = new Map<string, ProxyRoute>();

/**
 * The route that `BOSH_ALL_PROXY` names, as the original reads it: `socks5://[USER:PASSWORD@]HOST:PORT`, or
 * `ssh+socks5://USER@HOST:PORT?private-key=FILE`, where the connections go through SSH. Hosts in `no_proxy` are
 * reached directly. One per process and value. Throws ProxyInvalid.
 */
export function proxyRoute(env: Env): ProxyRoute | undefined {
  const value = env['BOSH_ALL_PROXY'] || undefined;
  if (value === undefined) return undefined;
  const except = env['no_proxy'] || env['NO_PROXY'] || '';
  const key = JSON.stringify([value, except]);
  const known = routes.get(key);
  if (known !== undefined) return known;
  const isDirect = exceptions(except);
  const through = dialer(value);
  const route = routeOver((host, port, timeoutMs) =>
    isDirect(host) ? direct(host, port, timeoutMs) : through(host, port, timeoutMs),
  );
  routes.set(key, route);
  return route;
}

function routeOver(dial: ProxyRoute['dial']): ProxyRoute {
  return {
    dial,
    listen: async (host, port) => {
      const open = new Set<Duplex>();
      const server = createServer((local) => {
        open.add(local);
        local.on('error', () => local.destroy()).on('close', () => open.delete(local));
        dial(host, port, defaultTimeoutMs).then(
          (far) => {
            // Each ends or fails with the other.
            pipeline(local, far, () => undefined);
            pipeline(far, local, () => undefined);
          },
          () => local.destroy(),
        );
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      return {
        port: (server.address() as AddressInfo).port,
        close: async () => {
          for (const stream of open) stream.destroy();
          server.close();
          await once(server, 'close');
        },
      };
    },
  };
}

export const defaultTimeoutMs = 30_000;

/** Without the brackets that URLs have around IPv6 addresses. */
export const bare = (hostname: string) => hostname.replace(/^\[|\]$/g, '');

function dialer(value: string): ProxyRoute['dial'] {
  const scheme = /^(ssh\+)?socks5h?:\/\//.exec(value);
  const url = scheme === null || !URL.canParse(value) ? undefined : new URL(value);
  if (url === undefined || url.hostname === '' || /%(?![\da-f]{2})/i.test(url.username + url.password)) {
    throw new ProxyInvalid('BOSH_ALL_PROXY names no proxy', {
      advice:
        'Set it to socks5://HOST:PORT or ssh+socks5://USER@HOST:PORT?private-key=FILE, or unset it to reach VMs directly.',
    });
  }
  return scheme?.[1] === undefined ? socksDialer(url) : sshDialer(url);
}

/** A failure on the way, with the code of the system's error that says the same of a direct connection. */
class RouteFailed extends Error {
  readonly code: string;

  constructor(message: string, code: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

// ── SOCKS ────────────────────────────────────────────────────────────────────────────────────────────────────────────

function socksDialer(url: URL): ProxyRoute['dial'] {
  const proxy = { host: bare(url.hostname), port: Number(url.port || 1080) };
  const user = decodeURIComponent(url.username);
  const password = decodeURIComponent(url.password);
  return async (host, port, timeoutMs) => {
    const { SocksClient } = await import('socks');
    // Connected here, so that a proxy that is away is not taken for a VM that is away.
    const existing_socket = await direct(proxy.host, proxy.port, timeoutMs).catch((error: unknown) => {
      throw new RouteFailed(`the proxy of BOSH_ALL_PROXY: ${messageOf(error)}`, 'EHOSTUNREACH', error);
    });
    try {
      const { socket } = await SocksClient.createConnection({
        command: 'connect',
        proxy: {
          ...proxy,
          type: 5,
          ...(user === '' ? {} : { userId: user }),
          ...(password === '' ? {} : { password }),
        },
        destination: { host, port },
        timeout: timeoutMs,
        existing_socket,
      });
      return socket;
    } catch (error) {
      existing_socket.destroy();
      const reason = messageOf(error);
      throw new RouteFailed(`the proxy of BOSH_ALL_PROXY answers: ${reason}`, codeOfReply(reason), error);
    }
  };
}

/** The library tells the reply (RFC 1928, section 6) by its name. */
function codeOfReply(reason: string): string {
  if (reason.includes('ConnectionRefused')) return 'ECONNREFUSED';
  if (reason.includes('NetworkUnreachable')) return 'ENETUNREACH';
  if (reason.includes('TTLExpired') || reason.includes('timed out')) return 'ETIMEDOUT';
  return 'EHOSTUNREACH';
}

function direct(host: string, port: number, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true });
    const timer = setTimeout(
      () => socket.destroy(new RouteFailed(`connect to ${host}:${port} takes too long`, 'ETIMEDOUT')),
      timeoutMs,
    );
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.removeListener('error', reject);
      resolve(socket);
    });
    socket.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
  });
}

// ── SSH ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** One SSH connection for all; made again when it broke. It holds the process only while something goes through it. */
class SshGate {
  readonly client: Client;
  readonly #socket: Socket;
  #channels = 0;

  private constructor(client: Client, socket: Socket) {
    this.client = client;
    this.#socket = socket;
    socket.unref();
  }

  static async open(url: URL, hostKey: HostKeyPin, timeoutMs: number): Promise<SshGate> {
    const peer = `the SSH server of BOSH_ALL_PROXY at ${url.host}`;
    const file = url.searchParams.get('private-key');
    if (url.username === '' || file === null || file === '') {
      throw new ProxyInvalid('BOSH_ALL_PROXY names no user or no private key for its SSH server', {
        advice: 'Set it to ssh+socks5://USER@HOST:PORT?private-key=FILE.',
      });
    }
    const privateKey = await readFile(file, 'utf8').catch((error: unknown) => {
      throw new ProxyInvalid(`The private key of BOSH_ALL_PROXY cannot be read: ${messageOf(error)}`, {
        details: { file },
        advice: 'Correct private-key in BOSH_ALL_PROXY.',
        cause: error,
      });
    });
    const { Client: SshClient } = await import('ssh2');
    const socket = await direct(bare(url.hostname), Number(url.port || 22), timeoutMs).catch(
      (error: unknown) => {
        throw new RouteFailed(`${peer}: ${messageOf(error)}`, 'EHOSTUNREACH', error);
      },
    );
    const client = new SshClient();
    await new Promise<void>((resolve, reject) => {
      client.once('ready', resolve);
      client.on('error', (error) =>
        reject(new RouteFailed(`${peer}: ${error.message}`, 'EHOSTUNREACH', error)),
      );
      client.once('close', () => reject(new RouteFailed(`${peer} closed the connection`, 'EHOSTUNREACH')));
      try {
        client.connect({
          sock: socket,
          username: decodeURIComponent(url.username),
          privateKey,
          readyTimeout: timeoutMs,
          hostVerifier: (key: Buffer) => hostKey.accepts(key),
        });
      } catch (error) {
        // A key that it cannot read.
        socket.destroy();
        reject(
          new ProxyInvalid(`The private key of BOSH_ALL_PROXY cannot be used: ${messageOf(error)}`, {
            details: { file },
            advice: 'Name a private key without a passphrase.',
            cause: error,
          }),
        );
      }
    });
    return new SshGate(client, socket);
  }

  forward(host: string, port: number, timeoutMs: number): Promise<Duplex> {
    this.#hold(1);
    return new Promise<Duplex>((resolve, reject) => {
      let isSettled = false;
      const settle = () => {
        isSettled = true;
        clearTimeout(timer);
        this.client.off('close', onClose);
      };
      const fail = (reason: string, code: string, cause?: unknown) => {
        settle();
        const peer = 'the SSH server of BOSH_ALL_PROXY';
        reject(new RouteFailed(`${peer} does not get to ${host}:${port}: ${reason}`, code, cause));
      };
      const onClose = () => fail('the connection broke', 'EHOSTUNREACH');
      const timer = setTimeout(() => fail('no answer', 'ETIMEDOUT'), timeoutMs);
      this.client.once('close', onClose);
      try {
        this.client.forwardOut('127.0.0.1', 0, host, port, (error, channel) => {
          if (error !== undefined) {
            this.#hold(-1);
            fail(error.message, /refused/i.test(error.message) ? 'ECONNREFUSED' : 'EHOSTUNREACH', error);
            return;
          }
          channel.once('close', () => this.#hold(-1));
          if (isSettled) {
            // Nobody waits for it any more.
            channel.destroy();
            return;
          }
          settle();
          resolve(asSocket(channel));
        });
      } catch (error) {
        // It closes right now.
        this.#hold(-1);
        fail(messageOf(error), 'EHOSTUNREACH', error);
      }
    });
  }

  #hold(change: number): void {
    this.#channels += change;
    if (this.#channels > 0) this.#socket.ref();
    else this.#socket.unref();
  }
}

/** The first key counts for the life of the process: nothing says beforehand which one is right. */
class HostKeyPin {
  #known: Buffer | undefined;

  accepts(key: Buffer): boolean {
    this.#known ??= key;
    return this.#known.equals(key);
  }
}

function sshDialer(url: URL): ProxyRoute['dial'] {
  const hostKey = new HostKeyPin();
  let gate: Promise<SshGate> | undefined;
  return async (host, port, timeoutMs) => {
    if (gate === undefined) {
      const opening = SshGate.open(url, hostKey, timeoutMs);
      const forget = () => {
        if (gate === opening) gate = undefined;
      };
      gate = opening;
      // The end of the stream comes before its close, and nothing can be sent in between.
      opening.then(({ client }) => client.once('end', forget).once('close', forget), forget);
    }
    return (await gate).forward(host, port, timeoutMs);
  };
}

/** What an HTTP client asks of a socket and a channel has no notion of. */
function asSocket(channel: Duplex): Duplex {
  const same = () => channel;
  return Object.assign(channel, {
    ref: same,
    unref: same,
    setKeepAlive: same,
    setNoDelay: same,
    setTimeout: same,
  });
}

// ── exceptions ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** `no_proxy`: addresses, CIDR ranges, host names, and domains as `.example.com` or `*.example.com`. */
function exceptions(list: string): (host: string) => boolean {
  const addresses = new BlockList();
  const names: string[] = [];
  for (const entry of list.split(',').map((part) => part.trim().toLowerCase())) {
    const [address = '', bits] = entry.split('/');
    const family = isIP(address);
    if (family !== 0) {
      const type = family === 6 ? 'ipv6' : 'ipv4';
      const prefix = Number(bits ?? (family === 6 ? 128 : 32));
      if (prefix >= 0 && prefix <= (family === 6 ? 128 : 32)) addresses.addSubnet(address, prefix, type);
    } else if (entry !== '') {
      names.push(entry.replace(/^\*(?=\.)/, ''));
    }
  }
  return (host) => {
    const family = isIP(host);
    if (family !== 0) return addresses.check(host, family === 6 ? 'ipv6' : 'ipv4');
    const name = host.toLowerCase();
    return names.some((entry) =>
      entry.startsWith('.') ? name.endsWith(entry) || name === entry.slice(1) : name === entry,
    );
  };
}
