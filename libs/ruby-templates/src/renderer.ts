import { availableParallelism } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { Worker } from 'node:worker_threads';
import { Cancelled, messageOf } from '@microbosh/errors';
import { templateAssets } from './assets.ts';
import type { TemplateContext } from './evaluation-context.ts';
import {
  describeRaised,
  describeStopped,
  RendererUnavailable,
  TemplatesFailed,
  type TemplateFailure,
} from './failures.ts';
import type { FromWorker, ToWorker, Warm, WorkerSetUp, WorkResult } from './messages.ts';

export interface RenderRequest {
  readonly context: TemplateContext;
  /** Text of the ERB template. */
  readonly template: string;
  /** Name of the template in messages, for example `web/templates/config.yml.erb`. */
  readonly path: string;
}

export interface RendererOptions {
  /** Threads, each with its own interpreter. Default: 2, or 1 on a machine with one core. */
  readonly workers?: number;
  /** For one template; then it is stopped. Default 30 000. */
  readonly timeoutMs?: number;
  /** For one interpreter; a template that needs more fails. Default 512, at least 96. */
  readonly memoryLimitMiB?: number;
}

/** Renders ERB job templates with the real Ruby, in threads of this process that cannot reach the host. */
export interface TemplateRenderer {
  /**
   * Rendered contents (bytes: templates can produce binary files) in the order of the requests. Rejects with
   * TemplatesFailed naming every template that failed, with Cancelled when the signal fires.
   */
  render(requests: readonly RenderRequest[], options?: { readonly signal?: AbortSignal }): Promise<Buffer[]>;
  close(): Promise<void>;
}

/**
 * Boots the interpreter, about half a second: start it while other work runs and await it when templates are at hand.
 * Rejects with RendererUnavailable.
 */
export async function startRenderer(options: RendererOptions = {}): Promise<TemplateRenderer> {
  // A deploy renders for seconds: compiling Ruby a second time, optimised, costs a third of the work and is not earned back.
  setFlagsFromString('--no-wasm-tier-up');
  setFlagsFromString('--no-wasm-dynamic-tiering');
  const pool = new Pool({
    workers: options.workers ?? Math.min(2, availableParallelism()),
    timeoutMs: options.timeoutMs ?? 30_000,
    memoryLimitMiB: Math.max(options.memoryLimitMiB ?? 512, 96),
  });
  await pool.booted;
  return pool;
}

interface Task {
  readonly id: number;
  readonly request: RenderRequest;
  readonly settle: (result: WorkResult) => void;
}

interface Slot {
  worker: Worker;
  state: 'starting' | 'idle' | 'busy' | 'gone';
  task?: Task;
  timer?: NodeJS.Timeout;
}

const pagesPerMiB = 16;
const maxFailedStarts = 3;

class Pool implements TemplateRenderer {
  readonly booted: Promise<void>;
  readonly #options: Required<RendererOptions>;
  readonly #slots: Slot[] = [];
  #queue: Task[] = [];
  #warm: Warm | undefined;
  #nextId = 1;
  #failedStarts = 0;
  #closed = false;
  #unavailable: RendererUnavailable | undefined;

  constructor(options: Required<RendererOptions>) {
    this.#options = options;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.booted = promise;
    this.#startSlot({ boots: true, onReady: resolve, onFailure: reject });
    for (let extra = 1; extra < options.workers; extra += 1) this.#startSlot({ boots: false });
  }

