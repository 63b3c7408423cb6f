import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { isJsonObject } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import { childOf, scalarText } from '@microbosh/spec';
import type { BuiltInCloud, DeploymentModel, ReleaseCloud } from '@microbosh/spec';
import type { CommandContext } from '../cli/context.ts';
import { Environment } from '../environment.ts';
import { NotConfirmed, StateUnreadable } from '../errors.ts';
import { evaluateInputs, hasInputFlags } from '../inputs/manifest-inputs.ts';
import { loadModel } from '../inputs/load-model.ts';
import { refuseWrongPaths } from '../inputs/refuse-wrong-paths.ts';
import type { DeployerDependencies } from '../ports/deployer-dependencies.ts';
import type { EnvironmentPaths } from '../state/environment-paths.ts';
import { currentDisk, currentStemcell } from '../state/environment-state.ts';
import type { AgentEndpoint, EnvironmentState, RememberedInputs } from '../state/environment-state.ts';
import { importLegacyState, legacyFileOf } from '../state/legacy-import.ts';
import type { TakeOver } from '../state/legacy-import.ts';
import { Session, settingsOf } from './deploy.ts';
import { executeDelete } from './execute.ts';
import { observe } from './observe.ts';
import { planDelete } from './plan.ts';

export interface KnownCloudRequest {
  readonly context: CommandContext;
  readonly manifest: string;
  readonly inputs: RememberedInputs;
}

export interface DeleteEnvRequest extends KnownCloudRequest {
  readonly paths: EnvironmentPaths;
  readonly keepDisk: boolean;
  readonly skipDrain: boolean;
  readonly dependencies: DeployerDependencies;
}

/** Takes away everything that the state knows, the persistent disk last but one, the state file last. */
export async function deleteEnv(request: DeleteEnvRequest): Promise<void> {
  const { context, paths, dependencies } = request;
  const takeOver = existsSync(paths.state) ? undefined : await recordedByMicro(request);
  if (takeOver === undefined && !existsSync(paths.state)) {
    refuseWrongPaths(request.manifest, paths, context.cwd);
    context.events.message('No deployment state file found.');
    return;
  }
  const environment = await Environment.open(paths, 'delete-env', context, takeOver);
  try {
    const { current } = environment.store;
    const known = await context.events.stage('validating', (stage) =>
      stage.step('Validating cpi release', async () => {
        const found = await knownCloud(request, current);
        await dependencies.checkCloud(found.cloud);
        return found;
      }),
    );
    await confirm(request, current);
    // What was taken over is on record before anything of it is touched.
    if (!environment.store.existed) await environment.store.update({});
    const session = await Session.open({
      cloud: known.cloud,
      // An agent may look for its settings again before it tells which disks it has.
      delivery: throughTunnel(known.cloud, current),
      group: current.own.group ?? 'unknown',
      settings: settingsOf(known.cloud, current.own.endpoint?.mbus ?? ''),
      inputs: undefined,
      stemcellApiVersion: currentStemcell(current)?.api_version ?? 1,
      environment,
      dependencies,
      skipDrain: request.skipDrain,
      fallbackEndpoint: known.endpoint,
      context,
    });
    try {
      await session.run.effects.settle();
      const observed = await observe(session.run);
      await executeDelete(session.run, planDelete(session.run.state, observed, request.keepDisk));
    } finally {
      await session.close();
    }
    await context.events.step('Uninstalling local artifacts for CPI and deployment', async () => {
      if (request.keepDisk && currentDisk(environment.store.current) !== undefined) {
        await environment.store.update({ current_manifest_sha: '', own: { deployed: undefined } });
      } else {
        await environment.remove();
      }
    });
  } finally {
    await environment.close();
  }
}

/** Where agents reach the registry through a tunnel, there is nobody but us to open it. */
function throughTunnel(cloud: KnownCloud['cloud'], { own }: EnvironmentState) {
  if (cloud.sshTunnel === undefined || own.registry === undefined || own.vm === undefined) return undefined;
  return { networks: own.vm.networks as unknown as DeploymentModel['networks'], registry: 'unsaid' as const };
}

