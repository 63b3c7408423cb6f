import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileDurably } from '@microbosh/host';
import type { SentSpec } from '../apply/spec.ts';
import { ActionError, wrapping } from '../errors.ts';
import type { ActionTable } from '../handlers/dispatcher.ts';
import { drain, drainArguments } from '../scripts/drain.ts';
import { exists, inherited, runLifecycleScripts, runScript, scriptPath } from '../scripts/job-scripts.ts';
import { controlFileFailure, writeControlFiles } from '../supervisor/control-files.ts';
import type { AgentParts } from './context.ts';
import { jobState, writeHealth } from './job-state.ts';

const errandOutputBytes = 16 * 1024 * 1024;

/** apply and what happens to jobs. */
export function jobActions(parts: AgentParts): ActionTable {
  const { layout, specs, supervisor, applier, log } = parts;
  const health = async () => writeHealth(layout, await jobState(parts));
  return {
    prepare: async ([spec], context) => {
      await applier.prepare(spec, context);
      return 'prepared';
    },
    apply: async ([spec], context) => {
      await applier.apply(spec, context);
      return 'applied';
    },
    start: async () => {
      const jobs = jobNames(await specs.current());
      await wrapping('Configuring jobs', () => writeControlFiles(layout, jobs));
      const problems = await wrapping('Reloading the supervisor', () => supervisor.reload());
      await wrapping('Starting Monitored Services', () => supervisor.start());
      await rm(layout.stopped, { force: true });
      await health();
      // Last: a job whose control file is wrong does not keep the others down.
      if (problems.length > 0) throw controlFileFailure(problems);
      return 'started';
    },
    stop: async (_args, context) => {
      await wrapping('Stopping Monitored Services', () =>
        supervisor.stop({ wait: context.protocol > 2, signal: context.signal }),
      );
      await writeFileDurably(layout.stopped, '', { mode: 0o600 });
      await health();
      return 'stopped';
    },
    drain: async ([type, sentNext], context) => {
      if (type !== 'update' && type !== 'shutdown') {
        throw new ActionError(`Unexpected call with drain type '${type}'`, { code: 'E_DRAIN' });
      }
      if (type === 'update' && !sentNext)
        throw new ActionError('Drain update requires new spec', { code: 'E_DRAIN' });
      if (type === 'shutdown') parts.publish('shutdown', null);
      const current = await specs.current();
      await wrapping('Unmonitoring services', () => supervisor.unmonitor());
      await drain({
        layout,
        jobs: jobNames(current),
        args: drainArguments(type, current, sentNext),
        current,
        next: sentNext,
        log,
        signal: context.signal,
      });
      return 0;
    },
    run_script: async ([name, options], context) => {
      const jobs = jobNames(await specs.current());
      await runLifecycleScripts({ layout, jobs, name, env: options?.env ?? {}, log, signal: context.signal });
      return {};
    },
    run_errand: async ([name], context) => {
      const spec = await specs.current();
      const job = name ?? legacyErrand(spec);
      if (!jobNames(spec).includes(job)) {
        throw new ActionError(`Could not find errand ${job}`, { code: 'E_ERRAND' });
      }
      const program = join(layout.jobs, job, 'bin', 'run');
      if (!(await exists(program))) {
        throw new ActionError('Running errand script: it is not there', { code: 'E_ERRAND' });
      }
      const result = await wrapping('Running errand script', () =>
        runScript({
          argv: [program],
          env: { ...inherited(), PATH: scriptPath },
          keepBytes: errandOutputBytes,
          signal: context.signal,
        }),
      );
      const exitCode = result.exitCode ?? 128 + (result.signal === 'SIGKILL' ? 9 : 15);
      return { stdout: result.stdout, stderr: result.stderr, exit_code: exitCode };
    },
  };
}

export function jobNames(spec: SentSpec): readonly string[] {
  return (spec.job?.templates ?? []).map(({ name }) => name);
}

function legacyErrand(spec: SentSpec): string {
  const name = spec.job?.template;
  if (name !== undefined && name !== '') return name;
  const first = jobNames(spec)[0];
  if (first !== undefined) return first;
  throw new ActionError('At least one job template is required to run an errand', { code: 'E_ERRAND' });
}
