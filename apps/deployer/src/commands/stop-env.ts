import { existsSync } from 'node:fs';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { flagOption, textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { composeDeployer } from '../compose-deployer.ts';
import { stopEnv } from '../engine/stop-start.ts';
import { pathsOf } from '../environment.ts';

export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const paths = pathsOf(args[0] ?? '', textOption(options, 'state'), context);
  if (!existsSync(paths.state)) {
    context.events.message('No deployment state file found.');
    return exitCodes.done;
  }
  await stopEnv({
    context,
    paths,
    skipDrain: flagOption(options, 'skipDrain'),
    dependencies: composeDeployer(context),
  });
  return exitCodes.done;
}
