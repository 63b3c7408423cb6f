import { proxyRoute } from '../access/proxy-route.ts';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { flagOption, registryOption, textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { pathsOf } from '../environment.ts';
import { isUnchanged, withRememberedStemcell } from '../inputs/unchanged.ts';
import { evaluateInputs, limitFlags, readInputFlags } from '../inputs/manifest-inputs.ts';

const skipLine = 'No deployment, stemcell or release changes. Skipping deploy.';

export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const [manifest = ''] = args;
  const flags = {
    recreate: flagOption(options, 'recreate'),
    recreateDisk: flagOption(options, 'recreatePersistentDisks'),
    skipDrain: flagOption(options, 'skipDrain'),
    registry: registryOption(options),
    noRollback: options.rollback === false,
    keepBroken: flagOption(options, 'keepBroken'),
    limits: limitFlags(options),
  };
  const paths = pathsOf(manifest, textOption(options, 'state'), context);
  const inputs = await withRememberedStemcell(readInputFlags(options, context.cwd), paths);
  const evaluated = await evaluateInputs(manifest, inputs, context);
  const forced = flags.recreate || flags.recreateDisk;
  if (!forced && (await isUnchanged(paths, evaluated.manifestSha, proxyRoute(context.env)))) {
    context.events.message(skipLine);
    return exitCodes.done;
  }
  // Everything below is loaded only when there is something to do.
  const { createEnv } = await import('../engine/create-env.ts');
  const { composeDeployer } = await import('../compose-deployer.ts');
  const dependencies = composeDeployer(context);
  const outcome = await createEnv({ context, manifest, paths, inputs, evaluated, flags, dependencies });
  if (outcome === 'unchanged') context.events.message(skipLine);
  return exitCodes.done;
}
