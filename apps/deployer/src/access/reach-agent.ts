import { setTimeout as sleep } from 'node:timers/promises';
import { AgentNotReady, NoEnvironment } from '../errors.ts';
import type { StepScope } from '../events/event-bus.ts';
import type { AgentConnector, AgentSession } from '../ports/agent.ts';
import type { EnvironmentState } from '../state/environment-state.ts';

const pingLimitMs = 10_000;
const pauseMs = 500;

/** Session with the agent of the VM on record, at the endpoint it was made with. */
export async function openRecordedAgent(
  state: EnvironmentState,
  connect: AgentConnector,
): Promise<AgentSession> {
  const { endpoint } = state.own;
  if (state.current_vm_cid === '' || endpoint === undefined) {
    throw new NoEnvironment('No current deployment found', {
      advice: 'Deploy it first: microbosh create-env MANIFEST',
    });
  }
  return connect({
    mbus: endpoint.mbus,
    ca: endpoint.ca === '' ? undefined : endpoint.ca,
    ...(endpoint.server_name === undefined ? {} : { serverName: endpoint.server_name }),
    directorUuid: state.director_id,
  });
}

/** Resolves when the agent answers; an agent that answered before gets ten seconds. */
export async function reachAgent(
  agent: AgentSession,
  vmCid: string,
  step: StepScope,
  signal: AbortSignal,
): Promise<void> {
  const deadline = Date.now() + pingLimitMs;
  for (;;) {
    try {
      await agent.ping(AbortSignal.any([signal, AbortSignal.timeout(pingLimitMs)]));
      return;
    } catch (error) {
      signal.throwIfAborted();
      const trouble = agent.explain(error);
      step.progress({ message: trouble.text });
      if (trouble.hopeless || Date.now() + pauseMs >= deadline) {
        throw new AgentNotReady(`The agent on VM '${vmCid}' does not answer: ${trouble.text}`, {
          details: { vmCid, kind: trouble.kind },
          cause: error,
        });
      }
    }
    await sleep(pauseMs, undefined, { signal });
  }
}
