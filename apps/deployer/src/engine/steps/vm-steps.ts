import type { CreatedVm } from '@microbosh/cpi';
import { randomUUID } from 'node:crypto';
import { buildVmMetadata } from '@microbosh/spec';
import type { DeploymentModel } from '@microbosh/spec';
import { digestOf, plainJson } from '../../state/state-document.ts';
import type { StageScope, StepScope } from '../../events/event-bus.ts';
import type { DeployRun } from '../deploy-run.ts';
import { isGone, isNotImplemented, recordStemcell, recordVm } from '../effects.ts';
import { waitForAgent } from '../wait-for-agent.ts';
import { findStemcell } from '../plan.ts';

export async function createStemcell(run: DeployRun, step: StepScope): Promise<void> {
  const { stemcell } = run.inputs;
  const args = {
    name: stemcell.name,
    version: stemcell.version,
    api_version: stemcell.apiVersion,
    digest: stemcell.digest,
  };
  const { existing } = stemcell;
  if (existing !== undefined) {
    const change = recordStemcell(run.store, existing, args);
    const adopted = new Set(run.state.own.adopted_stemcells).add(existing);
    await run.store.update({ ...change, own: { ...change.own, adopted_stemcells: [...adopted] } });
    return;
  }
  step.progress({ message: 'unpacking' });
  const image = await stemcell.imagePath();
  await run.effects.create(
    'stemcell',
    args,
    async (context) => ({ cid: await run.cloud.createStemcell(context, image, stemcell.cloudProperties) }),
    ({ cid }) => recordStemcell(run.store, cid, args),
  );
}

export async function stopInstance(run: DeployRun, stage: StageScope): Promise<void> {
  const agent = await run.agent();
  const instance = `${run.group}/0`;
  await run.store.update({ own: { applied: undefined } });
  await stage.step(`Running the pre-stop scripts '${instance}'`, () =>
    agent.runScript('pre-stop', run.uninterrupted),
  );
  if (!run.skipDrain) {
    await stage.step(`Draining jobs on instance '${instance}'`, () => agent.drain(run.uninterrupted));
  }
  await stage.step(`Stopping jobs on instance '${instance}'`, () => agent.stop(run.uninterrupted));
  await stage.step(`Running the post-stop scripts '${instance}'`, () =>
    agent.runScript('post-stop', run.uninterrupted),
  );
}

export async function unmountDisks(run: DeployRun, stage: StageScope): Promise<void> {
  const agent = await run.agent();
  await run.updateVmIfKnown({ mounted_disk: '' });
  for (const cid of await agent.listDisk(run.uninterrupted)) {
    await stage.step(`Unmounting disk '${cid}'`, () => agent.unmountDisk(cid, run.uninterrupted));
  }
}

/** Of the current VM or of a leftover one. */
export async function deleteVm(run: DeployRun, vmCid: string, step: StepScope): Promise<void> {
  if (vmCid === '') throw new Error('a VM without CID is never deleted');
  await run.effects.change('delete_vm', { vm_cid: vmCid }, async (context) => {
    try {
      await run.cloud.deleteVm(context, vmCid);
    } catch (error) {
      if (!isGone(error)) throw error;
      step.skip('VM not found');
    }
  });
  const leftovers = run.state.own.leftover_vms.filter((other) => other !== vmCid);
  await run.store.update(
    run.state.current_vm_cid === vmCid
      ? { current_vm_cid: '', own: { vm: undefined, applied: undefined, leftover_vms: leftovers } }
      : { own: { leftover_vms: leftovers } },
  );
}

export async function createVm(run: DeployRun, stage: StageScope): Promise<void> {
  const { inputs } = run;
  const stemcell = wantedStemcell(run);
  await stage.step(`Creating VM for instance '${run.group}/0' from stemcell '${stemcell.cid}'`, async () => {
    const agentId = randomUUID();
    const args = plainJson({
      agent_id: agentId,
      fingerprint: inputs.vmFingerprint,
      address: inputs.address,
      networks: inputs.model.networks,
      stemcell: stemcell.cid,
    });
    // Known before the VM is: an agent that is up cannot be reached without it.
    await run.store.update({ own: { endpoint: inputs.endpoint, applied: undefined } });
    await run.effects.create<CreatedVm>(
      'vm',
      args,
      (context) =>
        run.cloud.createVm(
          context,
          agentId,
          stemcell.cid,
          inputs.model.vm.cloudProperties,
          inputs.model.networks,
          (run.state.disks ?? []).map((disk) => disk.cid),
          inputs.env,
        ),
      ({ cid, networks }) => recordVm(cid, args, networks === undefined ? undefined : plainJson(networks)),
    );
  });
}

/** Part of making a VM in the original's output: no line of its own. */
export async function setVmMetadata(run: DeployRun): Promise<void> {
  const { inputs } = run;
  const metadata = buildVmMetadata(inputs.model, new Date().toISOString());
  const vmCid = run.vm.cid;
  await run.effects.change('set_vm_metadata', { vm_cid: vmCid }, async (context) => {
    try {
      await run.cloud.setVmMetadata(context, vmCid, metadata);
    } catch (error) {
      if (!isNotImplemented(error)) throw error;
    }
  });
  await run.store.update({
    current_stemcell_id: wantedStemcell(run).id,
    own: { vm: { ...run.vm, metadata: metadataDigest(inputs.model) } },
  });
}

/** Of the metadata that stays the same from VM to VM. */
export function metadataDigest(model: DeploymentModel): string {
  return digestOf(buildVmMetadata(model, ''));
}

export async function waitForVm(run: DeployRun, stage: StageScope): Promise<void> {
  const { cid, ready } = run.vm;
  const name = ready
    ? `Waiting for the agent on VM '${cid}'`
    : `Waiting for the agent on VM '${cid}' to be ready`;
  await stage.step(name, async (step) => {
    try {
      await waitForAgent(run, await run.agent(), ready ? run.limits.knownAgentMs : run.limits.agentMs, step);
    } catch (error) {
      if (!run.signal.aborted) await run.updateVm({ gave_up: true });
      throw error;
    }
    await run.updateVm({ ready: true, gave_up: false });
  });
}

function wantedStemcell(run: DeployRun) {
  const { stemcell } = run.inputs;
  const found = findStemcell({ stemcell }, run.state);
  if (found === undefined) throw new Error('the stemcell is not in the cloud');
  return found;
}
