import type { CallContext } from '@microbosh/cpi';
import { StepTimedOut } from '../errors.ts';
import type { EventBus } from '../events/event-bus.ts';
import type { Cloud } from './effects.ts';
import { withTimeLimit } from './time-limit.ts';

/**
 * The same cloud, with an end to every call, each of which is told to those who listen: its signal is aborted and the caller goes on, whether the CPI obeys or
 * not. What a `create_*` made nevertheless is found by its token.
 */
export function limitedCloud(cloud: Cloud, limitMs: number, events: EventBus): Cloud {
  return new Proxy(cloud, {
    get: (target, key) => {
      const member: unknown = Reflect.get(target, key);
      if (typeof member !== 'function') return member;
      return (...args: unknown[]) => {
        const [context, ...rest] = args;
        if (!isCallContext(context)) return Reflect.apply(member, target, args) as unknown;
        const method = wireName(String(key));
        return events.call('cpi', method, () =>
          withTimeLimit(
            limitMs,
            () => tooLate(method, limitMs),
            async (signal) =>
              Reflect.apply(member, target, [
                { ...context, signal: context.signal ? AbortSignal.any([context.signal, signal]) : signal },
                ...rest,
              ]) as unknown,
          ),
        );
      };
    },
  });
}

function isCallContext(value: unknown): value is CallContext {
  return typeof value === 'object' && value !== null && 'requestId' in value && 'directorUuid' in value;
}

function tooLate(method: string, limitMs: number): StepTimedOut {
  return new StepTimedOut(`The CPI did not answer '${method}' in ${limitMs / 1000} s`, {
    details: { method, limit: 'cpi', limit_ms: limitMs },
    advice:
      'Look at the cloud, then run the same command again. More time: limits.cpi in the manifest, or --limit cpi=2h.',
  });
}

function wireName(method: string): string {
  return method.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
