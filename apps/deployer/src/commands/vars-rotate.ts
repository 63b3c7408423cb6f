import { rotateVariables } from '@microbosh/spec/documents';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { flagOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { readInputFlags, readManifestInputs } from '../inputs/manifest-inputs.ts';
import { rewrittenStore, tellRotated } from './vars-store-changes.ts';

/** Generates variables again; the previous store is kept beside the new one. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const [document = '-', ...names] = args;
  const input = await readManifestInputs(document, readInputFlags(options, context.cwd), context);
  const { varsStore, previous } = rewrittenStore(input.varsStore);
  const only = flagOption(options, 'only');
  tellRotated(context, await rotateVariables({ ...input, varsStore, names, only }), previous);
  return exitCodes.done;
}
