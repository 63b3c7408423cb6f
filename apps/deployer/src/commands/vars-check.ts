import { OperationalError } from '@microbosh/errors';
import { checkVariables, evaluateManifest, formatPosition } from '@microbosh/spec/documents';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { readInputFlags, readManifestInputs } from '../inputs/manifest-inputs.ts';

/** A flag of a `vars` command cannot be used. */
export class VarsFlagInvalid extends OperationalError {
  readonly code = 'E_VARS_FLAG_INVALID';
}

/** Reports variables that expired or will, and values that no longer fit their definition. Generates nothing. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const days = textOption(options, 'days') ?? '30';
  if (!/^\d{1,5}$/.test(days)) throw new VarsFlagInvalid(`--days '${days}' is not a number of days`);
  const input = await readManifestInputs(args[0] ?? '-', readInputFlags(options, context.cwd), context);
  const manifest = await evaluateManifest({ ...input, generate: false, requireAll: false });
  const findings = checkVariables(manifest, { now: new Date(), warnDays: Number(days) });
  for (const { position, message, ...finding } of findings) {
    if (context.global.json) context.console.json({ ...finding, message, ...position });
    else context.console.block(`${formatPosition(position)}: ${message}\n`);
  }
  return findings.length === 0 ? exitCodes.done : exitCodes.changesPending;
}
