import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { run as createEnv } from './create-env.ts';

/** A new VM for the same deployment; the persistent disk stays. */
export function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  return createEnv(context, args, { ...options, recreate: true });
}
