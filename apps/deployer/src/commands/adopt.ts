import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { listOption, textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { composeDeployer } from '../compose-deployer.ts';
import { adoptEnv } from '../engine/adopt-env.ts';
import { pathsOf } from '../environment.ts';
import { loadModel } from '../inputs/load-model.ts';
import { evaluateInputs, readInputFlags } from '../inputs/manifest-inputs.ts';

/** Rebuilds a lost state from what is in the cloud. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const [manifest = ''] = args;
  const inputs = readInputFlags(options, context.cwd);
  const paths = pathsOf(manifest, textOption(options, 'state'), context);
  const evaluated = await evaluateInputs(manifest, inputs, context);
  const model = await loadModel(evaluated, manifest, context, { ...inputs, stemcellOptional: true });
  const found = await adoptEnv({
    context,
    manifest,
    model,
    paths,
    inputs,
    vmCid: textOption(options, 'vm'),
    diskCids: listOption(options, 'disk'),
    dependencies: composeDeployer(context),
  });
  const shown = found.map(({ kind, cid }) => ({ kind, cid }));
  if (context.global.json) context.console.json({ type: 'adopted', resources: shown });
  else context.console.block(shown.map(({ kind, cid }) => `adopted ${kind} ${cid}\n`).join(''));
  return exitCodes.done;
}
