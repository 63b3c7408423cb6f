import { timingSafeEqual } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { messageOf } from '@microbosh/errors';
import { SMTPServer } from 'smtp-server';
import { ActionError } from '../errors.ts';
import type { Log } from '../ports/log.ts';
import type { SupervisorEvent } from '../supervisor/port.ts';
import { parseAlertMail } from './alert-mail.ts';

export interface AlertMailServerOptions {
  readonly port: number;
  /** `user:password`, as alerts.monitrc has them. */
  readonly credentials: () => Promise<string>;
  readonly onEvent: (event: SupervisorEvent) => void;
  readonly log: Log;
}

const maxMailBytes = 1024 * 1024;
const inactivityMs = 10_000;
const maxClients = 10;
/** Mails whose ids are remembered: monit repeats one when it has not seen our answer. */
const rememberedIds = 1_000;

/** Takes the mails of monit on 127.0.0.1; with password, so that nobody else on the machine can raise an alert. */
export class AlertMailServer {
  readonly #options: AlertMailServerOptions;
  readonly #server: SMTPServer;
  readonly #seen = new Set<string>();

  constructor(options: AlertMailServerOptions) {
    this.#options = options;
    this.#server = new SMTPServer({
      name: 'localhost',
      banner: 'agent',
      size: maxMailBytes,
      maxClients,
      socketTimeout: inactivityMs,
      closeTimeout: 1_000,
      disableReverseLookup: true,
      // On the loopback interface only; monit of the stemcells is built without TLS.
      disabledCommands: ['STARTTLS'],
      allowInsecureAuth: true,
      authMethods: ['PLAIN', 'LOGIN'],
      onAuth: (auth, _session, callback) => {
        this.#accepts(auth.username ?? '', auth.password ?? '').then(
          (accepted) =>
            callback(accepted ? null : new Error('not accepted'), accepted ? { user: 'monit' } : {}),
          (error: unknown) => callback(new Error(messageOf(error))),
        );
      },
      onData: (stream, _session, callback) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        stream.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes <= maxMailBytes) chunks.push(chunk);
        });
        stream.once('error', callback);
        stream.once('end', () => {
          if (bytes > maxMailBytes) {
            const tooLong = Object.assign(new Error('the message is too long'), { responseCode: 552 });
            callback(tooLong);
            return;
          }
          this.#take(Buffer.concat(chunks).toString('utf8'));
          callback(null);
        });
      },
    });
    this.#server.on('error', (error: Error) =>
      options.log.warn({ err: error.message }, 'taking mails of monit: a connection failed'),
    );
  }

  async listen(): Promise<number> {
    const { port } = this.#options;
    const server = this.#server.server;
    await new Promise<void>((resolve, reject) => {
      const failed = (error: Error) =>
        reject(
          new ActionError(
            `Port ${port} of 127.0.0.1, where monit mails its alerts to, cannot be listened on`,
            {
              code: 'E_ALERTS',
              cause: error,
              advice: 'End the program that listens there.',
            },
          ),
        );
      server.once('error', failed);
      this.#server.listen(port, '127.0.0.1', () => {
        server.off('error', failed);
        resolve();
      });
    });
    return (server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async #accepts(user: string, password: string): Promise<boolean> {
    const wanted = Buffer.from((await this.#options.credentials()).trim());
    const given = Buffer.from(`${user}:${password}`);
    // Of equal length for the comparison; a wrong length is wrong.
    const padded = Buffer.alloc(wanted.length);
    given.copy(padded);
    return timingSafeEqual(padded, wanted) && given.length === wanted.length;
  }

  #take(mail: string): void {
    const event = parseAlertMail(mail);
    if (!event) return;
    if (event.id !== '' && this.#seen.has(event.id)) return;
    this.#seen.add(event.id);
    const [oldest] = this.#seen;
    if (this.#seen.size > rememberedIds && oldest !== undefined) this.#seen.delete(oldest);
    const { service, event: what, action } = event;
    this.#options.log.warn({ service, event: what, action }, 'a job needs attention');
    this.#options.onEvent(event);
  }
}
