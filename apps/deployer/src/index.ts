/**
 * The deployer as a library: the same engine and the same events as the command line, without its process.
 *
 *     const events = new EventBus();
 *     events.subscribe((event) => console.log(event));
 *     await createEnv({ manifest: 'bosh.yml', events });
 */
import { homedir } from 'node:os';
import { resolve } from 'node:path';
import { SecretRegister } from '@microbosh/host';
import type { TimeLimits } from '@microbosh/spec';
import type { CommandContext } from './cli/context.ts';
import type { RegistryChoice } from './access/registry-use.ts';
import { composeDeployer } from './compose-deployer.ts';
import { createEnv as runCreateEnv } from './engine/create-env.ts';
import { deleteEnv as runDeleteEnv } from './engine/delete-env.ts';
import { planEnv } from './engine/plan-env.ts';
import type { DeployPlan } from './engine/plan-env.ts';
import { EventBus } from './events/event-bus.ts';
import { evaluateInputs } from './inputs/manifest-inputs.ts';
import { Console } from './output/console.ts';
import type { DeployerDependencies } from './ports/deployer-dependencies.ts';
import { environmentPaths } from './state/environment-paths.ts';
import type { RememberedInputs } from './state/environment-state.ts';

export { composeDeployer } from './compose-deployer.ts';
export { EventBus } from './events/event-bus.ts';
export type { DeployEvent } from './events/events.ts';
export type { DeployPlan } from './engine/plan-env.ts';
export type { Step } from './engine/plan.ts';

export interface EnvironmentOptions {
  /** Path of the manifest. */
  readonly manifest: string;
  /** State file; default: beside the manifest. */
  readonly state?: string;
  /** As the flags of the command line; paths are taken from the working directory. */
  readonly inputs?: Partial<RememberedInputs>;
  /** What happens is told here. */
  readonly events?: EventBus;
  /** Aborted: ends at the next point from which a later run goes on. */
  readonly signal?: AbortSignal;
  readonly limits?: TimeLimits;
  /** Other clouds, agents or artifacts than the ones that ship with the program. */
  readonly dependencies?: DeployerDependencies;
}

export interface DeployOptions extends EnvironmentOptions {
  readonly recreate?: boolean;
  readonly recreateDisk?: boolean;
  readonly skipDrain?: boolean;
  readonly registry?: RegistryChoice;
  readonly noRollback?: boolean;
  readonly keepBroken?: boolean;
}

/** Creates the VM of a manifest, or converges it. */
export async function createEnv(options: DeployOptions): Promise<'deployed' | 'unchanged'> {
  const common = commonOf(options);
  const evaluated = await evaluateInputs(options.manifest, common.inputs, common.context);
  return runCreateEnv({ ...common, evaluated, flags: flagsOf(options) });
}

/** What `createEnv` would do now. */
export async function plan(options: DeployOptions): Promise<DeployPlan> {
  const common = commonOf(options);
  const evaluated = await evaluateInputs(options.manifest, common.inputs, common.context);
  return planEnv({ ...common, evaluated, flags: flagsOf(options) });
}

/** Deletes VM, disk, stemcell and state. Nobody is asked. */
export async function deleteEnv(
  options: EnvironmentOptions & { readonly keepDisk?: boolean; readonly skipDrain?: boolean },
): Promise<void> {
  await runDeleteEnv({
    ...commonOf(options),
    keepDisk: options.keepDisk === true,
    skipDrain: options.skipDrain === true,
  });
}

function flagsOf(options: DeployOptions) {
  return {
    recreate: options.recreate === true,
    recreateDisk: options.recreateDisk === true,
    skipDrain: options.skipDrain === true,
    registry: options.registry ?? ('unsaid' as const),
    noRollback: options.noRollback === true,
    keepBroken: options.keepBroken === true,
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  };
}

function commonOf(options: EnvironmentOptions) {
  const context = contextOf(options);
  return {
    context,
    manifest: resolve(context.cwd, options.manifest),
    paths: environmentPaths(options.manifest, options.state, context.cwd),
    inputs: { var: [], varFile: [], varsFile: [], varsEnv: [], opsFile: [], ...options.inputs },
    dependencies: options.dependencies ?? composeDeployer(context),
  };
}

function contextOf(options: EnvironmentOptions): CommandContext {
  const secrets = new SecretRegister();
  const nowhere = { write: () => true };
  return {
    global: { json: false, tty: false, color: false, quiet: true, nonInteractive: true },
    console: new Console({
      stdout: nowhere,
      stderr: nowhere,
      redact: (text) => secrets.redact(text),
      json: false,
      quiet: true,
    }),
    events: options.events ?? new EventBus(),
    signal: options.signal ?? new AbortController().signal,
    secrets,
    env: { HOME: homedir(), ...process.env },
    cwd: process.cwd(),
    readStdin: async () => '',
    interactive: false,
    ask: async () => '',
  };
}
