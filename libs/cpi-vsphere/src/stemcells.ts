import { readFile } from 'node:fs/promises';
import { CloudError, InvalidCall, unpackImage, uuidFor } from '@microbosh/cpi';
import type { CallContext, UnpackedFile } from '@microbosh/cpi';
import type { JsonObject } from '@microbosh/errors';
import type { VsphereCloud } from './cloud.ts';
import { object, refOf } from './data-objects.ts';
import type { Ref } from './data-objects.ts';
import { deviceChange, Devices, withThinDisks } from './devices.ts';
import { clustersOf, datacenterOf, refsIn, vmFolder, vmsNamed } from './inventory.ts';
import type { NamedVm } from './inventory.ts';
import { placements } from './placement.ts';
import type { Placement } from './placement.ts';
import { isFault } from './vim-fault.ts';
import type { Found } from './vim-client.ts';
import type { XmlNode } from '@microbosh/cpi/xml';

type Signal = AbortSignal | undefined;

/** The stemcell and its copies on other datastores, the original's too: their names begin with the cid. */
async function replicasOf(cloud: VsphereCloud, cid: string, signal: Signal): Promise<readonly NamedVm[]> {
  return vmsNamed(cloud, (name) => name === cid || name.startsWith(`${cid} `), signal);
}

async function snapshotOf(cloud: VsphereCloud, vm: Ref, signal: Signal): Promise<Ref | undefined> {
  const found = await cloud.client.find(vm, ['snapshot'], signal);
  return refOf(found?.properties['snapshot']?.at('currentSnapshot'));
}

async function destroy(cloud: VsphereCloud, vm: Ref, signal: Signal): Promise<void> {
  try {
    await cloud.client.task(vm, 'Destroy_Task', {}, signal);
  } catch (error) {
    if (!isFault(error, 'ManagedObjectNotFound')) throw error;
  }
}

async function takeSnapshot(cloud: VsphereCloud, vm: Ref, signal: Signal): Promise<void> {
  const parameters = { name: 'initial', memory: false, quiesce: false };
  await cloud.client.task(vm, 'CreateSnapshot_Task', parameters, signal);
}

/** A stemcell that a create_stemcell with this token has made; its half is removed. */
export async function stemcellOfToken(
  cloud: VsphereCloud,
  token: string,
  signal: Signal,
): Promise<string | undefined> {
  const cid = `sc-${uuidFor(token)}`;
  for (const { ref, name } of await replicasOf(cloud, cid, signal)) {
    if (name !== cid) continue;
    if ((await snapshotOf(cloud, ref, signal)) !== undefined) return cid;
    await destroy(cloud, ref, signal);
  }
  return undefined;
}

export async function createStemcell(
  cloud: VsphereCloud,
  context: CallContext,
  imagePath: string,
  _properties: JsonObject | null,
): Promise<string> {
  const { signal, token } = context;
  const earlier = token === undefined ? undefined : await stemcellOfToken(cloud, token, signal);
  if (earlier !== undefined) return earlier;
  const image = await unpackImage(imagePath, (name) => /\.(ovf|vmdk)$/.test(name), signal);
  try {
    const [descriptor, ...others] = image.files.filter(({ name }) => name.endsWith('.ovf'));
    if (descriptor === undefined || others.length > 0) {
      throw new CloudError(
        `The stemcell image holds ${others.length + (descriptor ? 1 : 0)} .ovf files, not one`,
      );
    }
    const cid = `sc-${uuidFor(token)}`;
    await importVm(cloud, cid, await readFile(descriptor.path, 'utf8'), image.files, signal);
    return cid;
  } finally {
    await image.remove();
  }
}

