import type { JsonObject } from './json.ts';

const brand = Symbol.for('microbosh.operational-error');

export type ErrorCode = `E_${string}`;

/**
 * A failure that is expected to happen in the field: the message is a sentence for the operator, `advice` says
 * what to do next, `details` are safe to print (never a secret), `retryable` tells whether trying again can help.
 * Anything else that is thrown is a defect of the program.
 */
export abstract class OperationalError extends Error {
  abstract readonly code: ErrorCode;
  readonly retryable: boolean = false;
  readonly advice: string | undefined;
  readonly details: JsonObject;
  readonly [brand] = true;

  constructor(
    message: string,
    options: { readonly details?: JsonObject; readonly advice?: string; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.details = options.details ?? {};
    this.advice = options.advice;
  }
}

/** Recognises operational errors by brand, so that two copies of this library still agree. */
export function isOperationalError(error: unknown): error is OperationalError {
  return typeof error === 'object' && error !== null && brand in error;
}

/** The operation was cancelled by its AbortSignal. Not a failure: it has its own exit code. */
export class Cancelled extends OperationalError {
  readonly code = 'E_CANCELLED';
}
