import { OperationalError } from '@microbosh/errors';
import type { HostContext } from '../platform/host-context.ts';

/** One thing that differs from what the settings ask for, and how to put it right. */
export interface Change {
  /** For the report: what is changed, never a secret. */
  readonly what: string;
  apply(): Promise<void>;
}

export interface StepContext extends HostContext {
  readonly signal: AbortSignal;
  /** Called before and after each change. */
  readonly onChange: (phase: 'before' | 'after', what: string) => Promise<void>;
}

export type StepResult =
  | { readonly outcome: 'done'; readonly changes: readonly string[] }
  | { readonly outcome: 'unchanged' }
  | { readonly outcome: 'skipped'; readonly reason: string };

export interface BootstrapStep {
  /** Stable: operators see it in the report. */
  readonly name: string;
  readonly timeoutMs: number;
  run(context: StepContext): Promise<StepResult>;
}

export class ChangeNotEffective extends OperationalError {
  readonly code = 'E_CHANGE_NOT_EFFECTIVE';
}

export function skipped(reason: string): StepResult {
  return { outcome: 'skipped', reason };
}

const maxRounds = 10;

/**
 * Probes, changes, and verifies by probing again, until the probe finds nothing to change. A probe may name the next
 * stage only (partition, then format, then mount). A change that is still asked for after it was made has not taken
 * effect: that is a failure, not a reason to try for ever.
 */
export async function converge(
  context: StepContext,
  probe: () => Promise<readonly Change[]>,
): Promise<StepResult> {
  const made: string[] = [];
  for (let round = 0; round < maxRounds; round += 1) {
    const changes = await probe();
    if (changes.length === 0)
      return made.length === 0 ? { outcome: 'unchanged' } : { outcome: 'done', changes: made };
    for (const change of changes) {
      if (made.includes(change.what)) {
        throw new ChangeNotEffective(`This did not take effect: ${change.what}.`, {
          details: { change: change.what },
        });
      }
      context.signal.throwIfAborted();
      await context.onChange('before', change.what);
      await change.apply();
      made.push(change.what);
      await context.onChange('after', change.what);
    }
  }
  throw new ChangeNotEffective(`The step does not come to an end after ${maxRounds} rounds.`);
}
