import { messageOf, OperationalError, type ErrorCode, type JsonObject } from '@microbosh/errors';

/** A failure inside an action; its message is one link of the cause chain that clients read. */
export class ActionError extends OperationalError {
  readonly code: ErrorCode;
  override readonly retryable: boolean;

  constructor(
    message: string,
    options: {
      readonly code?: ErrorCode;
      readonly cause?: unknown;
      readonly advice?: string;
      readonly details?: JsonObject;
      readonly retryable?: boolean;
    } = {},
  ) {
    super(message, options);
    this.code = options.code ?? 'E_AGENT_ACTION';
    this.retryable = options.retryable ?? false;
  }
}

/** Puts a sentence in front of what goes wrong inside, as the original's cause chains have it. */
export async function wrapping<T>(message: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw new ActionError(message, { cause: error });
  }
}

/** `outer: inner: …`. */
export function causeChain(error: unknown): string {
  const parts: string[] = [];
  let current: unknown = error;
  for (let depth = 0; depth < 12 && current !== undefined && current !== null; depth += 1) {
    parts.push(messageOf(current));
    current = current instanceof Error ? current.cause : undefined;
  }
  return parts.join(': ');
}

/** The operational error that is nearest to the cause: its code says most. */
export function innermostOperational(error: unknown): OperationalError | undefined {
  let found: OperationalError | undefined;
  let current: unknown = error;
  for (let depth = 0; depth < 12 && current instanceof Error; depth += 1) {
    if (current instanceof OperationalError) found = current;
    current = current.cause;
  }
  return found;
}
