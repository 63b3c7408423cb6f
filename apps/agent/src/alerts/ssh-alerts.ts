import { randomUUID } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import type { JsonObject } from '@microbosh/errors';
import type { Log } from '../ports/log.ts';

/** Where rsyslog forwards `auth,authpriv.*` to, as on the stemcells of the Ruby agent. */
export const sshAlertPort = 33_331;

const maxLineBytes = 8 * 1024;
const maxClients = 10;

/** The alert that a line of sshd is worth; undefined for every other line. */
export function sshAlert(line: string, now = new Date()): JsonObject | undefined {
  // `<38>Nov 23 01:50:33 vm sshd[812]: Accepted publickey for …`, with or without the head of syslog.
  const content = line.trim();
  const title = content.endsWith('disconnected by user')
    ? 'SSH Logout'
    : content.includes('Accepted publickey for')
      ? 'SSH Login'
      : undefined;
  if (title === undefined) return undefined;
  const summary = content.replace(/^<\d{1,3}>/, '');
  return { id: randomUUID(), severity: 4, title, summary, created_at: Math.floor(now.getTime() / 1_000) };
}

/** Takes syslog lines on 127.0.0.1 and tells who logs in and out. */
export class SshAlertServer {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #port: number;
  readonly #log: Log;

  constructor(options: {
    readonly port?: number;
    readonly onAlert: (alert: JsonObject) => void;
    readonly log: Log;
  }) {
    this.#port = options.port ?? sshAlertPort;
    this.#log = options.log;
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      socket.on('error', () => socket.destroy());
      let rest = '';
      socket.setEncoding('utf8');
      socket.on('data', (chunk: string) => {
        const lines = (rest + chunk).split('\n');
        rest = (lines.pop() ?? '').slice(0, maxLineBytes);
        for (const line of lines) {
          const alert = sshAlert(line.slice(0, maxLineBytes));
          if (alert) options.onAlert(alert);
        }
      });
    });
    this.#server.maxConnections = maxClients;
  }

  /** False when the port is taken: logins are then not told, the rest of the agent works. */
  async listen(): Promise<boolean> {
    return new Promise((resolve) => {
      this.#server.once('error', (error) => {
        this.#log.warn({ port: this.#port, err: error.message }, 'SSH logins are not told');
        resolve(false);
      });
      this.#server.listen(this.#port, '127.0.0.1', () => resolve(true));
    });
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
