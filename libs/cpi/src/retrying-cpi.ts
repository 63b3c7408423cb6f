import { retry, type RetryPolicy } from '@microbosh/host';
import type { CallContext, Cpi } from './contract.ts';
import { CpiError } from './errors.ts';

export const defaultCpiRetry: RetryPolicy = { attempts: 4, delayMs: 1000, factor: 3, maxDelayMs: 30_000 };

/**
 * The same CPI, with calls repeated within bounds when its error says `ok_to_retry`. Not repeated: everything else, and
 * crashes and time-outs, where nobody knows what the call has done.
 */
export function withRetries<T extends Cpi>(
  cpi: T,
  policy: RetryPolicy = defaultCpiRetry,
  onRetry: (method: string, error: CpiError) => void = () => undefined,
): T {
  return new Proxy(cpi, {
    get(target, property) {
      const member: unknown = Reflect.get(target, property, target);
      if (typeof member !== 'function' || typeof property !== 'string') return member;
      return (context: CallContext | undefined, ...args: unknown[]) =>
        retry(policy, async () => (await Reflect.apply(member, target, [context, ...args])) as unknown, {
          ...(context?.signal && { signal: context.signal }),
          shouldRetry: (error) => {
            const again = error instanceof CpiError && error.okToRetry;
            if (again) onRetry(property, error);
            return again;
          },
        });
    },
  });
}
