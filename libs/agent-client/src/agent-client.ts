import { randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rename, stat, unlink } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  blobPath,
  DigestVerifier,
  isRunningTask,
  isTask,
  methodDefinition,
  parseAnswer,
  parseResult,
  type MethodArguments,
  type MethodName,
  type MethodResult,
} from '@microbosh/agent-protocol';
import { isOperationalError, type Json } from '@microbosh/errors';
import type { ApplySpec, DiskHint, PackageRef } from '@microbosh/spec';
import { Agent, type buildConnector } from 'undici';
import { parseMbus, type AgentAddress } from './agent-url.ts';
import { AgentResponded, AgentUnreachable, exceptionError, TaskLost, transportError } from './errors.ts';

/** How the client waits. Defaults are those of create-env. */
export interface AgentClientTiming {
  /** Time for TCP and TLS. Default 30 000. */
  readonly connectTimeoutMs: number;
  /** Time for the answer to one request; a request that starts a task is answered at once. Default 120 000. */
  readonly answerTimeoutMs: number;
  /** Between two questions for a task. Default: from 50 up to 1 000, growing. */
  readonly pollIntervalMs: number;
  /** Time for the answer to one question for a task, which takes no work. Default 20 000. */
  readonly pollTimeoutMs: number;
  /** Unreachable answers in a row while a task is polled, 1 s apart. Default 30. */
  readonly toleratedPollFailures: number;
  /** Since the last answer while a task is polled: such failures may take seconds each. Default 60 000. */
  readonly toleratedSilenceMs: number;
  /** Silence on a blob transfer. Default 60 000. */
  readonly blobIdleTimeoutMs: number;
}

const defaultTiming: AgentClientTiming = {
  connectTimeoutMs: 30_000,
  answerTimeoutMs: 120_000,
  pollIntervalMs: 1_000,
  pollTimeoutMs: 20_000,
  toleratedPollFailures: 30,
  toleratedSilenceMs: 60_000,
  blobIdleTimeoutMs: 60_000,
};

export interface AgentClientOptions {
  /** `https://user:password@host:port`. */
  readonly mbus: string;
  /** PEM. The only trusted authority. Absent: the peer is not verified, as create-env does without cert.ca. */
  readonly ca?: string;
  /** Name that the certificate has to be for; default: the host of `mbus`. */
  readonly serverName?: string;
  /** `reply_to` of every request: the deployer's id. */
  readonly replyTo: string;
  readonly timing?: Partial<AgentClientTiming>;
  /** Makes the connections, where the agent is not to be reached directly. */
  readonly connector?: (tls: buildConnector.BuildOptions) => buildConnector.connector;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Called whenever a task's progress changes (our agents tell it). */
  readonly onProgress?: (progress: string) => void;
}

export interface BlobOptions extends CallOptions {
  /** Called as bytes go by; the total is undefined when the peer does not tell it. */
  readonly onBytes?: (done: number, total: number | undefined) => void;
}

/** The value of get_state, as far as clients look at it. */
export type AgentState = MethodResult<'get_state'>;

/**
 * Speaks the agents' protocol over HTTPS: calls, tasks and blobs. Failures are AgentUnreachable (by kind),
 * AgentResponded, MethodUnknown, TaskLost, or ResultInvalid of the protocol.
 */
export class AgentClient {
  readonly #address: AgentAddress;
  readonly #authorization: string;
  readonly #replyTo: string;
  readonly #timing: AgentClientTiming;
  readonly #dispatcher: Agent;

