import { isJsonObject, type Json, type JsonObject } from '@microbosh/errors';

/**
 * One call. `request_id` is ours: a request repeated with the same id (an answer was lost) is not executed again but
 * gets the first one's answer; other agents ignore it.
 *
 * @example {"method":"get_task","arguments":["9b9a…"],"reply_to":"director.1.2.3","protocol":3}
 */
export interface AgentRequest {
  readonly method: string;
  /** As sent: may be anything; absent and null are no arguments. */
  readonly arguments: Json;
  readonly reply_to: string;
  readonly protocol: number;
  readonly request_id?: string;
}

/** Why a call failed. `code`, `retryable` and `advice` are ours beside the original's message. */
export interface AgentException {
  readonly message: string;
  readonly code?: string;
  readonly retryable?: boolean;
  readonly advice?: string;
}

/** Exactly one of the two. */
export type AgentAnswer = { readonly value: Json } | { readonly exception: AgentException };

/** First answer of a task, and `get_task`'s while it runs. `progress` is ours. */
export interface RunningTask {
  readonly agent_task_id: string;
  readonly state: 'running';
  readonly progress?: string;
}

/** Thrown by `parseRequest`: the body is no request. The transport answers as the original's does. */
export class RequestMalformed extends Error {}

/** Decodes the body of a request; keys match in any case, as in the original; unknown keys are ignored. */
export function parseRequest(body: string): AgentRequest {
  let document: unknown;
  try {
    document = JSON.parse(body);
  } catch {
    throw new RequestMalformed('The body is not JSON');
  }
  if (!isJsonObject(document)) throw new RequestMalformed('The body is not a JSON object');
  const method = member(document, 'method') ?? '';
  const replyTo = member(document, 'reply_to') ?? '';
  const protocol = member(document, 'protocol') ?? 0;
  const requestId = member(document, 'request_id');
  if (typeof method !== 'string') throw new RequestMalformed('method is not a string');
  if (typeof replyTo !== 'string') throw new RequestMalformed('reply_to is not a string');
  if (!Number.isInteger(protocol)) throw new RequestMalformed('protocol is not an integer');
  return {
    method,
    arguments: member(document, 'arguments') ?? null,
    reply_to: replyTo,
    protocol: protocol as number,
    ...(typeof requestId === 'string' && requestId !== '' ? { request_id: requestId } : {}),
  };
}

/** Decodes an answer; the bare-string exceptions of the Ruby agent are accepted. Undefined: not an answer. */
export function parseAnswer(document: unknown): AgentAnswer | undefined {
  if (!isJsonObject(document)) return undefined;
  const { exception } = document;
  if (typeof exception === 'string') return { exception: { message: exception } };
  if (isJsonObject(exception)) {
    return {
      exception: {
        message: typeof exception.message === 'string' ? exception.message : '',
        ...(typeof exception.code === 'string' ? { code: exception.code } : {}),
        ...(typeof exception.retryable === 'boolean' ? { retryable: exception.retryable } : {}),
        ...(typeof exception.advice === 'string' ? { advice: exception.advice } : {}),
      },
    };
  }
  if ('value' in document) return { value: document.value ?? null };
  return undefined;
}

/** A value is an unfinished task when it is an object with `agent_task_id` and state `running`. */
export function isRunningTask(value: Json): value is RunningTask & JsonObject {
  return isJsonObject(value) && typeof value.agent_task_id === 'string' && value.state === 'running';
}

function member(document: JsonObject, key: string): Json | undefined {
  if (Object.hasOwn(document, key)) return document[key] ?? undefined;
  const found = Object.keys(document).find((candidate) => candidate.toLowerCase() === key);
  return found === undefined ? undefined : (document[found] ?? undefined);
}
