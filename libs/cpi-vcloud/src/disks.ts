import { CloudError, DiskNotFound, NotImplemented, NotSupported, uuidFor } from '@microbosh/cpi';
import type { CallContext } from '@microbosh/cpi';
import type { XmlNode } from '@microbosh/cpi/xml';
import type { Json, JsonObject } from '@microbosh/errors';
import { metadataOf, savePersistentDisk } from './agent-env.ts';
import type { VcloudCloud } from './cloud.ts';
import { datacenterOf } from './datacenter.ts';
import { attachOrDetach, changedDisk, createDisk as createDiskParameters, metadata } from './documents.ts';
import type { DiskDocument } from './documents.ts';
import { vmOf } from './find-vm.ts';
import { actionOf } from './links.ts';
import type { VmDocument } from './vm-document.ts';

type Signal = AbortSignal | undefined;

async function findDisk({ client }: VcloudCloud, cid: string, signal: Signal): Promise<XmlNode | undefined> {
  return client.resolve(cid, 'vcloud.disk', signal);
}

export async function diskOf(cloud: VcloudCloud, cid: string, signal: Signal): Promise<XmlNode> {
  const found = await findDisk(cloud, cid, signal);
  if (found !== undefined) return found;
  throw new DiskNotFound(cid);
}

/** Newer servers tell MB, older ones bytes. */
export function sizeMiBOf(disk: XmlNode): number {
  const megabytes = disk.attribute('sizeMb');
  return megabytes === undefined ? Number(disk.attribute('size') ?? 0) / 2 ** 20 : Number(megabytes);
}

/** The disk that a create_disk with this token has made. */
export async function diskOfToken(
  cloud: VcloudCloud,
  token: string,
  signal: Signal,
): Promise<string | undefined> {
  const name = `disk-${uuidFor(token)}`;
  const found = (await datacenterOf(cloud, signal))
    .entities('vcloud.disk')
    .find((entity) => entity.name === name);
  const disk = found && (await cloud.client.settled(found.href, signal));
  return disk?.attribute('id');
}

export async function createDisk(
  cloud: VcloudCloud,
  context: CallContext,
  sizeMiB: number,
  _properties: JsonObject,
  vmCid: string | null,
): Promise<string> {
  const { signal, token } = context;
  const earlier = token === undefined ? undefined : await diskOfToken(cloud, token, signal);
  if (earlier !== undefined) return earlier;
  const { client, config } = cloud;
  const vm = vmCid === null || vmCid === '' ? undefined : await vmOf(cloud, vmCid, signal);
  const datacenter = await datacenterOf(cloud, signal);
  const name = `disk-${uuidFor(token)}`;
  const wanted: DiskDocument = {
    name,
    sizeMiB,
    busType: '6',
    busSubType: 'lsilogic',
    profile: datacenter.profile(config.vmProfile),
  };
  const type = 'vcloud.diskCreateParams';
  const { number } = await client.version(signal);
  const body = createDiskParameters(wanted, vm?.href, number);
  try {
    const made = await client.post(datacenter.action(type), type, body, signal);
    const disk = await client.settle(made, signal);
    const cid = disk?.attribute('id');
    if (cid === undefined) throw new CloudError('vCloud answered without a disk');
    return cid;
  } catch (error) {
    await removeHalf(cloud, name);
    signal?.throwIfAborted();
    throw error;
  }
}

/** Best effort, by name: what was made without an answer is not known by its URN. */
async function removeHalf(cloud: VcloudCloud, name: string): Promise<void> {
  try {
    const disks = (await datacenterOf(cloud, undefined)).entities('vcloud.disk');
    for (const { href } of disks.filter((entity) => entity.name === name)) {
      await cloud.client.settled(href, undefined);
      await cloud.client.remove(href, undefined);
    }
  } catch {
    // The first error is the one to report.
  }
}

export async function hasDisk(cloud: VcloudCloud, context: CallContext, cid: string): Promise<boolean> {
  return (await findDisk(cloud, cid, context.signal)) !== undefined;
}

export async function deleteDisk(cloud: VcloudCloud, context: CallContext, cid: string): Promise<void> {
  const { signal } = context;
  const { client } = cloud;
  const href = (await diskOf(cloud, cid, signal)).attribute('href') ?? '';
  const disk = await client.settled(href, signal);
  if (disk === undefined) return;
  const remove = actionOf(disk, 'remove');
  if (remove === undefined)
    throw new CloudError(`Disk '${cid}' cannot be deleted now: is it attached to a VM?`);
  await client.remove(remove, signal);
}

async function changeAttachment(
  { client }: VcloudCloud,
  vm: VmDocument,
  rel: 'disk:attach' | 'disk:detach',
  body: string,
  signal: Signal,
): Promise<void> {
  const type = 'vcloud.diskAttachOrDetachParams';
  const href = actionOf(vm.node, rel, type);
  if (href === undefined) {
    throw new CloudError(
      `VM '${vm.name}' allows no ${rel} now: its status is ${vm.node.attribute('status') ?? ''}`,
    );
  }
  await client.settle(await client.post(href, type, body, signal), signal);
}