  constructor(options: AgentClientOptions) {
    this.#address = parseMbus(options.mbus);
    const { user, password } = this.#address;
    this.#authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
    this.#replyTo = options.replyTo;
    this.#timing = { ...defaultTiming, ...options.timing };
    const connect = {
      timeout: this.#timing.connectTimeoutMs,
      minVersion: 'TLSv1.2',
      ...(options.ca === undefined
        ? { rejectUnauthorized: false }
        : { ca: options.ca, rejectUnauthorized: true }),
      ...(options.serverName === undefined ? {} : { servername: options.serverName }),
    } as const;
    this.#dispatcher = new Agent({
      // A kept connection must not outlive the server's patience, or a request meets a closing socket.
      keepAliveTimeout: 2_000,
      connections: 8,
      pipelining: 1,
      connect: options.connector?.(connect) ?? connect,
    });
  }

  async close(): Promise<void> {
    await this.#dispatcher.destroy();
  }

  // ── calls ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** One attempt; any answer value counts. */
  async ping(options: CallOptions = {}): Promise<void> {
    await this.#send('ping', [], options.signal);
  }

  /**
   * Pings until the agent answers. Ends at once on a failure that waiting cannot cure (certificate, credentials).
   * The last failure is thrown when the time is over.
   */
  async waitUntilReady(
    options: CallOptions & {
      readonly timeoutMs?: number;
      readonly intervalMs?: number;
      readonly onFailure?: (error: AgentUnreachable) => void;
    } = {},
  ): Promise<void> {
    const deadline = Date.now() + (options.timeoutMs ?? 600_000);
    for (;;) {
      const attempt = AbortSignal.timeout(Math.max(1, Math.min(10_000, deadline - Date.now())));
      try {
        await this.ping({ signal: options.signal ? AbortSignal.any([options.signal, attempt]) : attempt });
        return;
      } catch (error) {
        options.signal?.throwIfAborted();
        const failure =
          attempt.aborted && !isOperationalError(error)
            ? new AgentUnreachable('timeout', {
                reason: `no answer to ping from ${this.#address.origin}`,
                maybeExecuted: true,
                cause: error,
              })
            : error;
        if (!(failure instanceof AgentUnreachable) || !failure.retryable) throw failure;
        options.onFailure?.(failure);
        if (Date.now() + (options.intervalMs ?? 500) >= deadline) throw failure;
      }
      await sleep(options.intervalMs ?? 500, undefined, signalOption(options.signal));
    }
  }

  /** Any call or task to its final, checked value. */
  async call<M extends MethodName>(
    method: M,
    args: MethodArguments<M>,
    options: CallOptions = {},
  ): Promise<MethodResult<M>> {
    const value = isTask(method, 0)
      ? await this.#runTask(method, args as unknown as readonly Json[], options)
      : await this.#send(method, args as unknown as readonly Json[], options.signal);
    return parseResult(method, value);
  }

  async info(options?: CallOptions): Promise<MethodResult<'info'>> {
    return this.call('info', [], options);
  }

  async getState(filter?: 'full', options?: CallOptions): Promise<AgentState> {
    return this.call('get_state', filter === undefined ? [] : [filter], options);
  }

  async listDisk(options?: CallOptions): Promise<readonly string[]> {
    return this.call('list_disk', [], options);
  }

  async start(options?: CallOptions): Promise<void> {
    await this.call('start', [], options);
  }

  /** The spec baked into a micro stemcell. */
  async releaseApplySpec(options?: CallOptions): Promise<MethodResult<'release_apply_spec'>> {
    return this.call('release_apply_spec', [], options);
  }

  // ── tasks ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Waits for the end of the jobs (protocol 3), which older agents ignore. */
  async stop(options: CallOptions = {}): Promise<void> {
    parseResult('stop', await this.#runTask('stop', [], options));
  }

  async apply(spec: ApplySpec, options: CallOptions = {}): Promise<void> {
    await this.#runTask('apply', [spec as unknown as Json], options);
  }

  /** Also waits out the dynamic drain of the Ruby agent (a negative value is asked again after that many seconds). */
  async drain(type: 'shutdown' | 'update', nextSpec: Json = {}, options: CallOptions = {}): Promise<void> {
    let seconds = parseResult('drain', await this.#runTask('drain', [type, nextSpec], options));
    for (;;) {
      if (seconds !== 0) await sleep(Math.abs(seconds) * 1_000, undefined, signalOption(options.signal));
      if (seconds >= 0) return;
      seconds = parseResult('drain', await this.#runTask('drain', ['status', {}], options));
    }
  }

  async runScript(
    name: string,
    env: Readonly<Record<string, string>> = {},
    options: CallOptions = {},
  ): Promise<void> {
    const argument: Json = Object.keys(env).length === 0 ? {} : { env };
    await this.#runTask('run_script', [name, argument], options);
  }

  async mountDisk(cid: string, options: CallOptions = {}): Promise<void> {
    await this.#runTask('mount_disk', [cid], options);
  }

  async unmountDisk(cid: string, options: CallOptions = {}): Promise<void> {
    await this.#runTask('unmount_disk', [cid], options);
  }

  /** Both CIDs are sent: the Ruby agent needs them, ours checks them, Go's ignores them. */
  async migrateDisk(fromCid: string, toCid: string, options: CallOptions = {}): Promise<void> {
    await this.#runTask('migrate_disk', [fromCid, toCid], options);
  }

  async addPersistentDisk(cid: string, hint: DiskHint, options: CallOptions = {}): Promise<void> {
    await this.#runTask('add_persistent_disk', [cid, hint], options);
  }

  async removePersistentDisk(cid: string, options: CallOptions = {}): Promise<void> {
    await this.#runTask('remove_persistent_disk', [cid], options);
  }

  async compilePackage(
    source: {
      readonly blobId: string;
      readonly digest: string;
      readonly name: string;
      readonly version: string;
      readonly dependencies: Readonly<Record<string, PackageRef>>;
    },
    options: CallOptions = {},
  ): Promise<{ readonly blobstoreId: string; readonly sha1: string }> {
    const value = await this.#runTask(
      'compile_package',
      [source.blobId, source.digest, source.name, source.version, source.dependencies as unknown as Json],
      options,
    );
    const { result } = parseResult('compile_package', value);
    return { blobstoreId: result.blobstore_id ?? '', sha1: result.sha1 };
  }

  /** Types are comma-separated: `job`, `agent`, `system`. */
  async fetchLogs(
    types: string,
    filters: readonly string[] = [],
    options: CallOptions = {},
  ): Promise<{ readonly blobstoreId: string; readonly sha1?: string }> {
    const value = parseResult('fetch_logs', await this.#runTask('fetch_logs', [types, filters], options));
    return { blobstoreId: value.blobstore_id, ...(value.sha1 === undefined ? {} : { sha1: value.sha1 }) };
  }

  async cancelTask(taskId: string, options: CallOptions = {}): Promise<void> {
    await this.#send('cancel_task', [taskId], options.signal);
  }

  /** Current answer of a task: still running, or its final value. */
  async getTask(taskId: string, options: CallOptions = {}): Promise<Json> {
    return this.#send('get_task', [taskId], options.signal);
  }

  /** Follows a task to its end. An agent that is away for a moment is waited for. */
  async waitForTask(taskId: string, options: CallOptions = {}): Promise<Json> {
    let failures = 0;
    let answeredAt = performance.now();
    let delayMs = Math.min(25, this.#timing.pollIntervalMs);
    let progress: string | undefined;
    for (;;) {
      await sleep(failures > 0 ? 1_000 : delayMs, undefined, signalOption(options.signal));
      delayMs = Math.min(delayMs * 1.1, this.#timing.pollIntervalMs);
      let value: Json;
      try {
        value = await this.getTask(taskId, options);
        failures = 0;
        answeredAt = performance.now();
      } catch (error) {
        failures += 1;
        const temporary = error instanceof AgentUnreachable && error.retryable;
        const silentMs = performance.now() - answeredAt;
        const { toleratedPollFailures, toleratedSilenceMs } = this.#timing;
        if (!temporary || failures > toleratedPollFailures || silentMs > toleratedSilenceMs) throw error;
        continue;
      }
      if (!isRunningTask(value)) return value;
      if (value.progress !== undefined && value.progress !== progress) {
        progress = value.progress;
        options.onProgress?.(progress);
      }
    }
  }

  async #runTask(method: MethodName, args: readonly Json[], options: CallOptions): Promise<Json> {
    // A restarted agent does not know its tasks any more; what can be repeated without harm is started once more.
    for (let attempt = 1; ; attempt += 1) {
      const first = await this.#send(method, args, options.signal);
      if (!isRunningTask(first)) return first;
      try {
        return await this.waitForTask(first.agent_task_id, options);
      } catch (error) {
        if (options.signal?.aborted) {
          // Nobody waits for it any more. An agent that cannot be told goes on; so be it.
          await this.cancelTask(first.agent_task_id, { signal: AbortSignal.timeout(5_000) }).catch(
            () => undefined,
          );
          throw error;
        }
        if (error instanceof TaskLost && attempt < 3 && methodDefinition(method).idempotent) continue;
        if (!(error instanceof AgentResponded) || error instanceof TaskLost) throw error;
        // The method that failed is of more interest than the question for its task.
        throw exceptionError(method, {
          message: error.agentMessage,
          retryable: error.retryable,
          ...(error.agentCode === undefined ? {} : { code: error.agentCode }),
          ...(error.advice === undefined ? {} : { advice: error.advice }),
        });
      }
    }
  }

  async #send(method: MethodName, args: readonly Json[], signal?: AbortSignal): Promise<Json> {
    const requestId = randomUUID();
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#sendOnce(method, args, requestId, signal);
      } catch (error) {
        // A lost answer: the same request_id makes our agents answer again instead of executing twice.
        const repeatable =
          error instanceof AgentUnreachable &&
          error.kind === 'disconnected' &&
          methodDefinition(method).idempotent &&
          attempt < 3 &&
          !signal?.aborted;
        if (!repeatable) throw error;
        await sleep(200 * attempt, undefined, signalOption(signal));
      }
    }
  }

  async #sendOnce(
    method: MethodName,
    args: readonly Json[],
    requestId: string,
    signal?: AbortSignal,
  ): Promise<Json> {
    const body = JSON.stringify({
      method,
      arguments: args,
      reply_to: this.#replyTo,
      protocol: method === 'stop' ? 3 : 0,
      request_id: requestId,
    });
    const { answerTimeoutMs, pollTimeoutMs } = this.#timing;
    const timeoutMs = method === 'get_task' ? pollTimeoutMs : answerTimeoutMs;
    const { statusCode, text } = await this.#exchange(method, signal, async (combined) => {
      const response = await this.#dispatcher.request({
        origin: this.#address.origin,
        path: '/agent',
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: this.#authorization },
        body,
        signal: combined,
        headersTimeout: timeoutMs,
        bodyTimeout: timeoutMs,
      });
      return { statusCode: response.statusCode, text: await response.body.text() };
    });
    if (statusCode !== 200) throw this.#statusError(method, statusCode);
    const answer = parseAnswer(parseJson(text));
    if (!answer) {
      throw new AgentUnreachable('not-an-agent', {
        reason: `the answer to '${method}' has neither value nor exception`,
        maybeExecuted: true,
      });
    }
    if ('exception' in answer) throw exceptionError(method, answer.exception);
    return answer.value;
  }

  // ── blobs ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Stores a file or bytes as blob `id` on the agent's own blobstore; up to three attempts, the content is sent anew. */
  async putBlob(
    id: string,
    content: { readonly path: string } | { readonly bytes: Uint8Array },
    options: BlobOptions = {},
  ): Promise<void> {
    const size = 'path' in content ? (await stat(content.path)).size : content.bytes.length;
    for (let attempt = 1; ; attempt += 1) {
      try {
        const body =
          'path' in content
            ? counted(createReadStream(content.path, { highWaterMark: 1 << 20 }), size, options.onBytes)
            : content.bytes;
        const statusCode = await this.#exchange('PUT blob', options.signal, async (combined) => {
          const response = await this.#dispatcher.request({
            origin: this.#address.origin,
            path: `/blobs/${blobPath(id)}`,
            method: 'PUT',
            headers: { authorization: this.#authorization, 'content-length': String(size) },
            body,
            signal: combined,
            headersTimeout: 600_000,
            bodyTimeout: this.#timing.blobIdleTimeoutMs,
          });
          await response.body.dump();
          return response.statusCode;
        });
        if (statusCode === 201 || statusCode === 204) return;
        throw this.#statusError('PUT blob', statusCode);
      } catch (error) {
        const again = error instanceof AgentUnreachable && error.retryable && attempt < 3;
        if (!again || options.signal?.aborted) throw error;
      }
    }
  }

  /** Fetches blob `id` into a file; with a digest its content is verified while it streams by. */
  async getBlob(
    id: string,
    destination: string,
    options: BlobOptions & { readonly digest?: string } = {},
  ): Promise<void> {
    const partial = `${destination}.${randomUUID()}.part`;
    const verifier = options.digest === undefined ? undefined : new DigestVerifier(options.digest);
    try {
      await this.#exchange('GET blob', options.signal, async (combined) => {
        const response = await this.#dispatcher.request({
          origin: this.#address.origin,
          path: `/blobs/${blobPath(id)}`,
          method: 'GET',
          headers: { authorization: this.#authorization },
          signal: combined,
          headersTimeout: this.#timing.answerTimeoutMs,
          bodyTimeout: this.#timing.blobIdleTimeoutMs,
        });
        if (response.statusCode !== 200) {
          await response.body.dump();
          throw this.#statusError('GET blob', response.statusCode);
        }
        const length = Number(response.headers['content-length']);
        const total = Number.isFinite(length) ? length : undefined;
        let received = 0;
        const hashing = new Transform({
          transform(chunk: Buffer, _encoding, done) {
            verifier?.update(chunk);
            received += chunk.length;
            options.onBytes?.(received, total);
            done(null, chunk);
          },
        });
        await pipeline(response.body as Readable, hashing, createWriteStream(partial, { mode: 0o600 }));
      });
      verifier?.verify(`blob '${id}'`);
      await rename(partial, destination);
    } catch (error) {
      await unlink(partial).catch(() => undefined);
      throw error;
    }
  }

  // ── common ─────────────────────────────────────────────────────────────────────────────────────────────────────

  async #exchange<T>(
    what: string,
    signal: AbortSignal | undefined,
    run: (signal: AbortSignal | null) => Promise<T>,
  ): Promise<T> {
    signal?.throwIfAborted();
    try {
      return await run(signal ?? null);
    } catch (error) {
      signal?.throwIfAborted();
      if (isOperationalError(error)) throw error;
      throw transportError(error, { request: what, agent: this.#address.origin }) ?? error;
    }
  }

  #statusError(what: string, status: number): AgentUnreachable {
    return new AgentUnreachable(status === 401 ? 'credentials' : 'http-status', {
      reason: `Agent responded with non-successful status code: ${status} (${what})`,
      maybeExecuted: status !== 401,
      details: { status },
    });
  }
}

/** The same stream; what goes by is counted. */
function counted(source: Readable, total: number, onBytes: BlobOptions['onBytes']): Readable {
  if (onBytes === undefined) return source;
  let done = 0;
  const counter = new Transform({
    transform(chunk: Buffer, _encoding, next) {
      done += chunk.length;
      onBytes(done, total);
      next(null, chunk);
    },
  });
  return source.once('error', (error) => counter.destroy(error)).pipe(counter);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function signalOption(signal: AbortSignal | undefined): { readonly signal?: AbortSignal } {
  return signal ? { signal } : {};
}
