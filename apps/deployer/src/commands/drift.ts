import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { composeDeployer } from '../compose-deployer.ts';
import { findDrift } from '../engine/drift.ts';
import { pathsOf } from '../environment.ts';
import { readInputFlags } from '../inputs/manifest-inputs.ts';

export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const [manifest = ''] = args;
  const drift = await findDrift({
    context,
    manifest,
    paths: pathsOf(manifest, textOption(options, 'state'), context),
    inputs: readInputFlags(options, context.cwd),
    dependencies: composeDeployer(context),
  });
  if (context.global.json) context.console.json({ type: 'drift', differences: drift });
  else
    context.console.block(drift.length === 0 ? 'No drift.\n' : drift.map((line) => `- ${line}\n`).join(''));
  return drift.length === 0 ? exitCodes.done : exitCodes.drift;
}
