import { errorCode, isOperationalError } from '@microbosh/errors';
import { retry, type RetryPolicy } from '@microbosh/host';
import type { CallContext, Cpi } from './contract.ts';

export const defaultCpiRetry: RetryPolicy = { attempts: 4, delayMs: 1000, factor: 3, maxDelayMs: 30_000 };

export interface RetryOptions {
  readonly onRetry?: (method: string, error: Error) => void;
  /** Asked before each repetition: an operator who wants to stop gets the error instead. */
  readonly mayRetry?: () => boolean;
}

/** Some CPIs call the absence of something worth a repetition; to our callers it is an answer. */
function isRetryable(error: unknown): error is Error {
  const code = errorCode(error) ?? '';
  return isOperationalError(error) && error.retryable && /^E_CPI(?!.*_NOT_(FOUND|ATTACHED)$)/.test(code);
}

/**
 * The same CPI, with calls repeated within bounds when its error says `ok_to_retry`. Not repeated: everything else, and
 * crashes and time-outs, where nobody knows what the call has done.
 */
export function withRetries<T extends Cpi>(
  cpi: T,
  policy: RetryPolicy = defaultCpiRetry,
  options: RetryOptions = {},
): T {
  return new Proxy(cpi, {
    get(target, property) {
      const member: unknown = Reflect.get(target, property, target);
      if (typeof member !== 'function' || typeof property !== 'string') return member;
      return (context: CallContext | undefined, ...args: unknown[]) =>
        retry(policy, async () => (await Reflect.apply(member, target, [context, ...args])) as unknown, {
          ...(context?.signal && { signal: context.signal }),
          shouldRetry: (error) => {
            if (!isRetryable(error) || options.mayRetry?.() === false) return false;
            options.onRetry?.(property, error);
            return true;
          },
        });
    },
  });
}
