import { manifestJsonSchema } from '@microbosh/spec';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { flagOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';

/** Prints the JSON Schema of a manifest, for editors. */
export function run(
  context: CommandContext,
  _args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const schema = manifestJsonSchema(flagOption(options, 'micro') ? 'micro' : 'create-env');
  context.console.block(`${JSON.stringify(schema, undefined, 2)}\n`);
  return Promise.resolve(exitCodes.done);
}
