import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SentSpec } from '../apply/spec.ts';
import { ActionError } from '../errors.ts';
import type { Layout } from '../layout.ts';
import type { Log } from '../ports/log.ts';
import { exists, inherited, runScript, scriptPath } from './job-scripts.ts';

export interface DrainArguments {
  readonly jobChange: string;
  readonly hashChange: string;
  readonly packages: readonly string[];
}

/** What drain scripts are told about a change of the spec. */
export function drainArguments(
  type: 'update' | 'shutdown',
  current: SentSpec,
  next: SentSpec | undefined,
): DrainArguments {
  if (type === 'shutdown') return { jobChange: 'job_shutdown', hashChange: 'hash_unchanged', packages: [] };
  const hasJobs = (current.job?.templates ?? []).length > 0;
  const before = current.configuration_hash ?? '';
  const after = next?.configuration_hash ?? '';
  const packages = Object.entries(next?.packages ?? {})
    .filter(([name, wanted]) => current.packages?.[name]?.sha1 !== wanted.sha1)
    .map(([name]) => name)
    .sort();
  return {
    jobChange: hasJobs ? 'job_changed' : 'job_new',
    hashChange: before === '' ? 'hash_new' : before === after ? 'hash_unchanged' : 'hash_changed',
    packages,
  };
}

/** Drains of a dynamic script in a row; one that never ends would keep the deployment for ever. */
const maxRounds = 10_000;

/** Runs the drain scripts of all jobs at once and waits as they ask. A cancelled drain ends without failure. */
export async function drain(options: {
  readonly layout: Layout;
  readonly jobs: readonly string[];
  readonly args: DrainArguments;
  readonly current: SentSpec;
  readonly next: SentSpec | undefined;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<void> {
  const results = await Promise.allSettled(options.jobs.map((job) => drainJob(job, options)));
  const failed = results.flatMap((result, index) =>
    result.status === 'rejected' ? [{ job: options.jobs[index] ?? '', error: result.reason as unknown }] : [],
  );
  if (options.signal.aborted) {
    options.log.warn({}, 'Script was cancelled by user request');
    return;
  }
  if (failed.length === 0) return;
  throw new ActionError(
    `${failed.length} of ${options.jobs.length} drain scripts failed. Failed Jobs: ${failed.map(({ job }) => job).join(', ')}`,
    { code: 'E_SCRIPT_FAILED', cause: failed[0]?.error },
  );
}

async function drainJob(job: string, options: Parameters<typeof drain>[0]): Promise<void> {
  const script = join(options.layout.jobs, job, 'bin', 'drain');
  if (!(await exists(script))) return;
  const { args } = options;
  let argv: [string, ...string[]] = [script, args.jobChange, args.hashChange, ...args.packages];
  let withNext = true;
  for (let round = 0; round < maxRounds; round += 1) {
    const seconds = await runOnce(job, argv, withNext, options);
    await sleep(Math.abs(seconds) * 1_000, undefined, { signal: options.signal });
    if (seconds >= 0) return;
    argv = [script, 'job_check_status', 'hash_unchanged'];
    withNext = false;
  }
  throw new ActionError(`The drain of '${job}' does not come to an end`, { code: 'E_DRAIN' });
}

async function runOnce(
  job: string,
  argv: readonly [string, ...string[]],
  withNext: boolean,
  options: Parameters<typeof drain>[0],
): Promise<number> {
  const state = (spec: SentSpec) => JSON.stringify({ persistent_disk: spec.persistent_disk ?? 0 });
  const result = await runScript({
    argv,
    env: {
      ...inherited(),
      PATH: scriptPath,
      BOSH_JOB_STATE: state(options.current),
      ...(withNext && options.next ? { BOSH_JOB_NEXT_STATE: state(options.next) } : {}),
    },
    logs: { dir: join(options.layout.logs, job), name: 'drain' },
    keepBytes: 64 * 1024,
    signal: options.signal,
  });
  const output = result.stdout.trim();
  if (!/^[+-]?\d{1,9}$/.test(output)) {
    throw new ActionError(
      `Script did not return a signed integer (job '${job}', exit ${result.exitCode ?? 'by signal'})`,
      {
        code: 'E_DRAIN',
      },
    );
  }
  return Number(output);
}
