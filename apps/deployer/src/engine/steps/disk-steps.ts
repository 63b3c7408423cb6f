import type { Json } from '@microbosh/errors';
import { isJsonObject } from '@microbosh/errors';
import { buildVmMetadata } from '@microbosh/spec';
import type { DiskHint } from '@microbosh/spec';
import type { StageScope, StepScope } from '../../events/event-bus.ts';
import type { DeployRun } from '../deploy-run.ts';
import { isGone, isNotImplemented, isNotOffered, recordDisk } from '../effects.ts';
import type { DiskReference } from '../plan.ts';
import { waitForAgent } from '../wait-for-agent.ts';

export async function createDisk(run: DeployRun, stage: StageScope): Promise<void> {
  const wanted = run.inputs.model.persistentDisk;
  if (wanted === undefined) throw new Error('the deployment has no persistent disk');
  await stage.step('Creating disk', async () => {
    const args = { size: wanted.sizeMiB, cloud_properties: wanted.cloudProperties };
    const { cid } = await run.effects.create(
      'disk',
      args,
      async (context) => ({
        cid: await run.cloud.createDisk(context, wanted.sizeMiB, wanted.cloudProperties, run.vm.cid),
      }),
      (created) => recordDisk(run.store, created.cid, args),
    );
    run.newDisk = cid;
  });
}

export async function attachDisk(run: DeployRun, reference: DiskReference, stage: StageScope): Promise<void> {
  const diskCid = run.diskCid(reference);
  const vmCid = run.vm.cid;
  await stage.step(`Attaching disk '${diskCid}' to VM '${vmCid}'`, async (step) => {
    const agent = await run.agent();
    let hint: Json = null;
    await run.effects.change('attach_disk', { vm_cid: vmCid, disk_cid: diskCid }, async (context) => {
      hint = await run.cloud.attachDisk(context, vmCid, diskCid);
    });
    await setDiskMetadata(run, diskCid);
    await waitForAgent(run, agent, run.limits.agentMs, step);
    const diskHint = asDiskHint(hint);
    await run.effects.change('agent:mount_disk', { vm_cid: vmCid, disk_cid: diskCid }, async () => {
      if (diskHint !== undefined) await agent.addPersistentDisk(diskCid, diskHint, run.uninterrupted);
      await agent.mountDisk(diskCid, run.uninterrupted);
    });
    if (diskCid === run.currentDiskCid) await run.updateVm({ mounted_disk: diskCid });
  });
}

function asDiskHint(hint: Json): DiskHint | undefined {
  if (typeof hint === 'string') return hint;
  if (!isJsonObject(hint)) return undefined;
  return hint;
}

async function setDiskMetadata(run: DeployRun, diskCid: string): Promise<void> {
  const metadata: Record<string, string> = {
    ...buildVmMetadata(run.inputs.model, ''),
    instance_index: '0',
    attached_at: new Date().toISOString(),
  };
  for (const key of ['job', 'name', 'index', 'created_at']) delete metadata[key];
  try {
    await run.cloud.setDiskMetadata(run.effects.context(), diskCid, metadata);
  } catch (error) {
    if (!isNotImplemented(error)) throw error;
  }
}

/** `vmCid`: the disk is attached to this VM, and not mounted. A CPI that cannot resize makes the run copy instead. */
export async function resizeDisk(
  run: DeployRun,
  change: { readonly diskCid: string; readonly sizeMiB: number; readonly vmCid?: string },
  stage: StageScope,
): Promise<void> {
  const { diskCid, sizeMiB, vmCid } = change;
  const { size } = run.diskRecord(diskCid);
  if (vmCid !== undefined) {
    await stage.step(`Detaching disk '${diskCid}'`, (step) => detachFrom(run, vmCid, diskCid, step));
  }
  await stage.step(`Resizing disk '${diskCid}' from ${size} to ${sizeMiB} MiB`, async (step) => {
    try {
      await run.effects.change('resize_disk', { disk_cid: diskCid, size: sizeMiB }, (context) =>
        run.cloud.resizeDisk(context, diskCid, sizeMiB),
      );
    } catch (error) {
      if (!isNotOffered(error)) throw error;
      run.mustCopy = true;
      step.skip('The CPI does not resize disks: the data is copied to a new one');
      return;
    }
    await run.store.update({
      disks: (run.state.disks ?? []).map((disk) =>
        disk.cid === diskCid ? { ...disk, size: sizeMiB } : disk,
      ),
    });
  });
}

