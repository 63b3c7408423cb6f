import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { MicroConfig } from '../micro/micro-config.ts';
import { evaluateMicro, manifestPath, targetOf } from '../micro/micro-deployment.ts';
import { environmentPaths } from '../state/environment-paths.ts';
import { StateStore } from '../state/state-store.ts';

/** Shows or selects the manifest that the other `micro` commands work on. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const config = await MicroConfig.open(options, context);
  const [name] = args;
  if (name === undefined) {
    const selected = textOption(options, 'deployment') ?? config.selected(textOption(options, 'target'));
    context.console.block(
      selected === undefined ? 'Deployment not set\n' : `Current deployment is '${selected}'\n`,
    );
    return exitCodes.done;
  }
  const manifest = manifestPath(name, context.cwd);
  const { current } = await StateStore.open(environmentPaths(manifest, undefined, context.cwd));
  const { model } = await evaluateMicro(manifest, current.own.inputs, options, context);
  const target = targetOf(model, current);
  const { changed } = await config.select(target, manifest);
  if (changed) context.events.message(`Target changed to '${target}'`, { level: 'warning' });
  context.console.block(`Deployment set to '${manifest}'\n`);
  return exitCodes.done;
}
