import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { RunningTask } from '@microbosh/agent-protocol';
import { isJsonObject, type Json, type JsonObject } from '@microbosh/errors';
import { writeFileDurably } from '@microbosh/host';
import { ActionError } from '../errors.ts';

export interface TaskContext {
  readonly signal: AbortSignal;
  /** Tells clients that ask how far the task is. */
  readonly progress: (text: string) => void;
}

export type TaskWork = (context: TaskContext) => Promise<Json>;

export interface TaskOptions {
  readonly method: string;
  readonly cancellable: boolean;
  /** `shared` tasks run beside each other; an `exclusive` one runs alone. All start in the order they came. */
  readonly lane: 'exclusive' | 'shared';
  /** The request, for tasks that survive a restart of the agent. */
  readonly persist?: JsonObject;
}

export type TaskState =
  | { readonly kind: 'running'; readonly answer: RunningTask }
  | { readonly kind: 'done'; readonly value: Json }
  | { readonly kind: 'failed'; readonly error: unknown };

interface Task extends TaskOptions {
  readonly id: string;
  readonly work: TaskWork;
  readonly controller: AbortController;
  state: TaskState;
  finished: Promise<void>;
}

interface PersistedTask {
  readonly TaskID: string;
  readonly Method: string;
  /** Base64 of the request's JSON, as in the original. */
  readonly Payload: string;
  /** Ours: present once the work is complete. */
  readonly Value?: Json;
}

const maxWaiting = 100;
const maxFinished = 1_000;
const maxPersisted = 20;

/**
 * Runs long methods and remembers their results. Invariants: a task's work starts once; tasks start in order; an
 * exclusive task never overlaps with another one; a bounded number waits and a bounded number is remembered.
 */
export class TaskManager {
  readonly #tasks = new Map<string, Task>();
  readonly #waiting: Task[] = [];
  readonly #running = new Set<Task>();
  readonly #file: string;
  readonly #parallel: number;
  #persisted: Record<string, PersistedTask> = {};
  #writing: Promise<void> = Promise.resolve();

  constructor(options: { readonly file: string; readonly parallel: number }) {
    this.#file = options.file;
    this.#parallel = Math.max(1, options.parallel);
  }

  /** Answers when the task is accepted, and recorded if it survives restarts. */
  async start(options: TaskOptions, work: TaskWork): Promise<RunningTask> {
    if (this.#waiting.length >= maxWaiting) {
      throw new ActionError('Too many tasks are waiting', { code: 'E_TASKS_FULL', retryable: true });
    }
    const id = randomUUID();
    if (options.persist) await this.#remember(id, options.method, options.persist);
    return this.#enqueue(id, options, work).answer;
  }

  get(id: string): TaskState {
    const task = this.#tasks.get(id);
    if (!task) throw notFound(id);
    return task.state;
  }

  /** Asks a task to stop. A finished one is left as it is; one that cannot be cancelled is refused. */
  cancel(id: string): void {
    const task = this.#tasks.get(id);
    if (!task) throw notFound(id);
    if (task.state.kind !== 'running') return;
    if (!task.cancellable) throw new ActionError('not supported', { code: 'E_TASK_NOT_CANCELLABLE' });
    task.controller.abort(new ActionError('The task was cancelled', { code: 'E_CANCELLED' }));
  }

