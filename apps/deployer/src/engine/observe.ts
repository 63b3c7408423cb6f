import { errorCode } from '@microbosh/errors';
import type { DeployRun } from './deploy-run.ts';
import type { Observation } from './plan.ts';

/** Asks cloud and agent about everything on record. Changes nothing. */
export async function observe(run: DeployRun): Promise<Observation> {
  const { state } = run;
  const disks: Record<string, 'present' | 'absent' | 'unknown'> = {};
  for (const { cid } of state.disks ?? []) {
    disks[cid] = presence(await askCloud(() => run.cloud.hasDisk(run.effects.context(), cid)));
  }
  const old = state.own.previous?.vm.cid;
  const previous =
    old === undefined
      ? {}
      : { previous: presence(await askCloud(() => run.cloud.hasVm(run.effects.context(), old))) };
  if (state.current_vm_cid === '') return { vm: 'none', agent: 'not-asked', disks, ...previous };
  const vm = await observeVm(run);
  if (vm === 'absent') return { vm, agent: 'not-asked', disks, ...previous };
  return { vm, disks, ...previous, ...(await askAgent(run)) };
}

/** The VM on record. */
export async function observeVm(run: DeployRun): Promise<'present' | 'absent' | 'unknown'> {
  return presence(await askCloud(() => run.cloud.hasVm(run.effects.context(), run.state.current_vm_cid)));
}

function presence(answer: boolean | undefined): 'present' | 'absent' | 'unknown' {
  if (answer === undefined) return 'unknown';
  return answer ? 'present' : 'absent';
}

/** Undefined: the CPI cannot tell. */
async function askCloud(question: () => Promise<boolean>): Promise<boolean | undefined> {
  try {
    return await question();
  } catch (error) {
    if (errorCode(error) === 'E_CPI_NOT_IMPLEMENTED') return undefined;
    throw error;
  }
}

async function askAgent(run: DeployRun): Promise<Pick<Observation, 'agent' | 'agentTrouble'>> {
  const { own, current_vm_cid: vmCid } = run.state;
  if (own.endpoint === undefined) return { agent: 'not-asked' };
  const agent = await run.agent();
  const ask = () => agent.ping(AbortSignal.any([run.signal, AbortSignal.timeout(2_000)]));
  let first: unknown;
  try {
    await ask();
    return { agent: 'answers' };
  } catch (error) {
    run.effects.throwIfCancelled();
    first = error;
  }
  // One that never answered yet is waited for when the plan says so.
  if (own.vm?.ready !== true || agent.explain(first).hopeless) {
    return { agent: 'silent', agentTrouble: agent.explain(first).text };
  }
  return run.events.step(`Waiting for the agent on VM '${vmCid}'`, async (step) => {
    const deadline = Date.now() + run.limits.knownAgentMs;
    for (let last = first; ;) {
      const trouble = agent.explain(last);
      step.progress({ message: trouble.text });
      if (Date.now() >= deadline) {
        step.skip(`it does not answer: ${trouble.text}`);
        return { agent: 'silent', agentTrouble: trouble.text };
      }
      await run.pause(run.limits.pollMs).catch(() => run.effects.throwIfCancelled());
      try {
        await ask();
        return { agent: 'answers' };
      } catch (error) {
        run.effects.throwIfCancelled();
        last = error;
      }
    }
  });
}