/** The agent copies and verifies; only its word that all is there makes the new disk the current one. */
export async function migrateDisk(
  run: DeployRun,
  fromCid: string,
  reference: DiskReference,
  stage: StageScope,
): Promise<void> {
  const toCid = run.diskCid(reference);
  await stage.step(`Migrating disk content from '${fromCid}' to '${toCid}'`, async () => {
    const agent = await run.agent();
    await run.updateVm({ mounted_disk: '' });
    await run.effects.change('agent:migrate_disk', { from: fromCid, to: toCid }, () =>
      agent.migrateDisk(fromCid, toCid, run.uninterrupted),
    );
  });
}

/** From here on this is the disk that serves. */
export async function promoteDisk(run: DeployRun, reference: DiskReference): Promise<void> {
  const cid = run.diskCid(reference);
  const previous = run.currentDiskCid;
  const roles = { ...run.state.own.disk_roles };
  const keptUntil = { ...run.state.own.kept_until };
  delete roles[cid];
  if (previous !== undefined && previous !== cid) {
    roles[previous] = 'retired';
    keptUntil[previous] = new Date(Date.now() + run.limits.oldDiskMs).toISOString();
  }
  await run.store.update({
    current_disk_id: run.diskRecord(cid).id,
    own: { disk_roles: roles, kept_until: keptUntil, vm: { ...run.vm, mounted_disk: cid } },
  });
  if (previous !== undefined && previous !== cid && run.limits.oldDiskMs > 0) {
    const { size } = run.diskRecord(previous);
    run.events.message(
      `Disk '${previous}' of ${size} MiB is kept until ${keptUntil[previous] ?? ''}; a deploy after that deletes it (limits.old_disk of the manifest).`,
      { details: { disk: previous, size_mib: size, kept_until: keptUntil[previous] ?? '' } },
    );
  }
}

export async function detachDisk(run: DeployRun, diskCid: string, stage: StageScope): Promise<void> {
  await stage.step(`Detaching disk '${diskCid}'`, (step) => release(run, diskCid, step));
}

async function release(run: DeployRun, diskCid: string, step: StepScope): Promise<void> {
  if (diskCid === run.currentDiskCid) throw new Error('the disk that serves is never released');
  await detachFrom(run, run.vm.cid, diskCid, step);
  run.detachedDisks.add(diskCid);
}

async function detachFrom(run: DeployRun, vmCid: string, diskCid: string, step: StepScope): Promise<void> {
  const agent = await run.agent();
  await run.effects.change('detach_disk', { vm_cid: vmCid, disk_cid: diskCid }, async (context) => {
    if ((await agent.listDisk(run.uninterrupted)).includes(diskCid))
      await agent.unmountDisk(diskCid, run.uninterrupted);
    await agent.removePersistentDisk(diskCid, run.uninterrupted);
    try {
      await run.cloud.detachDisk(context, vmCid, diskCid);
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  });
  await waitForAgent(run, agent, run.limits.agentMs, step);
}

export async function deleteDisk(
  run: DeployRun,
  diskCid: string,
  wording: 'disk' | 'unused disk',
  stage: StageScope,
): Promise<void> {
  if (diskCid === '') throw new Error('a disk without CID is never deleted');
  await stage.step(`Deleting ${wording} '${diskCid}'`, async (step) => {
    if (run.state.current_vm_cid !== '' && !run.detachedDisks.has(diskCid)) {
      await release(run, diskCid, step);
    }
    await run.effects.change('delete_disk', { disk_cid: diskCid }, async (context) => {
      try {
        await run.cloud.deleteDisk(context, diskCid);
      } catch (error) {
        if (!isGone(error)) throw error;
        step.skip('Disk not found');
      }
    });
    const record = run.diskRecord(diskCid);
    const roles = { ...run.state.own.disk_roles };
    const keptUntil = { ...run.state.own.kept_until };
    delete roles[diskCid];
    delete keptUntil[diskCid];
    await run.store.update({
      disks: (run.state.disks ?? []).filter((disk) => disk.cid !== diskCid),
      ...(run.state.current_disk_id === record.id ? { current_disk_id: '' } : {}),
      own: { disk_roles: roles, kept_until: keptUntil },
    });
  });
}
