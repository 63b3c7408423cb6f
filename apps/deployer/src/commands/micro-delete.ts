import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { composeDeployer } from '../compose-deployer.ts';
import { deleteEnv } from '../engine/delete-env.ts';
import { MicroRefused } from '../errors.ts';
import { readInputFlags } from '../inputs/manifest-inputs.ts';
import { clockText, evaluateMicro, selectedDeployment } from '../micro/micro-deployment.ts';

/** Deletes VM, disk and stemcell of the selected manifest; whatever of them is there. */
export async function run(
  context: CommandContext,
  _args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const startedAt = Date.now();
  const deployment = await selectedDeployment(context, options);
  const { manifest, paths } = deployment;
  const { model } = await evaluateMicro(manifest, deployment.state.own.inputs, options, context);
  if (!deployment.exists) {
    throw new MicroRefused('No existing instance to delete', {
      advice: 'microbosh micro deployments lists what there is.',
    });
  }
  context.events.message(`You are going to delete micro BOSH deployment '${model.name}'`, {
    level: 'warning',
  });
  await deleteEnv({
    context,
    dependencies: composeDeployer(context),
    manifest,
    paths,
    inputs: readInputFlags(options, context.cwd),
    keepDisk: false,
    skipDrain: false,
  });
  context.console.block(
    `Deleted deployment '${model.name}', took ${clockText(Date.now() - startedAt)} to complete\n`,
  );
  return exitCodes.done;
}