/** The row of the micro plug-in's own file beside the manifest, when it records something that may still be there. */
async function recordedByMicro(request: DeleteEnvRequest): Promise<TakeOver | undefined> {
  const { context, inputs } = request;
  const manifest = resolve(context.cwd, request.manifest);
  if (!existsSync(legacyFileOf(manifest, context.cwd))) return undefined;
  const { root } = await evaluateInputs(request.manifest, inputs, context);
  const name = childOf(root, 'name');
  const takeOver = { manifest, name: name?.kind === 'scalar' ? scalarText(name) : '' };
  return (await importLegacyState(takeOver)) === undefined ? undefined : takeOver;
}

export interface KnownCloud {
  readonly cloud: DeploymentModel['cloud'];
  readonly endpoint: AgentEndpoint | undefined;
}

/** From the manifest as it is now; from the last deploy when the manifest cannot be evaluated any more. */
export async function knownCloud(request: KnownCloudRequest, state: EnvironmentState): Promise<KnownCloud> {
  const { context, manifest } = request;
  const inputs = hasInputFlags(request.inputs) ? request.inputs : (state.own.inputs ?? request.inputs);
  try {
    const evaluated = await evaluateInputs(manifest, inputs, context);
    const { cloud } = await loadModel(evaluated, manifest, context, {
      ...inputs,
      stemcellOptional: true,
    });
    const endpoint = cloud.mbus === undefined ? undefined : { mbus: cloud.mbus, ca: cloud.mbusCa ?? '' };
    return { cloud, endpoint };
  } catch (error) {
    const cloud = state.own.cloud === undefined ? undefined : recordedCloud(state.own.cloud);
    if (cloud === undefined) throw error;
    context.events.message('The manifest cannot be evaluated; the cloud of the last deploy is used', {
      level: 'warning',
    });
    return { cloud, endpoint: undefined };
  }
}

/** `cloud_provider` of the last deploy, as the state keeps it. */
export function recordedCloud(recorded: Readonly<Record<string, unknown>>): BuiltInCloud | ReleaseCloud {
  const { kind, plugin, executable, templates, releases, properties } = recorded;
  if (!isJsonObject(properties)) throw cloudUnreadable();
  const common: { properties: JsonObject } = { properties };
  if (kind === 'built-in' && typeof plugin === 'string') {
    return { kind, plugin, ...(typeof executable === 'string' && { executable }), ...common };
  }
  if (kind !== 'release' || !Array.isArray(templates) || !Array.isArray(releases)) throw cloudUnreadable();
  const readable = templates.map((template: unknown) => {
    if (!isJsonObject(template)) throw cloudUnreadable();
    const { name, release } = template;
    if (typeof name !== 'string' || typeof release !== 'string') throw cloudUnreadable();
    return { name, release };
  });
  const refs = releases.map((ref: unknown) => {
    if (!isJsonObject(ref)) throw cloudUnreadable();
    const { name, url, sha1 } = ref;
    if (typeof name !== 'string' || typeof url !== 'string') throw cloudUnreadable();
    return { name, url, ...(typeof sha1 === 'string' && { sha1 }) };
  });
  return { kind, templates: readable, releases: refs, ...common };
}

function cloudUnreadable(): StateUnreadable {
  return new StateUnreadable('The state file does not say which cloud the environment is in', {
    advice: 'Give the manifest and the variables that it was deployed with.',
  });
}

async function confirm(request: DeleteEnvRequest, state: EnvironmentState): Promise<void> {
  const { context } = request;
  if (!context.interactive) return;
  const disk = currentDisk(state);
  const lines = [
    ...(state.current_vm_cid === '' ? [] : [`  VM '${state.current_vm_cid}'`]),
    ...(disk === undefined
      ? []
      : [
          `  persistent disk '${disk.cid}' of ${disk.size} MiB ${request.keepDisk ? 'is kept' : 'with all of its data'}`,
        ]),
  ];
  if (lines.length === 0) return;
  const answer = await context.ask(`This deletes:\n${lines.join('\n')}\nType 'yes' to continue: `);
  if (answer.trim() !== 'yes') {
    throw new NotConfirmed('Nothing was deleted', { advice: "Answer 'yes', or use --non-interactive." });
  }
}
