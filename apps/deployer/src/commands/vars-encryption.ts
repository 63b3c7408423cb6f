import { resolve } from 'node:path';
import { VarsStore } from '@microbosh/spec/documents';
import type { CommandContext, CommandModule } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { InputUnreadable } from '../inputs/read-input.ts';
import { StoreCipher, keyRequired, readVarsKey } from '../inputs/store-cipher.ts';
import { readStore, withStoreFolder, writeStore } from '../inputs/vars-store-file.ts';
import { previousStore } from './vars-store-changes.ts';

export const encrypt = inPlace('encrypted', async (context) => {
  const key = (await readVarsKey(context.env)) ?? keyRequired();
  const cipher = await StoreCipher.create(key);
  return (text, isEncrypted) => (isEncrypted ? undefined : cipher.encrypt(text));
});

export const decrypt = inPlace('decrypted', () =>
  Promise.resolve((text, isEncrypted) => (isEncrypted ? text : undefined)),
);

/** What is to be written in place of a store with this text; undefined: it stays as it is. */
type Change = (text: string, isEncrypted: boolean) => string | undefined;

/** Rewrites a store and the copy that is kept beside it. Both are read before the first is written. */
function inPlace(done: string, prepare: (context: CommandContext) => Promise<Change>): CommandModule {
  return {
    run: async (context, args) => {
      const store = resolve(context.cwd, args[0] ?? '');
      const change = await prepare(context);
      const changed = await withStoreFolder(store, async () => {
        const writes: { readonly file: string; readonly text: string }[] = [];
        for (const file of [store, previousStore(store)]) {
          const { text, cipher } = await readStore(file, context.env);
          if (text === undefined && file === store) {
            throw new InputUnreadable(`The vars-store '${args[0] ?? ''}' cannot be read: it does not exist`, {
              details: { path: store },
              advice: 'Check the path.',
            });
          }
          if (text === undefined) continue;
          // Whatever else it is, it is not made unreadable for those who need it.
          await VarsStore.open({ file, load: () => Promise.resolve(text), save: () => Promise.resolve() });
          const next = change(text, cipher !== undefined);
          if (next !== undefined) writes.push({ file, text: next });
        }
        for (const { file, text } of writes) await writeStore(file, text);
        return writes.map(({ file }) => file);
      });
      if (context.global.json) context.console.json({ [done]: changed });
      else if (changed.length === 0) context.console.block(`It is ${done} already.\n`);
      else for (const file of changed) context.console.block(`${file} is ${done}.\n`);
      return exitCodes.done;
    },
  };
}
