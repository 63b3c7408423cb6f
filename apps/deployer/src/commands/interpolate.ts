import { emitYaml, evaluateManifest, renderSelection, selectPath } from '@microbosh/spec/documents';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { flagOption, textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { readInputFlags, readManifestInputs } from '../inputs/manifest-inputs.ts';

/** Prints the evaluated document, or the value at `--path`. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const path = textOption(options, 'path');
  const { root } = await evaluateManifest({
    ...(await readManifestInputs(args[0] ?? '-', readInputFlags(options, context.cwd), context)),
    requireAll: flagOption(options, 'varErrs'),
    requireUsed: flagOption(options, 'varErrsUnused'),
  });
  context.console.block(path === undefined ? emitYaml(root) : renderSelection(selectPath(root, path)));
  return exitCodes.done;
}
