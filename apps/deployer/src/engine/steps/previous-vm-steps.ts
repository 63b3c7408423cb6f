import type { StageScope } from '../../events/event-bus.ts';
import type { AgentSession } from '../../ports/agent.ts';
import type { DeployRun } from '../deploy-run.ts';
import { isGone } from '../effects.ts';
import { stopJobs } from './vm-steps.ts';

/** Takes service and disk away from the VM that serves until now. Can be repeated. It stays, to be gone back to. */
export async function releasePreviousVm(run: DeployRun, stage: StageScope): Promise<void> {
  const { previous } = run.state.own;
  if (previous === undefined || previous.released) return;
  const vmCid = previous.vm.cid;
  const agent = await run.agentAt(vmCid, previous.endpoint);
  const silent = !(await answers(run, agent, run.limits.knownAgentMs));
  if (!silent) {
    await run.effects.change('agent:stop', { vm_cid: vmCid }, () => stopJobs(run, agent, stage));
    for (const cid of await agent.listDisk(run.uninterrupted)) {
      await stage.step(`Unmounting disk '${cid}'`, () => agent.unmountDisk(cid, run.uninterrupted));
    }
    await detachAll(run, vmCid, agent, stage);
  }
  if (silent) {
    // It is nothing to go back to, and only its end makes sure that nobody writes to the disk.
    await stage.step(`Deleting VM '${vmCid}'`, () =>
      run.effects.change('delete_vm', { vm_cid: vmCid }, async (context) => {
        try {
          await run.cloud.deleteVm(context, vmCid);
        } catch (error) {
          if (!isGone(error)) throw error;
        }
      }),
    );
    await run.store.update({ own: { previous: undefined } });
    return;
  }
  await run.store.update({ own: { previous: { ...previous, released: true } } });
}

/** Persistent disks on record that this VM may have, through the agent and the cloud; not one made for another VM. */
export async function detachAll(
  run: DeployRun,
  vmCid: string,
  agent: AgentSession,
  stage: StageScope,
): Promise<void> {
  for (const { cid } of run.state.disks ?? []) {
    if (cid === run.madeDisk) continue;
    await stage.step(`Detaching disk '${cid}'`, () =>
      run.effects.change('detach_disk', { vm_cid: vmCid, disk_cid: cid }, async (context) => {
        await agent.removePersistentDisk(cid, run.uninterrupted);
        try {
          await run.cloud.detachDisk(context, vmCid, cid);
        } catch (error) {
          if (!isGone(error)) throw error;
        }
      }),
    );
  }
}

export async function answers(run: DeployRun, agent: AgentSession, timeoutMs: number): Promise<boolean> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      await agent.ping(AbortSignal.timeout(Math.max(500, Math.min(5_000, timeoutMs))));
      return true;
    } catch (error) {
      if (agent.explain(error).hopeless || Date.now() + run.limits.pollMs >= deadline) return false;
    }
    await run.pause(run.limits.pollMs).catch(() => run.effects.throwIfCancelled());
  }
}
