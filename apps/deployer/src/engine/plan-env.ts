import { resolve } from 'node:path';
import type { EvaluatedManifest } from '@microbosh/spec';
import type { CommandContext } from '../cli/context.ts';
import { Environment } from '../environment.ts';
import { loadModel } from '../inputs/load-model.ts';
import { secretsOfVarsStore } from '../inputs/vars-store-file.ts';
import { changedProperties } from '../inputs/manifest-properties.ts';
import type { PropertyChange } from '../inputs/manifest-properties.ts';
import type { DeployerDependencies } from '../ports/deployer-dependencies.ts';
import type { EnvironmentPaths } from '../state/environment-paths.ts';
import type { RememberedInputs } from '../state/environment-state.ts';
import { Session, planRun, settingsOf, validateDeployment } from './deploy.ts';
import type { DeployFlags } from './deploy.ts';
import type { Observation, Step } from './plan.ts';

export interface PlanRequest {
  readonly context: CommandContext;
  readonly manifest: string;
  readonly paths: EnvironmentPaths;
  readonly inputs: RememberedInputs;
  readonly evaluated: EvaluatedManifest;
  readonly flags: DeployFlags;
  readonly dependencies: DeployerDependencies;
}

/** A plan as a value: what a deploy would do, and what it was made for. */
export interface DeployPlan {
  readonly manifestSha: string;
  readonly deployed: string;
  /** Count of saves of the state that it was made for. */
  readonly serial: number;
  readonly observed: Observation;
  readonly steps: readonly Step[];
  /** In the manifest since the last deploy that went through; absent: what that one set is not on record. */
  readonly changes?: readonly PropertyChange[];
}

/** What a deploy would do now. The cloud is asked, nothing is changed in it. */
export async function planEnv(request: PlanRequest): Promise<DeployPlan> {
  const { context, paths, inputs, flags, dependencies } = request;
  for (const secret of await secretsOfVarsStore(inputs.varsStore, context.env)) context.secrets.add(secret);
  const model = await loadModel(request.evaluated, request.manifest, context, inputs);
  const environment = await Environment.open(paths, 'plan', context, {
    manifest: resolve(context.cwd, request.manifest),
    name: model.name,
  });
  try {
    const deployment = await validateDeployment(
      model,
      request.evaluated,
      environment,
      dependencies,
      flags,
      context,
    );
    try {
      const session = await Session.open({
        cloud: model.cloud,
        delivery: undefined,
        group: model.group.name,
        settings: settingsOf(model.cloud, deployment.access.settingsMbus),
        inputs: deployment.inputs,
        stemcellApiVersion: deployment.artifacts.stemcell.apiVersion,
        environment,
        dependencies,
        skipDrain: flags.skipDrain,
        limits: [model.limits, flags.limits],
        fallbackEndpoint: undefined,
        context,
      });
      try {
        const { properties: known } = environment.store.current.own;
        const { observed, steps } = await planRun(session.run, deployment.desired);
        return {
          manifestSha: model.manifestSha,
          deployed: deployment.desired.deployed,
          serial: environment.store.current.own.serial,
          observed,
          steps,
          ...(known === undefined ? {} : { changes: changedProperties(known, deployment.inputs.properties) }),
        };
      } finally {
        await session.close();
      }
    } finally {
      await deployment.artifacts.close();
    }
  } finally {
    await environment.close();
  }
}
