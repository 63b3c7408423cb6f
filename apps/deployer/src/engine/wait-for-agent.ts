import { errorCode } from '@microbosh/errors';
import { AgentNotReady } from '../errors.ts';
import type { StepScope } from '../events/event-bus.ts';
import type { AgentSession, AgentTrouble } from '../ports/agent.ts';
import { readBootstrap } from './bootstrap-progress.ts';
import type { DeployRun } from './deploy-run.ts';

/** The console is looked at no more often than this: some clouds count their requests. */
const pollsPerLook = 4;
const lookLimitMs = 10_000;

/** Often at first, where a machine is up in a second; then as the limits say. */
const firstPauseMs = 50;
const pauseGrowth = 1.1;

/** Pings until the agent answers. What stands in the way is shown while it lasts; hopeless troubles end the wait at once. */
export async function waitForAgent(
  run: DeployRun,
  agent: AgentSession,
  timeoutMs: number,
  step?: StepScope,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  let nextLook = Date.now() + pollsPerLook * run.limits.pollMs;
  let bootstrap: AgentTrouble | undefined;
  let lastError: unknown;
  let trouble: AgentTrouble | undefined;
  let pauseMs = Math.min(firstPauseMs, run.limits.pollMs);
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
      if (!explained.hopeless && Date.now() >= nextLook) {
        bootstrap = await bootstrapTrouble(run);
        nextLook = Date.now() + pollsPerLook * run.limits.pollMs;
      }
      const shown = explained.hopeless || bootstrap === undefined ? explained : bootstrap;
      if (shown.text !== trouble?.text) step?.progress({ message: shown.text });
      trouble = shown;
    }
    if (trouble.hopeless || Date.now() + pauseMs >= deadline) break;
    await run.pause(pauseMs).catch(() => run.effects.throwIfCancelled());
    pauseMs = Math.min(pauseMs * pauseGrowth, run.limits.pollMs);
  }
  throw await agentNotReady(run, timeoutMs, trouble, lastError);
}

/** Where the agent is in its bootstrap, when the console tells. */
async function bootstrapTrouble(run: DeployRun): Promise<AgentTrouble | undefined> {
  const { text, failed } = readBootstrap((await readConsole(run)) ?? '');
  if (text === undefined) return undefined;
  // An agent that ended is started again, and tries again.
  return { kind: failed ? 'bootstrap-failed' : 'bootstrapping', text, hopeless: false };
}

async function readConsole(run: DeployRun): Promise<string | undefined> {
  const signal = AbortSignal.any([run.signal, AbortSignal.timeout(lookLimitMs)]);
  return run.cloud
    .consoleLog?.({ ...run.effects.context(), signal }, run.state.current_vm_cid)
    .catch(() => undefined);
}

async function agentNotReady(
  run: DeployRun,
  timeoutMs: number,
  trouble: AgentTrouble,
  cause: unknown,
): Promise<AgentNotReady> {
  const vmCid = run.state.current_vm_cid;
  const tail = (await readConsole(run))?.trimEnd().split('\n').slice(-15).join('\n');
  const witness = await run.registryWitness?.(vmCid);
  const waited = trouble.hopeless ? 'and waiting cannot help' : `in ${Math.round(timeoutMs / 1000)} s`;
  return new AgentNotReady(
    `The agent on VM '${vmCid}' did not answer, ${waited}: ${trouble.text}` +
      (witness === undefined ? '' : `\n${witness}`) +
      (tail === undefined || tail === '' ? '' : `\nEnd of the console of VM '${vmCid}':\n${tail}`),
    {
      details: {
        vmCid,
        kind: trouble.kind,
        ...(errorCode(cause) ? { reason: errorCode(cause) ?? '' } : {}),
        ...(witness === undefined ? {} : { registry: witness }),
      },
      cause,
    },
  );
}