async function importVm(
  cloud: VsphereCloud,
  cid: string,
  descriptor: string,
  files: readonly UnpackedFile[],
  signal: Signal,
): Promise<void> {
  const sizeMiB = Math.ceil(files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) / 2 ** 20);
  const [place] = placements(await clustersOf(cloud, signal), {
    ramMiB: 0,
    diskMiB: sizeMiB,
    pattern: cloud.config.ephemeralPattern,
    diskDatastores: [],
  });
  if (place === undefined) throw new CloudError('No valid placement found for the stemcell');
  const folder = await vmFolder(cloud, cloud.config.templateFolder, signal);
  const { spec, items } = await importSpec(cloud, cid, descriptor, place, signal);
  try {
    const [answer] = await cloud.client.call(place.cluster.pool, 'ImportVApp', { spec, folder }, signal);
    const vm = await throughLease(cloud, refOf(answer), items, files, signal);
    const found = await cloud.client.find(vm, ['config.hardware.device'], signal);
    const cards = new Devices(found?.properties['config.hardware.device']).networkCards;
    if (cards.length > 0) {
      const changes = cards.map((card) => deviceChange('remove', card));
      const config = object('VirtualMachineConfigSpec', { deviceChange: changes });
      await cloud.client.task(vm, 'ReconfigVM_Task', { spec: config }, signal);
    }
    await takeSnapshot(cloud, vm, signal);
  } catch (error) {
    // Best effort: the first error is the one to report.
    const halves = await replicasOf(cloud, cid, undefined).catch(() => []);
    for (const { ref } of halves) await destroy(cloud, ref, undefined).catch(() => undefined);
    signal?.throwIfAborted();
    throw error;
  }
}

async function importSpec(
  cloud: VsphereCloud,
  cid: string,
  descriptor: string,
  { cluster, datastore }: Placement,
  signal: Signal,
): Promise<{ spec: XmlNode; items: readonly XmlNode[] }> {
  const manager = (await cloud.client.service(signal)).at('ovfManager');
  const [result] = await cloud.client.call(
    manager,
    'CreateImportSpec',
    {
      ovfDescriptor: descriptor,
      resourcePool: cluster.pool,
      datastore: datastore.ref,
      cisp: object('OvfCreateImportSpecParams', { locale: 'US', deploymentOption: '', entityName: cid }),
    },
    signal,
  );
  const spec = result?.at('importSpec');
  if (result === undefined || spec === undefined) {
    const problems = (result?.all('error') ?? []).map((error) => error.textAt('localizedMessage') ?? '');
    throw new CloudError(`Corrupt image: vSphere refuses the OVF of the stemcell: ${problems.join('; ')}`);
  }
  return { spec: withThinDisks(spec, cloud.config.diskType === 'thin'), items: result.all('fileItem') };
}

/** Sends the disks and answers the VM. A lease that is not carried to its end is given back. */
async function throughLease(
  cloud: VsphereCloud,
  lease: Ref | undefined,
  items: readonly XmlNode[],
  files: readonly UnpackedFile[],
  signal: Signal,
): Promise<Ref> {
  if (lease === undefined) throw new CloudError('vSphere answered without a lease');
  try {
    const info = (await readyLease(cloud, lease, signal)).properties['info'];
    const vm = refOf(info?.at('entity'));
    if (vm === undefined) throw new CloudError('The lease of the import names no VM');
    const progress = await leaseProgress(cloud, lease, files);
    try {
      for (const device of info?.all('deviceUrl') ?? []) {
        const item = items.find((candidate) => candidate.textAt('deviceId') === device.textAt('importKey'));
        if (item === undefined) continue;
        const file = files.find(({ name }) => name === item.textAt('path'));
        if (file === undefined)
          throw new CloudError(`The stemcell image has no file '${item.textAt('path') ?? ''}'`);
        await cloud.client.upload(device.textAt('url') ?? '', file, progress.onSent, signal);
      }
    } finally {
      progress.stop();
    }
    await cloud.client.call(lease, 'HttpNfcLeaseProgress', { percent: 100 }, signal);
    await cloud.client.call(lease, 'HttpNfcLeaseComplete', {}, signal);
    return vm;
  } catch (error) {
    await cloud.client.call(lease, 'HttpNfcLeaseAbort', {}, undefined).catch(() => undefined);
    throw error;
  }
}

