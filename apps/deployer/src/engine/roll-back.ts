import { messageChain } from '@microbosh/errors';
import type { StageScope } from '../events/event-bus.ts';
import type { DeployRun } from './deploy-run.ts';
import { attachDisk } from './steps/disk-steps.ts';
import { waitUntilRunning, postStart } from './steps/instance-steps.ts';
import { answers, detachAll } from './steps/previous-vm-steps.ts';
import { deleteVm } from './steps/vm-steps.ts';

export interface RollBackOptions {
  /** The new VM stays for a look at it; the next deploy deletes it. */
  readonly keepBroken: boolean;
}

/**
 * Back to the VM that served before, after a deploy that failed. The disk that serves now goes along, with everything
 * that was written to it meanwhile. Killed in its middle, the next run goes on with whichever VM is the current one.
 */
export async function rollBack(run: DeployRun, options: RollBackOptions): Promise<void> {
  const { previous } = run.state.own;
  if (previous === undefined) return;
  const broken = run.state.current_vm_cid;
  await run.events.stage(`going back to VM '${previous.vm.cid}'`, async (stage) => {
    const kept = previous.released ? await takeDisksFrom(run, broken, options, stage) : options.keepBroken;
    const { leftover_vms: leftovers } = run.state.own;
    await run.store.update({
      current_vm_cid: previous.vm.cid,
      current_stemcell_id: previous.stemcell_id,
      own: {
        vm: { ...previous.vm, ...(previous.released ? { mounted_disk: '' } : {}) },
        endpoint: previous.endpoint,
        previous: undefined,
        applied: undefined,
        leftover_vms:
          run.state.current_vm_cid === '' || leftovers.includes(broken) ? leftovers : [...leftovers, broken],
      },
    });
    if (!kept && run.state.own.leftover_vms.includes(broken)) {
      await stage.step(`Deleting VM '${broken}'`, (step) => deleteVm(run, broken, step));
    }
    if (previous.released) await serveAgain(run, stage);
    await run.store.update(run.deploymentBefore());
  });
  run.events.message(`VM '${previous.vm.cid}' serves again, with the deployment from before this run.`);
}

/** Whether the VM can stay: one that cannot be asked to unmount has to go before another may have its disk. */
async function takeDisksFrom(
  run: DeployRun,
  vmCid: string,
  options: RollBackOptions,
  stage: StageScope,
): Promise<boolean> {
  if (vmCid === '') return false;
  const agent = await run.agent();
  if (!(await answers(run, agent, run.limits.knownAgentMs))) {
    if (options.keepBroken) {
      run.events.message(
        `VM '${vmCid}' cannot be kept: its agent does not answer, and only its deletion makes sure that it no longer writes to the disk`,
        { level: 'warning' },
      );
    }
    await stage.step(`Deleting VM '${vmCid}'`, (step) => deleteVm(run, vmCid, step));
    return false;
  }
  // Interrupted from here on, the next run has to start them again.
  await run.store.update({ own: { applied: undefined } });
  await run.updateVm({ mounted_disk: '' });
  await stage.step(`Stopping jobs on VM '${vmCid}'`, () =>
    run.effects.change('agent:stop', { vm_cid: vmCid }, () => agent.stop(run.uninterrupted)),
  );
  for (const cid of await agent.listDisk(run.uninterrupted)) {
    await stage.step(`Unmounting disk '${cid}'`, () => agent.unmountDisk(cid, run.uninterrupted));
  }
  await detachAll(run, vmCid, agent, stage);
  return options.keepBroken;
}

async function serveAgain(run: DeployRun, stage: StageScope): Promise<void> {
  const disk = run.currentDiskCid;
  if (disk !== undefined) await attachDisk(run, { cid: disk }, stage);
  const agent = await run.agent();
  await stage.step(`Starting jobs on instance '${run.group}/0'`, () =>
    run.effects.change('agent:start', {}, async () => {
      await agent.runScript('pre-start', run.uninterrupted);
      await agent.start(run.uninterrupted);
    }),
  );
  await waitUntilRunning(run, stage);
  await postStart(run, stage);
}

/** What the operator has to know when going back failed as well. */
export function rollBackFailed(error: unknown): string {
  return (
    `Going back to the previous VM failed: ${messageChain(error).join(': ')}. ` +
    'Both VMs and all disks are on record; run the same command again to continue.'
  );
}
