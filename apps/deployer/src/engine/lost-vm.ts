import type { Environment } from '../environment.ts';
import type { DeployerDependencies } from '../ports/deployer-dependencies.ts';
import { Session, settingsOf } from './deploy.ts';
import type { Deployment, EngineContext } from './deploy.ts';
import { observeVm } from './observe.ts';

const pingMs = 2_000;

/**
 * True when the cloud no longer has the VM on record: its machine was killed, or deleted by somebody else. The cloud is
 * asked only when the agent does not answer.
 */
export async function isVmGone(
  deployment: Deployment,
  environment: Environment,
  dependencies: DeployerDependencies,
  context: EngineContext,
): Promise<boolean> {
  const { model, access, inputs, artifacts } = deployment;
  if (await answers(environment, dependencies, context.signal)) return false;
  const session = await Session.open({
    cloud: model.cloud,
    delivery: undefined,
    group: model.group.name,
    settings: settingsOf(model.cloud, access.settingsMbus),
    inputs,
    stemcellApiVersion: artifacts.stemcell.apiVersion,
    environment,
    dependencies,
    skipDrain: true,
    limits: [model.limits],
    fallbackEndpoint: undefined,
    context,
  });
  try {
    return (await observeVm(session.run)) === 'absent';
  } finally {
    await session.close();
  }
}

async function answers(
  { store }: Environment,
  dependencies: DeployerDependencies,
  signal: AbortSignal,
): Promise<boolean> {
  const { endpoint } = store.current.own;
  if (endpoint === undefined) return false;
  const agent = await dependencies.connectAgent({
    mbus: endpoint.mbus,
    ca: endpoint.ca === '' ? undefined : endpoint.ca,
    ...(endpoint.server_name === undefined ? {} : { serverName: endpoint.server_name }),
    directorUuid: store.current.director_id,
  });
  try {
    await agent.ping(AbortSignal.any([signal, AbortSignal.timeout(pingMs)]));
    return true;
  } catch {
    signal.throwIfAborted();
    return false;
  } finally {
    await agent.close();
  }
}