  async render(
    requests: readonly RenderRequest[],
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<Buffer[]> {
    if (this.#closed) throw new RendererUnavailable('The template renderer is closed.');
    if (isAborted(options.signal)) throw new Cancelled('Rendering of templates was cancelled.');
    const tasks: Task[] = [];
    const results = requests.map(
      (request) =>
        new Promise<WorkResult>((settle) => {
          tasks.push({ id: this.#nextId++, request, settle });
        }),
    );
    this.#queue.push(...tasks);
    const onAbort = () => this.#cancel(new Set(tasks));
    options.signal?.addEventListener('abort', onAbort, { once: true });
    try {
      this.#dispatch();
      const settled = await Promise.all(results);
      if (isAborted(options.signal)) throw new Cancelled('Rendering of templates was cancelled.');
      if (this.#unavailable !== undefined) throw this.#unavailable;
      return collect(requests, settled);
    } finally {
      options.signal?.removeEventListener('abort', onAbort);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const task of this.#queue.splice(0))
      task.settle({ kind: 'crashed', reason: 'the renderer was closed' });
    await Promise.all(this.#slots.map(async (slot) => this.#stop(slot, 'the renderer was closed')));
  }

  #startSlot(start: { boots: boolean; onReady?: () => void; onFailure?: (error: unknown) => void }): void {
    const assets = templateAssets();
    const setUp: WorkerSetUp = {
      boots: start.boots,
      binary: assets.binary,
      prelude: assets.prelude,
      maxMemoryPages: this.#options.memoryLimitMiB * pagesPerMiB,
    };
    const worker = new Worker(assets.worker, {
      workerData: setUp,
      name: 'template renderer',
      env: {},
      execArgv: [],
      stdin: false,
      resourceLimits: { stackSizeMb: 16 },
    });
    const slot: Slot = { worker, state: 'starting' };
    this.#slots.push(slot);
    worker.on('message', (message: FromWorker) => {
      if (message.kind === 'done') {
        this.#finish(slot, message.id, message.result);
        return;
      }
      this.#failedStarts = 0;
      if (message.warm !== undefined) {
        this.#warm = message.warm;
        for (const other of this.#slots) if (other !== slot) this.#restore(other);
      }
      this.#becomeIdle(slot);
      start.onReady?.();
    });
    worker.once('error', (error) => {
      const failure = new RendererUnavailable(`The embedded Ruby does not start: ${messageOf(error)}`, {
        cause: error,
        advice:
          'Install the packages of this program again, and see that the machine has 300 MB of memory free.',
      });
      if (slot.state === 'starting') {
        this.#failedStarts += 1;
        start.onFailure?.(failure);
        if (this.#failedStarts >= maxFailedStarts) this.#giveUp(failure);
      }
      this.#lose(slot, 'the interpreter stopped unexpectedly');
    });
    worker.once('exit', () => this.#lose(slot, 'the interpreter stopped unexpectedly'));
    if (!start.boots) this.#restore(slot);
  }

  #restore(slot: Slot): void {
    if (this.#warm !== undefined && slot.state === 'starting')
      slot.worker.postMessage({ kind: 'restore', warm: this.#warm } satisfies ToWorker);
  }

  #becomeIdle(slot: Slot): void {
    if (slot.state === 'gone') return;
    slot.state = 'idle';
    // A thread that has nothing to do does not keep the process alive.
    slot.worker.unref();
    this.#dispatch();
  }

  #dispatch(): void {
    for (const slot of this.#slots) {
      if (slot.state !== 'idle') continue;
      const task = this.#queue.shift();
      if (task === undefined) return;
      slot.state = 'busy';
      slot.task = task;
      slot.worker.ref();
      const { timeoutMs } = this.#options;
      slot.timer = setTimeout(
        () => void this.#stop(slot, `it did not end within ${timeoutMs / 1000} s and was stopped`),
        timeoutMs,
      );
      slot.worker.postMessage({
        kind: 'render',
        item: {
          id: task.id,
          context: JSON.stringify(task.request.context.document),
          template: task.request.template,
          file: task.request.path,
        },
      } satisfies ToWorker);
    }
  }

  #finish(slot: Slot, id: number, result: WorkResult): void {
    if (slot.task?.id !== id) return;
    const { task } = slot;
    clearTimeout(slot.timer);
    delete slot.task;
    task.settle(result);
    this.#becomeIdle(slot);
  }

  /** Ends the thread, whatever it is doing; its task fails with `reason`. */
  async #stop(slot: Slot, reason: string): Promise<void> {
    this.#lose(slot, reason);
    await slot.worker.terminate();
  }

  #lose(slot: Slot, reason: string): void {
    if (slot.state === 'gone') return;
    slot.state = 'gone';
    clearTimeout(slot.timer);
    this.#slots.splice(this.#slots.indexOf(slot), 1);
    slot.task?.settle({ kind: 'crashed', reason });
    if (!this.#closed && this.#unavailable === undefined && this.#warm !== undefined)
      this.#startSlot({ boots: false });
  }

  #cancel(tasks: ReadonlySet<Task>): void {
    const cancelled: WorkResult = { kind: 'crashed', reason: 'it was cancelled' };
    for (const task of this.#queue) if (tasks.has(task)) task.settle(cancelled);
    this.#queue = this.#queue.filter((task) => !tasks.has(task));
    for (const slot of [...this.#slots])
      if (slot.task !== undefined && tasks.has(slot.task)) void this.#stop(slot, 'it was cancelled');
  }

  #giveUp(failure: RendererUnavailable): void {
    this.#unavailable = failure;
    for (const task of this.#queue.splice(0)) task.settle({ kind: 'crashed', reason: failure.message });
  }
}

const isAborted = (signal: AbortSignal | undefined) => signal?.aborted === true;

function collect(requests: readonly RenderRequest[], results: readonly WorkResult[]): Buffer[] {
  const contents: Buffer[] = [];
  const failures: TemplateFailure[] = [];
  requests.forEach(({ context, path }, index) => {
    const result = results[index];
    switch (result?.kind) {
      case 'rendered': {
        const { buffer, byteOffset, byteLength } = result.content;
        contents.push(Buffer.from(buffer, byteOffset, byteLength));
        break;
      }
      case 'raised':
        failures.push(describeRaised(context, path, result.failure));
        break;
      case 'crashed':
        failures.push(describeStopped(context, path, result.reason));
        break;
      case undefined:
        throw new Error('a template has no result');
    }
  });
  if (failures.length > 0) throw new TemplatesFailed(failures);
  return contents;
}
