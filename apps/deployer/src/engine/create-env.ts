import { resolve } from 'node:path';
import type { EvaluatedManifest } from '@microbosh/spec';
import type { CommandContext } from '../cli/context.ts';
import { Environment } from '../environment.ts';
import { PlanOutdated } from '../errors.ts';
import { loadModel } from '../inputs/load-model.ts';
import { secretsOfVarsStore } from '../inputs/vars-store-file.ts';
import type { DeployerDependencies } from '../ports/deployer-dependencies.ts';
import type { EnvironmentPaths } from '../state/environment-paths.ts';
import type { EnvironmentState, RememberedInputs } from '../state/environment-state.ts';
import { deploy, validateDeployment } from './deploy.ts';
import { isVmGone } from './lost-vm.ts';
import type { Deployment, DeployFlags, ExpectedPlan } from './deploy.ts';

export interface CreateEnvRequest {
  readonly context: CommandContext;
  readonly manifest: string;
  readonly paths: EnvironmentPaths;
  readonly inputs: RememberedInputs;
  readonly evaluated: EvaluatedManifest;
  readonly flags: DeployFlags;
  readonly dependencies: DeployerDependencies;
  /** Carry out this plan and no other. */
  readonly expected?: ExpectedPlan & { readonly serial: number; readonly manifestSha: string };
}

export async function createEnv(request: CreateEnvRequest): Promise<'deployed' | 'unchanged'> {
  const { context, paths, inputs, flags, dependencies } = request;
  for (const secret of await secretsOfVarsStore(inputs.varsStore, context.env)) context.secrets.add(secret);
  const model = await loadModel(request.evaluated, request.manifest, context, inputs);
  const environment = await Environment.open(paths, 'create-env', context, {
    manifest: resolve(context.cwd, request.manifest),
    name: model.name,
  });
  try {
    const { expected } = request;
    const { serial } = environment.store.current.own;
    if (
      expected !== undefined &&
      (expected.serial !== serial || expected.manifestSha !== model.manifestSha)
    ) {
      throw new PlanOutdated('The state or the manifest changed since the plan was made', {
        details: { planned: expected.serial, now: serial },
        advice: 'Make a new plan: microbosh plan MANIFEST --out PLAN',
      });
    }
    // What was taken over is on record before anything of it is touched.
    if (environment.store.current.own.imported !== undefined && !environment.store.existed) {
      await environment.store.update({});
    }
    dependencies.warmUp(model.cloud);
    const deployment = await validateDeployment(
      model,
      request.evaluated,
      environment,
      dependencies,
      flags,
      context,
    );
    try {
      if (
        isDeployed(deployment, environment, flags) &&
        !(await isVmGone(deployment, environment, dependencies, context))
      ) {
        await environment.store.update({ own: { artifacts: [...deployment.artifacts.files] } });
        return 'unchanged';
      }
      await deploy(deployment, environment, inputs, dependencies, flags, context, expected);
      return 'deployed';
    } finally {
      await deployment.artifacts.close();
    }
  } finally {
    await environment.close();
  }
}

/** The last deploy went through with the same content, and nothing is left to clean up. */
function isDeployed(deployment: Deployment, environment: Environment, flags: DeployFlags): boolean {
  const { current } = environment.store;
  return (
    !flags.recreate &&
    !flags.recreateDisk &&
    current.own.deployed === deployment.desired.deployed &&
    current.current_manifest_sha === deployment.model.manifestSha &&
    current.own.leftover_vms.length === 0 &&
    current.own.previous === undefined &&
    (current.disks ?? []).filter((disk) => !isKept(disk.cid, current, deployment.desired.now)).length <= 1 &&
    (current.stemcells?.length ?? 0) <= 1 &&
    environment.journal.openIntents.length === 0
  );
}

/** Retired, and its time is not over. */
function isKept(diskCid: string, state: EnvironmentState, now: string): boolean {
  return (state.own.kept_until?.[diskCid] ?? '') > now;
}
