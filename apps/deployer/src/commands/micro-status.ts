import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { selectedDeployment } from '../micro/micro-deployment.ts';
import { currentDisk, currentStemcell } from '../state/environment-state.ts';

/** What is on record. Reads files only: neither the cloud nor a private key is needed. */
export async function run(
  context: CommandContext,
  _args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const { config, manifest, state } = await selectedDeployment(context, options);
  const stemcell = currentStemcell(state) ?? state.stemcells?.at(-1);
  const report = {
    'Stemcell CID': stemcell?.cid ?? null,
    'Stemcell name': stemcell?.name ?? null,
    'VM CID': state.current_vm_cid || null,
    'Disk CID': currentDisk(state)?.cid ?? null,
    'Micro BOSH CID': state.director_id,
    Deployment: manifest,
    Target: textOption(options, 'target') ?? config.target ?? null,
  };
  if (context.global.json) context.console.json(report);
  else {
    const lines = Object.entries(report).map(([label, value]) => `${label.padEnd(15)} ${value ?? 'n/a'}\n`);
    context.console.block(lines.join(''));
  }
  return exitCodes.done;
}