/** Disks of their own have to leave a VM before it is deleted. */
export async function detachAll(cloud: VcloudCloud, vm: VmDocument, signal: Signal): Promise<void> {
  for (const { diskHref } of vm.disks) {
    if (diskHref !== undefined)
      await changeAttachment(cloud, vm, 'disk:detach', attachOrDetach(diskHref), signal);
  }
}

export async function attachDisk(
  cloud: VcloudCloud,
  context: CallContext,
  vmCid: string,
  cid: string,
): Promise<Json> {
  const { signal } = context;
  const vm = await vmOf(cloud, vmCid, signal);
  const href = (await diskOf(cloud, cid, signal)).attribute('href') ?? '';
  const place = (holder: VmDocument) => holder.disks.find(({ diskHref }) => diskHref === href)?.unit;
  let now = vm;
  if (place(vm) === undefined) {
    await changeAttachment(cloud, vm, 'disk:attach', attachOrDetach(href, vm.freeUnit()), signal);
    now = await vmOf(cloud, vmCid, signal);
  }
  const unit = place(now);
  if (unit === undefined)
    throw new CloudError(`Disk '${cid}' was attached, but VM '${vmCid}' does not have it`);
  await savePersistentDisk(cloud, now, { cid, unit: String(unit) }, signal);
  return String(unit);
}

export async function detachDisk(
  cloud: VcloudCloud,
  context: CallContext,
  vmCid: string,
  cid: string,
): Promise<void> {
  const { signal } = context;
  const { client } = cloud;
  const vm = await vmOf(cloud, vmCid, signal);
  const href = (await findDisk(cloud, cid, signal))?.attribute('href');
  let now = vm;
  if (href !== undefined && vm.disks.some(({ diskHref }) => diskHref === href)) {
    const discard = actionOf(vm.node, 'discardState');
    if (discard !== undefined) {
      await client.act(discard, signal);
      now = await vmOf(cloud, vmCid, signal);
    }
    await changeAttachment(cloud, now, 'disk:detach', attachOrDetach(href), signal);
    now = await vmOf(cloud, vmCid, signal);
  }
  // What is not attached is not in the settings either; a call that was cut short may have left it there.
  await savePersistentDisk(cloud, now, { cid, unit: undefined }, signal);
}

export async function getDisks(
  cloud: VcloudCloud,
  context: CallContext,
  vmCid: string,
): Promise<readonly string[]> {
  const vm = await vmOf(cloud, vmCid, context.signal);
  const cids: string[] = [];
  for (const { diskHref } of vm.disks) {
    const disk = diskHref === undefined ? undefined : await cloud.client.find(diskHref, context.signal);
    const cid = disk?.attribute('id');
    if (cid !== undefined) cids.push(cid);
  }
  return cids;
}

export async function resizeDisk(
  cloud: VcloudCloud,
  context: CallContext,
  cid: string,
  newSizeMiB: number,
): Promise<void> {
  const { signal } = context;
  const { client } = cloud;
  const disk = await diskOf(cloud, cid, signal);
  const sizeMiB = sizeMiBOf(disk);
  if (newSizeMiB === sizeMiB) return;
  if (newSizeMiB < sizeMiB) throw new NotSupported(`Cannot resize disk '${cid}' to a smaller size`);
  const edit = actionOf(disk, 'edit', 'vcloud.disk');
  if (edit === undefined) throw new CloudError(`Cannot resize disk '${cid}': it is attached to a VM`);
  const profile = disk.at('StorageProfile');
  const wanted: DiskDocument = {
    name: disk.attribute('name') ?? '',
    sizeMiB: newSizeMiB,
    busType: disk.attribute('busType') ?? '6',
    busSubType: disk.attribute('busSubType') ?? 'lsilogic',
    profile:
      profile === undefined
        ? undefined
        : { name: profile.attribute('name') ?? '', href: profile.attribute('href') ?? '' },
  };
  const { number } = await client.version(signal);
  await client.settle(await client.put(edit, 'vcloud.disk', changedDisk(wanted, number), signal), signal);
}

export async function setDiskMetadata(
  cloud: VcloudCloud,
  context: CallContext,
  cid: string,
  values: Readonly<Record<string, string>>,
): Promise<void> {
  const { signal } = context;
  const disk = await diskOf(cloud, cid, signal);
  const answer = await cloud.client.post(metadataOf(disk), 'vcloud.metadata', metadata(values), signal);
  await cloud.client.settle(answer, signal);
}

export async function snapshotDisk(): Promise<string> {
  throw new NotImplemented('snapshot_disk is not there on vCloud: independent disks have no snapshots');
}

export async function deleteSnapshot(): Promise<void> {
  throw new NotImplemented('delete_snapshot is not there on vCloud: independent disks have no snapshots');
}
