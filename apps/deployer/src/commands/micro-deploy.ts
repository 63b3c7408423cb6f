import { relative } from 'node:path';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { flagOption, registryOption, textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { composeDeployer } from '../compose-deployer.ts';
import { createEnv } from '../engine/create-env.ts';
import { MicroRefused, NotConfirmed } from '../errors.ts';
import {
  clockText,
  evaluateMicro,
  selectedDeployment,
  stemcellArgument,
  targetOf,
} from '../micro/micro-deployment.ts';
import type { MicroDeployment } from '../micro/micro-deployment.ts';
import { StateStore } from '../state/state-store.ts';

/** Creates the VM of the selected manifest, or with `--update` converges it. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const startedAt = Date.now();
  const deployment = await selectedDeployment(context, options);
  const named = await evaluateMicro(deployment.manifest, deployment.state.own.inputs, options, context);
  const exists = requireIntent(deployment, options);
  const stemcell = stemcellOf(args[0], deployment, named.model.micro?.imageId, options, context);
  await confirm(context, deployment, exists);
  const { outcome } = await deploy(context, deployment, stemcell, named);
  if (outcome === 'unchanged') {
    context.events.message('Stemcell and configuration are unchanged: there is nothing to update.');
  }
  const { current } = await StateStore.open(deployment.paths);
  const target = targetOf(named.model, current);
  if ((await deployment.config.select(target, deployment.manifest)).changed) {
    context.events.message(`Target changed to '${target}'`, { level: 'warning' });
  }
  context.console.block(
    `Deployed '${relativePath(deployment.manifest, context.cwd)}' to '${target}', took ${clockText(Date.now() - startedAt)} to complete\n`,
  );
  return exitCodes.done;
}

/** What the flags ask for must fit what is there, before anything is touched. */
function requireIntent(deployment: MicroDeployment, options: CommandOptions): boolean {
  const update = flagOption(options, 'update');
  const either = flagOption(options, 'updateIfExists');
  if (deployment.exists && !update && !either) {
    throw new MicroRefused('Instance exists. Did you mean to --update?', {
      advice: 'microbosh micro deploy STEMCELL --update, or --update-if-exists.',
    });
  }
  if (!deployment.exists && update) {
    throw new MicroRefused('No existing instance to update', {
      advice: 'Leave --update out, or use --update-if-exists.',
    });
  }
  return deployment.exists;
}

interface NamedStemcell {
  readonly stemcell?: string;
  readonly stemcellSha1?: string;
}

function stemcellOf(
  argument: string | undefined,
  deployment: MicroDeployment,
  imageId: string | undefined,
  options: CommandOptions,
  context: CommandContext,
): NamedStemcell {
  const sha1 = textOption(options, 'sha1');
  const image = textOption(options, 'image');
  if (image !== undefined) return { stemcell: `image:${image}` };
  if (argument !== undefined) {
    return {
      stemcell: stemcellArgument(argument, context.cwd),
      ...(sha1 === undefined ? {} : { stemcellSha1: sha1 }),
    };
  }
  // The manifest's own image first, as in the original; then what the last deploy used.
  if (imageId !== undefined && deployment.state.own.inputs?.stemcell === undefined) return {};
  const { stemcell, stemcellSha1 } = deployment.state.own.inputs ?? {};
  if (stemcell === undefined) {
    throw new MicroRefused('No stemcell provided', {
      advice: 'microbosh micro deploy STEMCELL, or resources.cloud_properties.image_id in the manifest.',
    });
  }
  return { stemcell, ...(stemcellSha1 === undefined ? {} : { stemcellSha1 }) };
}

async function confirm(context: CommandContext, deployment: MicroDeployment, exists: boolean): Promise<void> {
  if (!context.interactive) return;
  const what = exists ? 'Updating' : 'Deploying new';
  const manifest = relativePath(deployment.manifest, context.cwd);
  const answer = await context.ask(`${what} micro BOSH instance '${manifest}' (type 'yes' to continue): `);
  if (answer.trim() !== 'yes') {
    throw new NotConfirmed('Nothing was deployed', { advice: "Answer 'yes', or use --non-interactive." });
  }
}

async function deploy(
  context: CommandContext,
  deployment: MicroDeployment,
  stemcell: NamedStemcell,
  named: Awaited<ReturnType<typeof evaluateMicro>>,
) {
  const flags = { ...named.inputs };
  delete flags.stemcell;
  delete flags.stemcellSha1;
  const outcome = await createEnv({
    context,
    manifest: deployment.manifest,
    paths: deployment.paths,
    inputs: { ...flags, ...stemcell },
    evaluated: named.evaluated,
    flags: { recreate: false, recreateDisk: false, skipDrain: false, registry: registryOption({}) },
    dependencies: composeDeployer(context),
  });
  return { outcome };
}

function relativePath(path: string, cwd: string): string {
  const below = relative(cwd, path);
  return below.startsWith('..') ? path : below;
}
