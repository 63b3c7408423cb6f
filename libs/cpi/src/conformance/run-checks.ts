import { messageChain } from '@microbosh/errors';
import type { ConformanceCheck } from './contract-checks.ts';

export interface CheckResult {
  readonly name: string;
  readonly durationMs: number;
  /** Absent: the check passed. */
  readonly failure?: string;
}

/** Runs checks in order, all of them: the last ones remove what the first have made. */
export async function runChecks(
  checks: readonly ConformanceCheck[],
  onResult: (result: CheckResult) => void = () => undefined,
): Promise<readonly CheckResult[]> {
  const results: CheckResult[] = [];
  for (const check of checks) {
    const started = performance.now();
    let failure: string | undefined;
    try {
      await check.run();
    } catch (error) {
      failure = messageChain(error).join(': ');
    }
    const durationMs = Math.round(performance.now() - started);
    const result = { name: check.name, durationMs, ...(failure !== undefined && { failure }) };
    results.push(result);
    onResult(result);
  }
  return results;
}
