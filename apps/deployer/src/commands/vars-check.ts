import type { VariableFinding } from '@microbosh/spec/documents';
import {
  checkVariables,
  convergeVariables,
  evaluateManifest,
  formatPosition,
} from '@microbosh/spec/documents';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { flagOption, textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { readInputFlags, readManifestInputs } from '../inputs/manifest-inputs.ts';
import { VarsFlagInvalid, rewrittenStore, tellRotated } from './vars-store-changes.ts';

/**
 * Reports variables that expired or will, and values that no longer fit their definition. Generates nothing, or with
 * `--fix` what it found.
 */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const days = textOption(options, 'days') ?? '30';
  if (!/^\d{1,5}$/.test(days)) throw new VarsFlagInvalid(`--days '${days}' is not a number of days`);
  const warnDays = Number(days);
  const input = await readManifestInputs(args[0] ?? '-', readInputFlags(options, context.cwd), context);
  let findings: readonly VariableFinding[];
  if (flagOption(options, 'fix')) {
    const { varsStore, previous } = rewrittenStore(input.varsStore);
    const { rotated, left } = await convergeVariables({ ...input, varsStore, warnDays });
    if (rotated.length > 0) tellRotated(context, rotated, previous);
    findings = left;
  } else {
    const manifest = await evaluateManifest({ ...input, generate: false, requireAll: false });
    findings = checkVariables(manifest, { now: new Date(), warnDays });
  }
  for (const { position, message, ...finding } of findings) {
    if (context.global.json) context.console.json({ ...finding, message, ...position });
    else context.console.block(`${formatPosition(position)}: ${message}\n`);
  }
  return findings.length === 0 ? exitCodes.done : exitCodes.changesPending;
}
