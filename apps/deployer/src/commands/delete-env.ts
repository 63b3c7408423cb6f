import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { flagOption, textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { composeDeployer } from '../compose-deployer.ts';
import { deleteEnv } from '../engine/delete-env.ts';
import { pathsOf } from '../environment.ts';
import { readInputFlags } from '../inputs/manifest-inputs.ts';

export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const [manifest = ''] = args;
  const paths = pathsOf(manifest, textOption(options, 'state'), context);
  await deleteEnv({
    context,
    dependencies: composeDeployer(context),
    manifest,
    paths,
    inputs: readInputFlags(options, context.cwd),
    keepDisk: flagOption(options, 'keepDisk'),
    skipDrain: flagOption(options, 'skipDrain'),
  });
  return exitCodes.done;
}
