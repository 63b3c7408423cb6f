import { SecretRegister } from '@microbosh/host';
import type { TimeLimits } from '@microbosh/spec';
import type { CommandContext } from '../cli/context.ts';
import { createEnv } from '../engine/create-env.ts';
import { deleteEnv } from '../engine/delete-env.ts';
import { planEnv } from '../engine/plan-env.ts';
import { EventBus } from '../events/event-bus.ts';
import { evaluateInputs } from '../inputs/manifest-inputs.ts';
import { Console } from '../output/console.ts';
import { StageRenderer } from '../output/stage-renderer.ts';
import { environmentPaths } from '../state/environment-paths.ts';
import { simulatedDependencies } from './simulated-dependencies.ts';
import type { SimulationOptions } from './simulated-dependencies.ts';

export interface SimulatedJob extends SimulationOptions {
  /** `converge`: create, then plan. */
  readonly action: 'create' | 'delete' | 'plan' | 'converge';
  readonly manifest: string;
  readonly flags?: {
    readonly noRollback?: boolean;
    readonly keepBroken?: boolean;
    readonly keepDisk?: boolean;
    readonly recreate?: boolean;
    readonly limits?: TimeLimits;
  };
  /** Events as JSON lines instead of text. */
  readonly json?: boolean;
}

/** The engine against a simulated cloud; what it prints goes to `write`. */
export async function runSimulated(job: SimulatedJob, write: (text: string) => void): Promise<void> {
  const context = contextOf(job, write);
  const inputs = { var: [], varFile: [], varsFile: [], varsEnv: [], opsFile: [] };
  const paths = environmentPaths(job.manifest, undefined, job.directory);
  const common = { context, manifest: job.manifest, paths, inputs, dependencies: simulatedDependencies(job) };
  const flags = {
    recreate: false,
    recreateDisk: false,
    skipDrain: false,
    registry: 'unsaid' as const,
    ...job.flags,
  };
  if (job.action === 'delete') {
    await deleteEnv({ ...common, keepDisk: job.flags?.keepDisk === true, skipDrain: false });
    return;
  }
  const evaluated = await evaluateInputs(job.manifest, inputs, context);
  if (job.action !== 'plan') write(`${await createEnv({ ...common, evaluated, flags })}\n`);
  if (job.action !== 'create') {
    const { steps } = await planEnv({ ...common, evaluated, flags: { ...flags, recreate: false } });
    write(`PLAN ${JSON.stringify(steps)}\n`);
  }
}

function contextOf(job: SimulatedJob, write: (text: string) => void): CommandContext {
  const secrets = new SecretRegister();
  const stream = { write };
  const json = job.json === true;
  const console = new Console({
    stdout: stream,
    stderr: stream,
    redact: (text) => secrets.redact(text),
    json,
    quiet: false,
  });
  const events = new EventBus();
  const renderer = new StageRenderer({ write: (text) => console.write(text), live: false });
  events.subscribe(json ? (event) => console.json({ ...event }) : renderer.handle);
  return {
    global: { json, tty: false, color: false, quiet: false, nonInteractive: true },
    console,
    events,
    signal: new AbortController().signal,
    secrets,
    env: process.env,
    cwd: job.directory,
    readStdin: async () => '',
    interactive: false,
    ask: async () => '',
  };
}
