import { setTimeout as sleep } from 'node:timers/promises';
import { OpenstackAnswer, OpenstackSilent } from './openstack-client.ts';

const attempts = 5;

interface MakeOnce<T> {
  /** The POST, told not to repeat itself (`once`). */
  readonly make: () => Promise<T>;
  /** The object by the name that only this call gives. */
  readonly find: () => Promise<T | undefined>;
  readonly pauseMs: number;
  readonly signal: AbortSignal | undefined;
}

/** Nobody knows whether the service has carried the request out. */
function isUncertain(error: unknown): boolean {
  return error instanceof OpenstackSilent || (error instanceof OpenstackAnswer && error.status >= 500);
}

/**
 * Makes one object, and never two: where the original repeats a POST after 500 and 503 blindly, and gives up after a lost
 * answer, the object is looked for first.
 */
export async function makeOnce<T>({ make, find, pauseMs, signal }: MakeOnce<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await make();
    } catch (error) {
      if (!isUncertain(error)) throw error;
      // Also when the call is being cancelled: what was made has to be known.
      const made = await find().catch(() => undefined);
      if (made !== undefined) return made;
      if (error instanceof OpenstackSilent || attempt >= attempts) throw error;
      await sleep(pauseMs, undefined, signal ? { signal } : {});
    }
  }
}
