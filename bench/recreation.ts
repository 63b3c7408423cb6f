import { readFile } from 'node:fs/promises';
import type { ExternalCall } from '../apps/deployer/src/events/events.ts';
import { start } from '../e2e/support/commands.ts';
import type { Example } from '../e2e/support/example.ts';
import { timeMs } from './result.ts';
import type { Figure } from './result.ts';

/**
 * Of the whole process, from its start to its end, what is not work of others. Their work is: a call of the CPI or the agent
 * until its answer; a VM that boots or a service that starts, up to the last time that it was asked in vain. What passes
 * until the deployer asks again, and finds it ready, counts as the deployer's. The start of a process weighs as much on any
 * provider: beside a namespace that is up in half a second it is a third, beside a machine it is little.
 */
export async function overheadOfRecreation(
  example: Example,
  recreations: number,
  aim?: string,
): Promise<Figure[]> {
  const runs: { readonly totalMs: number; readonly workMs: number }[] = [];
  for (let run = 0; run < recreations; run += 1) {
    const totalMs = await timeMs(async () => {
      const command = example.command('create-env', '--recreate', '--vars-store', example.creds);
      const { exitCode } = await start(command, { env: example.env, timeoutMs: example.limitMs }).finished;
      if (exitCode !== 0) throw new Error(`--recreate ended with ${exitCode ?? 'a signal'}`);
    });
    runs.push({ totalMs, workMs: workOfOthersMs(await callsOfLastRun(example)) });
  }
  runs.sort((a, b) => a.totalMs / a.workMs - b.totalMs / b.workMs);
  const { totalMs, workMs } = runs[Math.floor(recreations / 2)] ?? {
    totalMs: Number.NaN,
    workMs: Number.NaN,
  };
  return [
    {
      label: `--recreate, median of ${recreations}: calls until their answers, waits`,
      value: workMs / 1000,
      unit: 's',
    },
    {
      label: '--recreate: all else, from start to end of the process',
      value: (totalMs - workMs) / 1000,
      unit: 's',
    },
    {
      label: '--recreate: overhead over the sum of CPI calls and agent work',
      value: (100 * (totalMs - workMs)) / workMs,
      unit: '%',
      ...(aim === undefined ? {} : { aim }),
    },
  ];
}

interface Call {
  readonly to: string;
  readonly method: string;
  readonly failed: boolean;
  readonly beginMs: number;
  readonly endMs: number;
}

async function callsOfLastRun(example: Example): Promise<Call[]> {
  const lines = (await readFile(`${example.stateFile}.d/events.jsonl`, 'utf8')).split('\n').filter(Boolean);
  const events = lines.map(
    (line) => JSON.parse(line) as Omit<ExternalCall, 'type'> & { readonly type: string },
  );
  return events.slice(events.findLastIndex(({ type }) => type === 'run')).flatMap((event) => {
    if (event.type !== 'call') return [];
    const { to, method, failed, durationMs } = event;
    const endMs = Date.parse(event.time);
    return [{ to, method, failed, beginMs: endMs - durationMs, endMs }];
  });
}

/** Calls may overlap: time in which somebody else worked counts once. */
function workOfOthersMs(calls: readonly Call[]): number {
  const spans = calls.map(({ beginMs, endMs }) => ({ beginMs, endMs }));
  // Between two questions in vain, one after the other, a machine boots or a service starts.
  for (const group of Map.groupBy(calls, ({ to, method }) => `${to} ${method}`).values()) {
    for (const [index, call] of group.entries()) {
      const next = group[index + 1];
      if (call.failed && next?.failed) spans.push({ beginMs: call.endMs, endMs: next.beginMs });
    }
  }
  let sumMs = 0;
  let coveredUntilMs = 0;
  for (const { beginMs, endMs } of spans.toSorted((a, b) => a.beginMs - b.beginMs)) {
    sumMs += Math.max(0, endMs - Math.max(beginMs, coveredUntilMs));
    coveredUntilMs = Math.max(coveredUntilMs, endMs);
  }
  return sumMs;
}
