import { errorCode } from '@microbosh/errors';
import { AgentNotReady } from '../errors.ts';
import type { StepScope } from '../events/event-bus.ts';
import type { AgentSession, AgentTrouble } from '../ports/agent.ts';
import type { DeployRun } from './deploy-run.ts';

/** Pings until the agent answers. What stands in the way is shown while it lasts; hopeless troubles end the wait at once. */
export async function waitForAgent(
  run: DeployRun,
  agent: AgentSession,
  timeoutMs: number,
  step?: StepScope,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  let lastError: unknown;
  let trouble: AgentTrouble | undefined;
  for (;;) {
    run.effects.throwIfCancelled();
    try {
      const attempt = AbortSignal.timeout(Math.max(500, Math.min(10_000, deadline - Date.now())));
      await agent.ping(AbortSignal.any([run.signal, attempt]));
      return;
    } catch (error) {
      run.effects.throwIfCancelled();
      lastError = error;
      const { tunnelTrouble } = run;
      const explained: AgentTrouble =
        tunnelTrouble === undefined
          ? agent.explain(error)
          : { kind: 'tunnel', text: `it cannot get its settings: ${tunnelTrouble}`, hopeless: true };
      if (explained.text !== trouble?.text) step?.progress({ message: explained.text });
      trouble = explained;
    }
    if (trouble.hopeless || Date.now() + run.limits.pollMs >= deadline) break;
    await run.pause(run.limits.pollMs).catch(() => run.effects.throwIfCancelled());
  }
  throw await agentNotReady(run, timeoutMs, trouble, lastError);
}

async function agentNotReady(
  run: DeployRun,
  timeoutMs: number,
  trouble: AgentTrouble,
  cause: unknown,
): Promise<AgentNotReady> {
  const vmCid = run.state.current_vm_cid;
  const console = await run.cloud.consoleLog?.(run.effects.context(), vmCid).catch(() => undefined);
  const tail = console?.trimEnd().split('\n').slice(-15).join('\n');
  const waited = trouble.hopeless ? 'and waiting cannot help' : `in ${Math.round(timeoutMs / 1000)} s`;
  return new AgentNotReady(
    `The agent on VM '${vmCid}' did not answer, ${waited}: ${trouble.text}` +
      (tail === undefined || tail === '' ? '' : `\nEnd of the console of VM '${vmCid}':\n${tail}`),
    {
      details: { vmCid, kind: trouble.kind, ...(errorCode(cause) ? { reason: errorCode(cause) ?? '' } : {}) },
      cause,
    },
  );
}