/** A lease times out unless it is told of progress. */
async function leaseProgress(cloud: VsphereCloud, lease: Ref, files: readonly UnpackedFile[]) {
  const total = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  let sent = 0;
  const timer = setInterval(() => {
    const percent = Math.min(99, Math.floor((sent / Math.max(1, total)) * 100));
    cloud.client.call(lease, 'HttpNfcLeaseProgress', { percent }, undefined).catch(() => undefined);
  }, 5000);
  return {
    onSent: (bytes: number): void => {
      sent += bytes;
    },
    stop: (): void => clearInterval(timer),
  };
}

const leaseLooks = 600;

async function readyLease(cloud: VsphereCloud, lease: Ref, signal: Signal): Promise<Found> {
  for (let look = 0; look < leaseLooks; look += 1) {
    const found = await cloud.client.find(lease, ['state', 'info', 'error'], signal);
    const state = found?.properties['state']?.text;
    if (found !== undefined && state === 'ready') return found;
    if (state !== 'initializing') {
      const error = found?.properties['error'];
      throw new CloudError(
        `The lease of the import is ${state ?? 'gone'}: ${error?.textAt('localizedMessage') ?? error?.type ?? ''}`,
      );
    }
    await cloud.client.pause(cloud.client.pauseMs, signal);
  }
  throw new CloudError('The lease of the import does not get ready');
}

/** The stemcell on a datastore, with its snapshot; copied there when it is not. */
export async function replicaOn(
  cloud: VsphereCloud,
  cid: string,
  { cluster, datastore }: Placement,
  signal: Signal,
): Promise<{ readonly vm: Ref; readonly snapshot: Ref }> {
  const replicas = await replicasOf(cloud, cid, signal);
  const original = replicas.find(({ name }) => name === cid) ?? replicas[0];
  if (original === undefined) throw new CloudError(`Could not find VM for stemcell '${cid}'`);
  const places = await cloud.client.properties(
    replicas.map(({ ref }) => ref),
    ['datastore'],
    signal,
  );
  const there = places.find(({ properties }) =>
    refsIn(properties['datastore']).some(({ id }) => id === datastore.ref.id),
  );
  if (there !== undefined)
    return { vm: there.ref, snapshot: await snapshotAppears(cloud, there.ref, signal) };
  const name = `${cid} on ${datastore.ref.id}`;
  const folder = await vmFolder(cloud, cloud.config.templateFolder, signal);
  const location = object('VirtualMachineRelocateSpec', { datastore: datastore.ref, pool: cluster.pool });
  const spec = object('VirtualMachineCloneSpec', { location, template: false, powerOn: false });
  try {
    const vm = refOf(await cloud.client.task(original.ref, 'CloneVM_Task', { folder, name, spec }, signal));
    if (vm === undefined) throw new CloudError('vSphere cloned the stemcell and named no VM');
    await takeSnapshot(cloud, vm, signal);
    return { vm, snapshot: await snapshotAppears(cloud, vm, signal) };
  } catch (error) {
    if (!isFault(error, 'DuplicateName')) throw error;
  }
  // Another process makes it.
  const other = (await replicasOf(cloud, cid, signal)).find((vm) => vm.name === name);
  if (other === undefined) throw new CloudError(`Could not find VM for stemcell '${name}'`);
  return { vm: other.ref, snapshot: await snapshotAppears(cloud, other.ref, signal) };
}

const snapshotLooks = 60;

async function snapshotAppears(cloud: VsphereCloud, vm: Ref, signal: Signal): Promise<Ref> {
  for (let look = 0; look < snapshotLooks; look += 1) {
    const snapshot = await snapshotOf(cloud, vm, signal);
    if (snapshot !== undefined) return snapshot;
    await cloud.client.pause(cloud.client.pauseMs * 5, signal);
  }
  throw new CloudError(`The stemcell VM ${vm.id} has no snapshot`, {
    advice: 'Its import was interrupted. Delete it, and deploy again.',
  });
}

export async function deleteStemcell(cloud: VsphereCloud, context: CallContext, cid: string): Promise<void> {
  if (cid.trim() === '') throw new InvalidCall('The stemcell id is empty');
  await datacenterOf(cloud, context.signal);
  for (const { ref } of await replicasOf(cloud, cid, context.signal)) {
    await destroy(cloud, ref, context.signal);
  }
}
