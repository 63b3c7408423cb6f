import { existsSync } from 'node:fs';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { flagOption, textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { composeDeployer } from '../compose-deployer.ts';
import { deleteEnv } from '../engine/delete-env.ts';
import { pathsOf } from '../environment.ts';
import { legacyFileOf } from '../state/legacy-import.ts';
import { readInputFlags } from '../inputs/manifest-inputs.ts';

export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const [manifest = ''] = args;
  const paths = pathsOf(manifest, textOption(options, 'state'), context);
  if (!existsSync(paths.state)) {
    context.events.message('No deployment state file found.');
    const legacy = legacyFileOf(manifest, context.cwd);
    if (existsSync(legacy)) {
      context.events.message(
        `'${legacy}' may still record a VM: create-env takes it over, then delete-env can delete it`,
        { level: 'warning' },
      );
    }
    return exitCodes.done;
  }
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
