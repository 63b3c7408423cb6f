/** Runs the engine against a simulated cloud, in a process that can be killed: argv[2] is a SimulatedJob as JSON. */
import process from 'node:process';
import { compose } from '../compose.ts';
import { createEnv } from '../engine/create-env.ts';
import { deleteEnv } from '../engine/delete-env.ts';
import { planEnv } from '../engine/plan-env.ts';
import { evaluateInputs } from '../inputs/manifest-inputs.ts';
import { environmentPaths } from '../state/environment-paths.ts';
import { simulatedDependencies } from './simulated-dependencies.ts';
import type { SimulationOptions } from './simulated-dependencies.ts';

export interface SimulatedJob extends SimulationOptions {
  /** `converge`: create, then plan. */
  readonly action: 'create' | 'delete' | 'plan' | 'converge';
  readonly manifest: string;
}

const job = JSON.parse(process.argv[2] ?? '{}') as SimulatedJob;
const { context } = compose(
  { json: false, tty: false, color: false, quiet: false, nonInteractive: true },
  process,
  new AbortController().signal,
);
const inputs = { var: [], varFile: [], varsFile: [], varsEnv: [], opsFile: [] };
const paths = environmentPaths(job.manifest, undefined, job.directory);
const dependencies = simulatedDependencies(job);
const common = { context, manifest: job.manifest, paths, inputs, dependencies };
if (job.action === 'delete') {
  await deleteEnv({ ...common, keepDisk: false, skipDrain: false });
} else {
  const evaluated = await evaluateInputs(job.manifest, inputs, context);
  const flags = { recreate: false, recreateDisk: false, skipDrain: false, registry: 'unsaid' } as const;
  if (job.action !== 'plan') {
    process.stdout.write(`${await createEnv({ ...common, evaluated, flags })}\n`);
  }
  if (job.action !== 'create') {
    const { steps } = await planEnv({ ...common, evaluated, flags });
    process.stdout.write(`PLAN ${JSON.stringify(steps)}\n`);
  }
}
