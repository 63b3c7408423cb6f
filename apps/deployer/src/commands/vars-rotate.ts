import { copyFile } from 'node:fs/promises';
import { errorCode } from '@microbosh/errors';
import { rotateVariables } from '@microbosh/spec/documents';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { flagOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { readInputFlags, readManifestInputs } from '../inputs/manifest-inputs.ts';
import { VarsFlagInvalid } from './vars-check.ts';

/** Generates variables again; the previous store is kept beside the new one. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const [document = '-', ...names] = args;
  const { varsStore, ...input } = await readManifestInputs(
    document,
    readInputFlags(options, context.cwd),
    context,
  );
  if (varsStore === undefined) {
    throw new VarsFlagInvalid('--vars-store is needed: it holds the values that are to be made again');
  }
  const previous = `${varsStore.file}.previous`;
  const rotated = await rotateVariables({
    ...input,
    names,
    only: flagOption(options, 'only'),
    varsStore: {
      ...varsStore,
      save: async (text) => {
        await keepCopy(varsStore.file, previous);
        await varsStore.save(text);
      },
    },
  });
  if (context.global.json) context.console.json({ rotated, previous });
  else context.console.block(`Made again: ${rotated.join(', ')}\nPrevious values are in ${previous}\n`);
  return exitCodes.done;
}

/** The running deployment still has the old values until the next deploy. */
async function keepCopy(file: string, previous: string): Promise<void> {
  try {
    await copyFile(file, previous);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
}
