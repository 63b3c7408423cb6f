import { readFile } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { processFolder } from '@microbosh/host';
import { openRecordedAgent } from '../access/reach-agent.ts';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { composeDeployer } from '../compose-deployer.ts';
import { microContent, parseApplySpec } from '../content/micro-content.ts';
import { Templates } from '../content/templates.ts';
import { deployerCaches } from '../content/deployer-caches.ts';
import { Environment } from '../environment.ts';
import { ManifestUnsupported } from '../errors.ts';
import { evaluateMicro, selectedDeployment } from '../micro/micro-deployment.ts';

/** Stops the jobs, applies a spec from a file in place of the stemcell's own, and starts the jobs. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const { manifest, paths, state } = await selectedDeployment(context, options);
  const file = resolve(context.cwd, args[0] ?? '');
  const applySpec = parseApplySpec(await readFile(file, 'utf8'), basename(file));
  const { model } = await evaluateMicro(manifest, state.own.inputs, options, context);
  if (model.micro === undefined) throw new ManifestUnsupported(`'${manifest}' is no manifest of micro`);
  const environment = await Environment.open(paths, 'micro apply', context);
  const templates = new Templates({
    cacheDir: deployerCaches(context.env).rendered,
    bootNow: true,
    onWarning: (text) => context.events.message(text, { level: 'warning' }),
  });
  const folder = await processFolder('apply');
  try {
    const agent = await openRecordedAgent(environment.store.current, composeDeployer(context).connectAgent);
    try {
      const { baked } = microContent({
        model,
        micro: model.micro,
        applySpec,
        stemcellDigest: '',
        templates,
        workDir: folder.path,
      });
      if (baked === undefined) throw new Error('a micro deployment without a spec');
      const { signal } = context;
      const spec = await context.events.step('Rendering job templates', () => baked.prepare(agent, signal));
      // The next deploy has to apply its own spec again.
      await environment.store.update({ own: { applied: undefined, deployed: undefined } });
      await context.events.step('Stopping agent services', () => agent.stop(signal));
      await context.events.step('Applying micro BOSH spec', () => agent.apply(spec, signal));
      await context.events.step('Starting agent services', () => agent.start(signal));
    } finally {
      await agent.close();
    }
  } finally {
    await templates.close();
    await folder.remove();
    await environment.close();
  }
  return exitCodes.done;
}
