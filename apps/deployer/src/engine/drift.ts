import { currentStemcell } from '../state/environment-state.ts';
import { Environment } from '../environment.ts';
import { Session, settingsOf } from './deploy.ts';
import { knownCloud } from './delete-env.ts';
import type { KnownCloudRequest } from './delete-env.ts';
import { observe } from './observe.ts';
import type { DeployerDependencies } from '../ports/deployer-dependencies.ts';
import type { EnvironmentPaths } from '../state/environment-paths.ts';

export interface DriftRequest extends KnownCloudRequest {
  readonly paths: EnvironmentPaths;
  readonly dependencies: DeployerDependencies;
}

/** Where the cloud or the agent contradict the state, one sentence each. Changes nothing. */
export async function findDrift(request: DriftRequest): Promise<readonly string[]> {
  const { context, dependencies } = request;
  const environment = await Environment.open(request.paths, 'drift', context);
  try {
    const { current } = environment.store;
    const known = await knownCloud(request, current);
    const session = await Session.open({
      cloud: known.cloud,
      delivery: undefined,
      group: current.own.group ?? 'unknown',
      settings: settingsOf(known.cloud, current.own.endpoint?.mbus ?? ''),
      inputs: undefined,
      stemcellApiVersion: currentStemcell(current)?.api_version ?? 1,
      environment,
      dependencies,
      skipDrain: true,
      fallbackEndpoint: undefined,
      context,
    });
    try {
      const observed = await observe(session.run);
      const found: string[] = [];
      if (session.run.effects.hasOpenIntents)
        found.push('an earlier run was interrupted in the middle of a change');
      if (observed.vm === 'absent') found.push(`VM '${current.current_vm_cid}' no longer exists`);
      if (observed.agent === 'silent') {
        found.push(
          `the agent of VM '${current.current_vm_cid}' does not answer: ${observed.agentTrouble ?? ''}`,
        );
      }
      for (const [cid, presence] of Object.entries(observed.disks)) {
        if (presence === 'absent') found.push(`disk '${cid}' no longer exists`);
      }
      if (observed.agent === 'answers') {
        const { jobState } = await (await session.run.agent()).getState(context.signal);
        const wanted = current.own.stopped ? 'stopped' : 'running';
        if (jobState !== wanted) found.push(`the jobs are '${jobState}' and should be '${wanted}'`);
      }
      return found;
    } finally {
      await session.close();
    }
  } finally {
    await environment.close();
  }
}
