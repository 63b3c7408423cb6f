import { setTimeout as sleep } from 'node:timers/promises';

/** How often and how patiently to try again. A value that the caller passes, never hidden in an adapter. */
export interface RetryPolicy {
  readonly attempts: number;
  readonly delayMs: number;
  /** Multiplies the delay after each attempt. Default 1. */
  readonly factor?: number;
  readonly maxDelayMs?: number;
}

/** Runs `operation` until it succeeds, `shouldRetry` says no, or the attempts are used up; then the last error is thrown. */
export async function retry<T>(
  policy: RetryPolicy,
  operation: (attempt: number) => Promise<T>,
  options: { readonly signal?: AbortSignal; readonly shouldRetry?: (error: unknown) => boolean } = {},
): Promise<T> {
  let delayMs = policy.delayMs;
  for (let attempt = 1; ; attempt += 1) {
    options.signal?.throwIfAborted();
    try {
      return await operation(attempt);
    } catch (error) {
      if (attempt >= policy.attempts || options.signal?.aborted || options.shouldRetry?.(error) === false)
        throw error;
    }
    await sleep(delayMs, undefined, options.signal ? { signal: options.signal } : {});
    delayMs = Math.min(delayMs * (policy.factor ?? 1), policy.maxDelayMs ?? Number.POSITIVE_INFINITY);
  }
}
