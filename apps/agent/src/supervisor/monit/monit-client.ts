import { randomBytes } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { ActionError } from '../../errors.ts';
import { parseMonitStatus, type MonitStatus } from './monit-status.ts';

export type MonitAction = 'start' | 'stop' | 'unmonitor' | 'monitor' | 'restart';

export interface MonitClientOptions {
  readonly port: number;
  /** `user:password`, read anew for each request: the file may have been replaced. */
  readonly credentials: () => Promise<string>;
  /** Between two tries. Default 1 000. */
  readonly retryDelayMs?: number;
  /** For one request. Default 10 000. */
  readonly requestTimeoutMs?: number;
  /** For a status with all its tries: who asks for the state is told within this. Default 20 000. */
  readonly statusTimeoutMs?: number;
}

const maxBodyBytes = 8 * 1024 * 1024;
/** Tries of a request that fails in any way. */
const maxTries = 20;
/** monit is busy with an action: it says so, or does not answer in time. */
const maxBusyTries = 300;

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** Speaks monit's HTTP interface on 127.0.0.1. */
export class MonitClient {
  readonly #options: MonitClientOptions;

  constructor(options: MonitClientOptions) {
    this.#options = options;
  }

  /** One try; throws when monit does not answer with a status. */
  async probe(signal?: AbortSignal): Promise<MonitStatus> {
    const answer = await this.#request('GET', '/_status2?format=xml', undefined, signal);
    if (answer.status !== 200) throw new UnexpectedAnswer(answer.status);
    return parseMonitStatus(answer.body);
  }

  async status(signal?: AbortSignal): Promise<MonitStatus> {
    const deadline = Date.now() + (this.#options.statusTimeoutMs ?? 20_000);
    return this.#retry('Getting the status of monit', () => this.probe(signal), {
      ...{ busyTries: maxTries, deadline, signal },
    });
  }

  async act(service: string, action: MonitAction, signal?: AbortSignal): Promise<void> {
    const busyTries = action === 'stop' || action === 'unmonitor' ? maxBusyTries : maxTries;
    await this.#retry(
      `Asking monit to ${action} '${service}'`,
      async () => {
        // monit 5.20 and later wants the same token as cookie and as field; older ones do not look.
        const token = randomBytes(16).toString('hex');
        const { status } = await this.#request(
          'POST',
          `/${encodeURIComponent(service)}`,
          { body: `action=${action}&securitytoken=${token}`, cookie: `securitytoken=${token}` },
          signal,
        );
        // Later ones answer with a redirection to the page of the service.
        if (status < 200 || status > 399) throw new UnexpectedAnswer(status);
      },
      { busyTries, deadline: Number.POSITIVE_INFINITY, signal },
    );
  }

  async #retry<T>(
    what: string,
    run: () => Promise<T>,
    {
      busyTries,
      deadline,
      signal,
    }: {
      readonly busyTries: number;
      readonly deadline: number;
      readonly signal: AbortSignal | undefined;
    },
  ): Promise<T> {
    const { retryDelayMs = 1_000 } = this.#options;
    let failures = 0;
    for (let tries = 1; ; tries += 1) {
      try {
        return await run();
      } catch (error) {
        signal?.throwIfAborted();
        const status = error instanceof UnexpectedAnswer ? error.status : undefined;
        if (status === 401 || status === 403 || status === 404) throw this.#failed(what, error, status);
        if (status !== 503 && !(error instanceof TimedOut)) failures += 1;
        const isLast = tries >= busyTries || Date.now() + retryDelayMs > deadline;
        if (failures >= maxTries || isLast) throw this.#failed(what, error, status);
      }
      await sleep(retryDelayMs, undefined, signal ? { signal } : {});
    }
  }

  #failed(what: string, cause: unknown, status: number | undefined): ActionError {
    return new ActionError(what, {
      code: 'E_SUPERVISOR',
      cause,
      advice:
        status === 401
          ? 'monit runs with other credentials than monit.user has: restart monit.'
          : 'Look at monit/monit.log on the VM, and whether monit runs.',
    });
  }

  async #request(
    method: 'GET' | 'POST',
    path: string,
    form: { readonly body: string; readonly cookie: string } | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Answer> {
    const credentials = (await this.#options.credentials()).trim();
    const deadline = AbortSignal.timeout(this.#options.requestTimeoutMs ?? 10_000);
    return new Promise((resolve, reject) => {
      const fail = (error: unknown) =>
        reject(deadline.aborted ? new TimedOut('monit does not answer in time') : error);
      const request = httpRequest(
        {
          host: '127.0.0.1',
          port: this.#options.port,
          method,
          path,
          agent: false,
          signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
          headers: {
            authorization: `Basic ${Buffer.from(credentials).toString('base64')}`,
            ...(form
              ? {
                  'content-type': 'application/x-www-form-urlencoded',
                  'content-length': Buffer.byteLength(form.body),
                  cookie: form.cookie,
                }
              : {}),
          },
        },
        (response) => {
          const chunks: Buffer[] = [];
          let bytes = 0;
          response.on('data', (chunk: Buffer) => {
            bytes += chunk.length;
            if (bytes > maxBodyBytes) request.destroy(new Error('the answer of monit is too long'));
            else chunks.push(chunk);
          });
          response.once('end', () =>
            resolve({
              status: response.statusCode ?? 0,
              // Its documents are ISO-8859-1.
              body: Buffer.concat(chunks).toString('latin1'),
            }),
          );
          response.once('error', fail);
        },
      );
      request.once('error', fail);
      request.end(form?.body);
    });
  }
}

class TimedOut extends Error {}

class UnexpectedAnswer extends Error {
  readonly status: number;
  constructor(status: number) {
    super(`monit answered with ${status}`);
    this.status = status;
  }
}

/** True when monit answered, but does not know these credentials. */
export function isRefused(error: unknown): boolean {
  return error instanceof UnexpectedAnswer && error.status === 401;
}
