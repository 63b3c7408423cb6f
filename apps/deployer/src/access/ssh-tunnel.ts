import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode, messageOf } from '@microbosh/errors';
import type { Client } from 'ssh2';
import type { ProxyRoute } from './proxy-route.ts';

export interface SshTunnelOptions {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** The way to `host`; undefined: directly. */
  readonly route?: ProxyRoute | undefined;
  readonly password?: string;
  /** PEM text; goes to the library in memory, never to a file or an argument vector. */
  readonly privateKey?: string;
  /** Port on the VM's loopback interface that leads here. */
  readonly remotePort: number;
  /** Port on this machine's loopback interface where the connections end. */
  readonly localPort: number;
  /** `ssh-ed25519 AAAA…` of an earlier connection to the same VM; any other key is refused. */
  readonly hostKey?: string;
  /** Called with the key of a VM that was never connected to. */
  readonly recordHostKey: (key: string) => Promise<void>;
  readonly onState: (state: TunnelState) => void;
  /** For a VM that is still booting. */
  readonly timing?: Partial<TunnelTiming>;
}

export interface TunnelTiming {
  /** How long credentials may be refused in a row before they count as wrong: keys arrive late in a boot. */
  readonly credentialsMs: number;
  readonly attemptMs: number;
  readonly pauseMs: number;
  readonly keepaliveMs: number;
}

const defaultTiming: TunnelTiming = {
  credentialsMs: 300_000,
  attemptMs: 30_000,
  pauseMs: 500,
  keepaliveMs: 10_000,
};

export type TunnelState =
  | { readonly kind: 'connecting'; readonly text: string }
  | { readonly kind: 'up'; readonly text: string }
  /** Waiting cannot help: another host key, or credentials that stay refused. */
  | { readonly kind: 'hopeless'; readonly text: string };

/**
 * The way from a VM, that cannot reach this machine, to the registry of a deploy: a listener on the VM's loopback
 * interface, forwarded over SSH. Comes up again by itself when the connection breaks, until it is closed.
 */
export class SshTunnel {
  readonly #options: SshTunnelOptions;
  readonly #timing: TunnelTiming;
  readonly #abort = new AbortController();
  #state: TunnelState;
  #client: Client | undefined;
  #hostKey: string | undefined;
  #running: Promise<void> | undefined;

  constructor(options: SshTunnelOptions) {
    this.#options = options;
    this.#timing = { ...defaultTiming, ...options.timing };
    this.#hostKey = options.hostKey;
    this.#state = { kind: 'connecting', text: 'not connected yet' };
  }

  get state(): TunnelState {
    return this.#state;
  }

  start(): void {
    this.#running ??= this.#supervise();
  }

  async close(): Promise<void> {
    this.#abort.abort();
    this.#client?.destroy();
    await this.#running;
  }

