import { createHash } from 'node:crypto';
import {
  isMethodName,
  isTask,
  methodDefinition,
  parseArguments,
  parseRequest,
  type AgentAnswer,
  type AgentException,
  type AgentRequest,
  type MethodArguments,
  type MethodName,
} from '@microbosh/agent-protocol';
import type { Json, JsonObject } from '@microbosh/errors';
import { causeChain, innermostOperational } from '../errors.ts';
import type { Log } from '../ports/log.ts';
import type { TaskContext, TaskManager } from '../tasks/task-manager.ts';

export interface ActionContext extends TaskContext {
  readonly protocol: number;
}

/** One method of the protocol: its arguments are checked already. */
export type Action<M extends MethodName> = (
  args: MethodArguments<M>,
  context: ActionContext,
) => Promise<Json>;

export type ActionTable = { readonly [M in Exclude<MethodName, 'get_task' | 'cancel_task'>]?: Action<M> };

/** Methods that only read, or work in places of their own. */
const shared: ReadonlySet<MethodName> = new Set([
  'compile_package',
  'compile_package_with_signed_url',
  'fetch_logs',
  'fetch_logs_with_signed_url',
  'upload_blob',
]);

const maxRemembered = 256;

/** Decodes requests, runs their methods, encodes answers. The same behind HTTPS and NATS. */
export class Dispatcher {
  readonly #actions: ActionTable;
  readonly #tasks: TaskManager;
  readonly #log: Log;
  readonly #answers = new Map<string, Promise<AgentAnswer>>();

  constructor(options: { readonly actions: ActionTable; readonly tasks: TaskManager; readonly log: Log }) {
    this.#actions = options.actions;
    this.#tasks = options.tasks;
    this.#log = options.log;
  }

  /** Throws RequestMalformed; everything else becomes an answer. */
  async dispatch(body: string): Promise<{ readonly request: AgentRequest; readonly answer: AgentAnswer }> {
    const request = parseRequest(body);
    if (request.request_id === undefined) return { request, answer: await this.#answer(request) };
    const key = createHash('sha256').update(body).digest('hex');
    const known = this.#answers.get(key);
    if (known) return { request, answer: await known };
    const answer = this.#answer(request);
    this.#answers.set(key, answer);
    // Only what may change something is worth remembering; a question is asked anew.
    const oldest = this.#answers.keys().next();
    if (this.#answers.size > maxRemembered && !oldest.done) this.#answers.delete(oldest.value);
    return { request, answer: await answer };
  }

  /** Takes up tasks of a previous process. */
  async restore(): Promise<void> {
    await this.#tasks.restore((method, payload) => {
      if (!isMethodName(method) || !this.#actions[method as keyof ActionTable]) return undefined;
      const request = parseRequest(JSON.stringify(payload ?? {}));
      return {
        options: { method, cancellable: false, lane: 'exclusive' },
        work: (context) => this.#execute(method, { ...request, method }, context),
      };
    });
  }

  async #answer(request: AgentRequest): Promise<AgentAnswer> {
    const { method } = request;
    if (!isMethodName(method)) return { exception: { message: `unknown message ${method}` } };
    const startedAt = performance.now();
    try {
      const value = await this.#perform(method, request);
      this.#log.debug({ method, durationMs: Math.round(performance.now() - startedAt) }, 'answered');
      return { value };
    } catch (error) {
      const exception = exceptionOf(`Action Failed ${method}`, error);
      this.#log.warn({ method, code: exception.code }, 'request failed');
      return { exception };
    }
  }

  async #perform(method: MethodName, request: AgentRequest): Promise<Json> {
    if (method === 'get_task') return this.#getTask(...parseArguments('get_task', request.arguments));
    if (method === 'cancel_task') {
      this.#tasks.cancel(...parseArguments('cancel_task', request.arguments));
      return 'canceled';
    }
    if (!isTask(method, request.protocol)) {
      return this.#execute(method, request, {
        signal: new AbortController().signal,
        progress: () => undefined,
      });
    }
    const { cancellable, persistent } = methodDefinition(method);
    const running = await this.#tasks.start(
      {
        method,
        cancellable,
        lane: shared.has(method) ? 'shared' : 'exclusive',
        // What cannot run is not worth a record.
        ...(persistent && fits(method, request) ? { persist: request as unknown as JsonObject } : {}),
      },
      (context) => this.#execute(method, request, context),
    );
    return { ...running };
  }

  #getTask(id: string): Json {
    const state = this.#tasks.get(id);
    if (state.kind === 'running') return { ...state.answer };
    if (state.kind === 'done') return state.value;
    throw new TaskFailed(`Task ${id} result`, { cause: state.error });
  }

  async #execute(method: MethodName, request: AgentRequest, context: TaskContext): Promise<Json> {
    const args = parseArguments(method, request.arguments);
    // The table pairs each name with the action of its own arguments.
    const action = this.#actions[method as keyof ActionTable] as Action<MethodName> | undefined;
    if (!action) throw new Error(`unknown message ${method}`);
    return action(args, { ...context, protocol: request.protocol });
  }
}

function fits(method: MethodName, request: AgentRequest): boolean {
  try {
    parseArguments(method, request.arguments);
    return true;
  } catch {
    return false;
  }
}

class TaskFailed extends Error {}

function exceptionOf(prefix: string, error: unknown): AgentException {
  const operational = innermostOperational(error);
  return {
    message: `${prefix}: ${causeChain(error)}`,
    ...(operational ? { code: operational.code } : {}),
    ...(operational?.retryable ? { retryable: true } : {}),
    ...(operational?.advice === undefined ? {} : { advice: operational.advice }),
  };
}