  /** Takes up what a previous process recorded: finished work keeps its value, the rest is handed to `resume`. */
  async restore(
    resume: (
      method: string,
      payload: Json,
    ) => { readonly options: TaskOptions; readonly work: TaskWork } | undefined,
  ): Promise<void> {
    this.#persisted = await readPersisted(this.#file);
    for (const [id, entry] of Object.entries(this.#persisted)) {
      const again =
        entry.Value === undefined ? resume(entry.Method, decodePayload(entry.Payload)) : undefined;
      const { Value: value } = entry;
      if (value !== undefined) {
        const options = { method: entry.Method, cancellable: false, lane: 'shared' as const };
        this.#enqueue(id, { ...options, persist: {} }, async () => value);
      } else if (again) this.#enqueue(id, { ...again.options, persist: {} }, again.work);
      else await this.#forget(id);
    }
  }

  /**
   * Records the value of a persistent task before the agent ends itself: the next process answers it and does not run
   * the work again. The request, which may hold secrets, is forgotten.
   */
  async complete(method: string, value: Json): Promise<void> {
    for (const task of this.#running) {
      const entry = this.#persisted[task.id];
      if (task.method !== method || !entry) continue;
      this.#persisted = { ...this.#persisted, [task.id]: { ...entry, Payload: '', Value: value } };
    }
    await this.#write();
  }

  /** Waits until nothing runs; for a clean end and for tests. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all([...this.#running].map((task) => task.finished));
  }

  #enqueue(id: string, options: TaskOptions, work: TaskWork): { readonly answer: RunningTask } {
    const answer: RunningTask = { agent_task_id: id, state: 'running' };
    const task: Task = {
      ...options,
      id,
      work,
      controller: new AbortController(),
      state: { kind: 'running', answer },
      finished: Promise.resolve(),
    };
    this.#tasks.set(id, task);
    this.#waiting.push(task);
    this.#startWaiting();
    return { answer };
  }

  #startWaiting(): void {
    for (;;) {
      const next = this.#waiting[0];
      if (!next) return;
      const exclusiveRuns = [...this.#running].some((task) => task.lane === 'exclusive');
      const fits =
        next.lane === 'exclusive'
          ? this.#running.size === 0
          : !exclusiveRuns && this.#running.size < this.#parallel;
      if (!fits) return;
      this.#waiting.shift();
      this.#running.add(next);
      next.finished = this.#run(next);
    }
  }

  async #run(task: Task): Promise<void> {
    const { id } = task;
    let outcome: TaskState;
    try {
      task.controller.signal.throwIfAborted();
      const value = await task.work({
        signal: task.controller.signal,
        progress: (progress) => {
          if (task.state.kind !== 'running') return;
          task.state = { kind: 'running', answer: { agent_task_id: id, state: 'running', progress } };
        },
      });
      outcome = { kind: 'done', value };
    } catch (error) {
      outcome = { kind: 'failed', error };
    }
    try {
      // Before anybody is told the result: a process that dies in between must not run the work again. A recorded
      // value stays until newer ones push it out, for the client asks after the restart.
      if (task.persist && this.#persisted[id]?.Value === undefined) await this.#forget(id);
    } finally {
      task.state = outcome;
      this.#running.delete(task);
      this.#dropOldest();
      this.#startWaiting();
    }
  }

  #dropOldest(): void {
    if (this.#tasks.size <= maxFinished) return;
    for (const [id, task] of this.#tasks) {
      if (this.#tasks.size <= maxFinished) return;
      if (task.state.kind !== 'running') this.#tasks.delete(id);
    }
  }

  async #remember(id: string, method: string, request: JsonObject): Promise<void> {
    const entry: PersistedTask = {
      TaskID: id,
      Method: method,
      Payload: Buffer.from(JSON.stringify(request)).toString('base64'),
    };
    const kept = Object.entries(this.#persisted).slice(-(maxPersisted - 1));
    this.#persisted = { ...Object.fromEntries(kept), [id]: entry };
    await this.#write();
  }

  async #forget(id: string): Promise<void> {
    const { [id]: gone, ...rest } = this.#persisted;
    if (!gone) return;
    this.#persisted = rest;
    await this.#write();
  }

  async #write(): Promise<void> {
    const write = async () => writeFileDurably(this.#file, JSON.stringify(this.#persisted));
    this.#writing = this.#writing.then(write, write);
    await this.#writing;
  }
}

function notFound(id: string): ActionError {
  return new ActionError(`Task with id ${id} could not be found`, { code: 'E_TASK_UNKNOWN' });
}

function decodePayload(payload: string): Json {
  try {
    return JSON.parse(Buffer.from(payload, 'base64').toString('utf8')) as Json;
  } catch {
    return null;
  }
}

async function readPersisted(file: string): Promise<Record<string, PersistedTask>> {
  let document: unknown;
  try {
    document = JSON.parse(await readFile(file, 'utf8'));
  } catch {
    // Absent, or cut by an older agent that did not write durably: then its tasks are lost, as they were for it.
    return {};
  }
  if (!isJsonObject(document)) return {};
  const tasks: Record<string, PersistedTask> = {};
  for (const [id, entry] of Object.entries(document)) {
    if (!isJsonObject(entry) || typeof entry.Method !== 'string' || typeof entry.Payload !== 'string')
      continue;
    tasks[id] = {
      TaskID: id,
      Method: entry.Method,
      Payload: entry.Payload,
      ...(entry.Value === undefined ? {} : { Value: entry.Value }),
    };
  }
  return tasks;
}
