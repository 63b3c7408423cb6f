import type { CreatedVm } from '@microbosh/cpi';
import { randomUUID } from 'node:crypto';
import { buildVmMetadata } from '@microbosh/spec';
import type { DeploymentModel } from '@microbosh/spec';
import { addressOf, endpointAt, isUnknownAddress } from '../../access/agent-access.ts';
import { digestOf, plainJson } from '../../state/state-document.ts';
import { AgentNotReady } from '../../errors.ts';
import type { StageScope, StepScope } from '../../events/event-bus.ts';
import type { AgentSession } from '../../ports/agent.ts';
import type { PreviousVm } from '../../state/environment-state.ts';
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
  await run.store.update({ own: { applied: undefined } });
  await stopJobs(run, await run.agent(), stage);
}

export async function stopJobs(run: DeployRun, agent: AgentSession, stage: StageScope): Promise<void> {
  const instance = `${run.group}/0`;
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

/** Of the current VM, the previous one or a leftover one. */
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
      : {
          own: {
            leftover_vms: leftovers,
            ...(run.state.own.previous?.vm.cid === vmCid ? { previous: undefined } : {}),
          },
        },
  );
}

/** `besides`: the VM that serves stays, to go back to. */
export async function createVm(run: DeployRun, stage: StageScope, besides: boolean): Promise<void> {
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
    const previous = besides ? servingVm(run) : undefined;
    // Known before the VM is: an agent that is up cannot be reached without it.
    if (previous === undefined)
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
      ({ cid, networks }) => {
        const { own, ...rest } = recordVm(
          cid,
          args,
          networks === undefined ? undefined : plainJson(networks),
        );
        const address = inputs.address === '' ? addressOf(networks) : inputs.address;
        return {
          ...rest,
          own: {
            ...own,
            ...(own?.vm === undefined ? {} : { vm: { ...own.vm, address } }),
            endpoint: endpointAt(inputs.endpoint, address),
            applied: undefined,
            ...(previous === undefined ? {} : { previous }),
          },
        };
      },
    );
  });
}

function servingVm(run: DeployRun): PreviousVm {
  const { endpoint } = run.state.own;
  return {
    vm: run.vm,
    stemcell_id: run.state.current_stemcell_id,
    released: false,
    ...(endpoint === undefined ? {} : { endpoint }),
  };
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
  await run.openTunnel();
  await stage.step(name, async (step) => {
    if (isUnknownAddress(run.state.own.endpoint)) {
      throw new AgentNotReady(`The CPI does not say which address VM '${cid}' has`, {
        details: { vmCid: cid },
        advice: 'Give the instance a static IP, or cloud_provider.mbus with the address.',
      });
    }
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
