import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { openRecorded } from './recorded-environment.ts';

/** Runs `bin/run` of a job on the VM, to its end. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const [, job] = args;
  const { client, instance } = await openRecorded(context, args, options);
  try {
    const result = await context.events.step(
      `Running errand${job === undefined ? '' : ` '${job}'`} on instance '${instance}'`,
      () => client.call('run_errand', job === undefined ? [] : [job], { signal: context.signal }),
    );
    if (context.global.json) context.console.json({ type: 'errand', ...result });
    else {
      context.console.block(result.stdout);
      if (result.stderr !== '') context.console.error(result.stderr.trimEnd());
      context.events.message(`The errand ended with exit code ${result.exit_code}`);
    }
    return result.exit_code === 0 ? exitCodes.done : exitCodes.error;
  } finally {
    await client.close();
  }
}
