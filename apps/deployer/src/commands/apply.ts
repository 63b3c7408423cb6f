import { resolve } from 'node:path';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { registryOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { composeDeployer } from '../compose-deployer.ts';
import { createEnv } from '../engine/create-env.ts';
import { readPlanDocument } from '../engine/plan-document.ts';
import { pathsOf } from '../environment.ts';
import { evaluateInputs } from '../inputs/manifest-inputs.ts';

/** Carries out a plan that was looked at before, if nothing moved since. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const plan = await readPlanDocument(resolve(context.cwd, args[0] ?? ''));
  const paths = pathsOf(plan.manifest, plan.state, context);
  const evaluated = await evaluateInputs(plan.manifest, plan.inputs, context);
  const outcome = await createEnv({
    context,
    manifest: plan.manifest,
    paths,
    inputs: plan.inputs,
    evaluated,
    flags: { ...plan.flags, skipDrain: false, registry: registryOption(options) },
    dependencies: composeDeployer(context),
    expected: plan,
  });
  if (outcome === 'unchanged') context.events.message('Nothing to do.');
  return exitCodes.done;
}
