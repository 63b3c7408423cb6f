import { AgentClient } from '@microbosh/agent-client';
import type { AgentClientOptions } from '@microbosh/agent-client';
import { proxyRoute } from '../access/proxy-route.ts';
import { connectorOver } from '../access/routed-connector.ts';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { textOption } from '../cli/context.ts';
import { NoEnvironment } from '../errors.ts';
import { environmentPaths } from '../state/environment-paths.ts';
import type { EnvironmentPaths } from '../state/environment-paths.ts';
import type { AgentEndpoint, EnvironmentState } from '../state/environment-state.ts';
import { StateStore } from '../state/state-store.ts';

export interface RecordedEnvironment {
  readonly paths: EnvironmentPaths;
  readonly state: EnvironmentState;
  /** `<group>/0` */
  readonly instance: string;
  /** To the agent of the VM on record; to be closed. */
  readonly client: AgentClient;
}

/** For commands that need nothing but the state and the agent: no lock, no cloud, no variables. */
export async function openRecorded(
  context: Pick<CommandContext, 'cwd' | 'env'>,
  args: readonly string[],
  options: CommandOptions,
): Promise<RecordedEnvironment> {
  const paths = environmentPaths(args[0] ?? '', textOption(options, 'state'), context.cwd);
  const { current: state } = await StateStore.open(paths);
  const { endpoint, group } = state.own;
  if (endpoint === undefined || state.current_vm_cid === '') {
    throw new NoEnvironment('No current deployment found', {
      advice: 'Deploy it first: microbosh create-env MANIFEST',
    });
  }
  const client = clientOf(endpoint, state.director_id, context.env);
  return { paths, state, instance: `${group ?? 'unknown'}/0`, client };
}

/** To the agent of a VM, at the endpoint that it was made with. */
export function clientOf(
  endpoint: AgentEndpoint,
  replyTo: string,
  env: CommandContext['env'],
  timing: AgentClientOptions['timing'] = {},
): AgentClient {
  const connector = connectorOver(proxyRoute(env));
  return new AgentClient({
    mbus: endpoint.mbus,
    replyTo,
    timing,
    ...(connector === undefined ? {} : { connector }),
    ...(endpoint.ca === '' ? {} : { ca: endpoint.ca }),
    ...(endpoint.server_name === undefined ? {} : { serverName: endpoint.server_name }),
  });
}
