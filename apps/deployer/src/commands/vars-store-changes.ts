import { copyFile } from 'node:fs/promises';
import { OperationalError, errorCode } from '@microbosh/errors';
import type { VarsStorePort } from '@microbosh/spec/documents';
import type { CommandContext } from '../cli/context.ts';

/** A flag of a `vars` command cannot be used. */
export class VarsFlagInvalid extends OperationalError {
  readonly code = 'E_VARS_FLAG_INVALID';
}

/** The copy that is kept of a store in which values were made again. */
export function previousStore(file: string): string {
  return `${file}.previous`;
}

/** The store, which keeps a copy of itself before it is replaced: what runs has the old values until the next deploy. */
export function rewrittenStore(varsStore: VarsStorePort | undefined): {
  readonly varsStore: VarsStorePort;
  readonly previous: string;
} {
  if (varsStore === undefined) {
    throw new VarsFlagInvalid('--vars-store is needed: it holds the values that are to be made again');
  }
  const previous = previousStore(varsStore.file);
  const save = async (text: string) => {
    await keepCopy(varsStore.file, previous);
    await varsStore.save(text);
  };
  return { varsStore: { ...varsStore, save }, previous };
}

export function tellRotated(context: CommandContext, rotated: readonly string[], previous: string): void {
  if (context.global.json) context.console.json({ rotated, previous });
  else context.console.block(`Made again: ${rotated.join(', ')}\nPrevious values are in ${previous}\n`);
}

async function keepCopy(file: string, previous: string): Promise<void> {
  try {
    await copyFile(file, previous);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
}