  async #supervise(): Promise<void> {
    let refusedSince: number | undefined;
    while (!this.#abort.signal.aborted) {
      const failure = await this.#connectOnce();
      if (this.#abort.signal.aborted) return;
      if (failure.kind === 'host-key') {
        this.#enter({ kind: 'hopeless', text: failure.text });
        return;
      }
      refusedSince = failure.kind === 'credentials' ? (refusedSince ?? Date.now()) : undefined;
      if (refusedSince !== undefined && Date.now() - refusedSince >= this.#timing.credentialsMs) {
        this.#enter({ kind: 'hopeless', text: failure.text });
        return;
      }
      this.#enter({ kind: 'connecting', text: failure.text });
      await sleep(this.#timing.pauseMs, undefined, { signal: this.#abort.signal }).catch(() => undefined);
    }
  }

  /** Resolves when the connection is over, with the reason. */
  async #connectOnce(): Promise<Failure> {
    const { Client: SshClient } = await import('ssh2');
    const { host, user, password, privateKey, remotePort, localPort, route } = this.#options;
    const port = this.#options.port === 0 ? 22 : this.#options.port;
    let sock: Duplex | undefined;
    try {
      sock = await route?.dial(host, port, this.#timing.attemptMs);
    } catch (error) {
      return { kind: 'other', text: messageOf(error) };
    }
    if (this.#abort.signal.aborted) {
      sock?.destroy();
      return { kind: 'other', text: 'closed' };
    }
    const client = new SshClient();
    this.#client = client;
    let otherKey: string | undefined;
    return new Promise((resolve) => {
      let failure: Failure | undefined;
      client.on('ready', () => {
        client.forwardIn('127.0.0.1', remotePort, (error) => {
          if (error === undefined) {
            this.#enter({ kind: 'up', text: `port ${remotePort} of the VM leads here` });
            return;
          }
          failure = {
            kind: 'other',
            text: `the SSH server does not listen on port ${remotePort} of the VM for us: ${messageOf(error)}`,
          };
          client.end();
        });
      });
      client.on('tcp connection', (_details, accept) => {
        const channel = accept();
        const local = connect(localPort, '127.0.0.1');
        channel.on('error', () => local.destroy());
        local.on('error', () => channel.close());
        channel.pipe(local).pipe(channel);
      });
      client.on('error', (error) => {
        failure ??= classify(error, otherKey, this.#options);
      });
      client.on('close', () => {
        resolve(failure ?? { kind: 'other', text: 'the SSH server closed the connection' });
      });
      try {
        client.connect({
          host,
          port,
          ...(sock === undefined ? {} : { sock }),
          username: user,
          ...(password === undefined ? {} : { password }),
          ...(privateKey === undefined ? {} : { privateKey }),
          readyTimeout: this.#timing.attemptMs,
          keepaliveInterval: this.#timing.keepaliveMs,
          keepaliveCountMax: 3,
          hostVerifier: (key: Buffer, verify: (accepted: boolean) => void) => {
            const text = hostKeyText(key);
            if (this.#hostKey === undefined) {
              this.#hostKey = text;
              this.#options.recordHostKey(text).then(
                () => verify(true),
                () => verify(false),
              );
              return;
            }
            if (this.#hostKey !== text) otherKey = text;
            verify(this.#hostKey === text);
          },
        });
      } catch (error) {
        resolve({ kind: 'other', text: messageOf(error) });
      }
    });
  }

  #enter(state: TunnelState): void {
    if (state.kind === this.#state.kind && state.text === this.#state.text) return;
    this.#state = state;
    this.#options.onState(state);
  }
}

interface Failure {
  readonly kind: 'host-key' | 'credentials' | 'other';
  readonly text: string;
}

function classify(error: Error, otherKey: string | undefined, options: SshTunnelOptions): Failure {
  const peer = `the SSH server at ${options.host}:${options.port}`;
  if (otherKey !== undefined) {
    return {
      kind: 'host-key',
      text: `${peer} has another host key than before: another machine may answer at this address`,
    };
  }
  if ('level' in error && error.level === 'client-authentication') {
    return { kind: 'credentials', text: `${peer} refuses the key or the password of '${options.user}'` };
  }
  const code = errorCode(error);
  const reasons: Readonly<Record<string, string>> = {
    ECONNREFUSED: 'does not listen yet',
    EHOSTUNREACH: 'cannot be reached: there is no route',
    ENETUNREACH: 'cannot be reached: there is no route',
    ETIMEDOUT: 'does not answer',
    ENOTFOUND: 'has a name that cannot be resolved',
  };
  const reason = reasons[code ?? ''];
  return { kind: 'other', text: reason === undefined ? `${peer}: ${error.message}` : `${peer} ${reason}` };
}

/** As in a known_hosts file. */
function hostKeyText(key: Buffer): string {
  const length = key.readUInt32BE(0);
  return `${key.subarray(4, 4 + length).toString('latin1')} ${key.toString('base64')}`;
}
