import {
  CloudError,
  DiskNotAttached,
  DiskNotFound,
  NotImplemented,
  NotSupported,
  uuidFor,
} from '@microbosh/cpi';
import type { CallContext } from '@microbosh/cpi';
import type { Json, JsonObject } from '@microbosh/errors';
import type { VsphereCloud } from './cloud.ts';
import { object, refOf } from './data-objects.ts';
import type { Ref } from './data-objects.ts';
import { deviceChange, Devices, diskCidOf, fileNameOf } from './devices.ts';
import { clustersOf, datacenterOf, refsIn, vmFolder, vmOf } from './inventory.ts';
import type { Datastore } from './inventory.ts';
import { fittingDatastores } from './placement.ts';
import { isFault } from './vim-fault.ts';
import { XmlNode } from '@microbosh/cpi/xml';

type Signal = AbortSignal | undefined;

const category = 'BOSH Persistent Disks';

export interface FoundDisk {
  readonly datastore: string;
  readonly path: string;
  /** Where the datastore tells. */
  readonly capacityKb: number | undefined;
  /** The VM that has it. */
  readonly holder: Ref | undefined;
}

async function datastores(cloud: VsphereCloud, signal: Signal): Promise<readonly Datastore[]> {
  const all = (await clustersOf(cloud, signal)).flatMap((cluster) => cluster.datastores);
  return [...new Map(all.map((datastore) => [datastore.ref.id, datastore])).values()];
}

/** VMs of ours with their disks. */
async function holders(cloud: VsphereCloud, signal: Signal) {
  const folder = await vmFolder(cloud, cloud.config.vmFolder, signal);
  const vms = await cloud.client.below(folder, 'VirtualMachine', ['config.hardware.device'], signal);
  return vms.flatMap(({ ref, properties }) =>
    new Devices(properties['config.hardware.device']).disks.map((disk) => ({ vm: ref, disk })),
  );
}

async function inDatastore(
  cloud: VsphereCloud,
  { name, browser }: Datastore,
  cid: string,
  signal: Signal,
): Promise<{ path: string; capacityKb: number | undefined } | undefined> {
  const folder = `[${name}] ${cloud.config.diskPath}`;
  const searchSpec = object('HostDatastoreBrowserSearchSpec', {
    query: object('VmDiskFileQuery', {
      details: object('VmDiskFileQueryFlags', { diskType: false, capacityKb: true, hardwareVersion: false }),
    }),
    details: object('FileQueryFlags', {
      fileType: true,
      fileSize: false,
      modification: false,
      fileOwner: false,
    }),
    matchPattern: `${cid}.vmdk`,
  });
  try {
    const parameters = { datastorePath: folder, searchSpec };
    const result = await cloud.client.task(browser, 'SearchDatastore_Task', parameters, signal);
    const file = result?.all('file').find((found) => found.textAt('path') === `${cid}.vmdk`);
    return file === undefined
      ? undefined
      : { path: `${folder}/${cid}.vmdk`, capacityKb: file.numberAt('capacityKb') };
  } catch (error) {
    if (isFault(error, 'FileNotFound')) return undefined;
    throw error;
  }
}

/** Where a disk is: attached to a VM of ours, wherever its file has gone, or in a datastore. */
export async function findDisk(
  cloud: VsphereCloud,
  cid: string,
  signal: Signal,
): Promise<FoundDisk | undefined> {
  if (!/^[\w.-]+$/.test(cid)) return undefined;
  const held = (await holders(cloud, signal)).find(({ disk }) => diskCidOf(disk) === cid);
  if (held !== undefined) {
    const path = fileNameOf(held.disk);
    return {
      datastore: /^\[([^\]]+)\]/.exec(path)?.[1] ?? '',
      path,
      capacityKb: held.disk.numberAt('capacityInKB'),
      holder: held.vm,
    };
  }
  const { persistentPattern } = cloud.config;
  const all = await datastores(cloud, signal);
  const likely = all.filter(({ name }) => persistentPattern.test(name));
  for (const datastore of [...likely, ...all.filter((other) => !likely.includes(other))]) {
    const found = await inDatastore(cloud, datastore, cid, signal);
    if (found !== undefined) return { datastore: datastore.name, ...found, holder: undefined };
  }
  return undefined;
}

async function diskOf(cloud: VsphereCloud, cid: string, signal: Signal): Promise<FoundDisk> {
  const found = await findDisk(cloud, cid, signal);
  if (found !== undefined) return found;
  throw new DiskNotFound(cid, { message: `Could not find disk with id '${cid}'` });
}

const diskTypes = ['thin', 'preallocated', 'thick', 'eagerZeroedThick'];

export async function createDisk(
  cloud: VsphereCloud,
  context: CallContext,
  sizeMiB: number,
  properties: JsonObject,
  vmCid: string | null,
): Promise<string> {
  const { signal, token } = context;
  const diskType = properties['type'] ?? cloud.config.diskType;
  if (typeof diskType !== 'string' || !diskTypes.includes(diskType)) {
    throw new CloudError(`Disk type: '${JSON.stringify(diskType)}' is not supported`, {
      advice: `There are: ${diskTypes.join(', ')}.`,
    });
  }
  const cid = `disk-${uuidFor(token)}`;
  if (token !== undefined && (await findDisk(cloud, cid, signal)) !== undefined) return cid;
  const reachable =
    vmCid === null || vmCid === ''
      ? await datastores(cloud, signal)
      : await reachableBy(cloud, await vmOf(cloud, vmCid, signal), signal);
  const datastore = roomyDatastore(cloud, reachable, sizeMiB);
  const datacenter = await datacenterOf(cloud, signal);
  await makeDiskFolder(cloud, datastore, datacenter, signal);
  const manager = (await cloud.client.service(signal)).at('virtualDiskManager');
  const name = `[${datastore.name}] ${cloud.config.diskPath}/${cid}.vmdk`;
  const spec = object('FileBackedVirtualDiskSpec', {
    diskType,
    adapterType: 'lsiLogic',
    capacityKb: sizeMiB * 1024,
  });
  try {
    await cloud.client.task(manager, 'CreateVirtualDisk_Task', { name, datacenter, spec }, signal);
  } catch (error) {
    if (!isFault(error, 'FileAlreadyExists')) throw error;
  }
  return cid;
}

function roomyDatastore(cloud: VsphereCloud, reachable: readonly Datastore[], sizeMiB: number): Datastore {
  const { persistentPattern } = cloud.config;
  const [best] = fittingDatastores(reachable, persistentPattern, sizeMiB);
  if (best !== undefined) return best;
  const seen = reachable.map(({ name, freeMiB }) => `${name}: ${freeMiB} MB free`).join('; ');
  throw new CloudError('Unable to create disk on any storage entity provided.', {
    advice: `Needed are ${sizeMiB} MB on a datastore that matches ${String(persistentPattern)}. There are: ${seen || 'none'}.`,
  });
}

async function reachableBy(cloud: VsphereCloud, vm: Ref, signal: Signal): Promise<readonly Datastore[]> {
  const host = refOf((await cloud.client.find(vm, ['runtime.host'], signal))?.properties['runtime.host']);
  const mounted = host === undefined ? undefined : await cloud.client.find(host, ['datastore'], signal);
  const ids = new Set(refsIn(mounted?.properties['datastore']).map(({ id }) => id));
  return (await datastores(cloud, signal)).filter(({ ref }) => ids.has(ref.id));
}

async function makeDiskFolder(
  cloud: VsphereCloud,
  datastore: Datastore,
  datacenter: Ref,
  signal: Signal,
): Promise<void> {
  const manager = (await cloud.client.service(signal)).at('fileManager');
  const name = `[${datastore.name}] ${cloud.config.diskPath}`;
  try {
    await cloud.client.call(
      manager,
      'MakeDirectory',
      { name, datacenter, createParentDirectories: true },
      signal,
    );
  } catch (error) {
    if (!isFault(error, 'FileAlreadyExists')) throw error;
  }
}

export async function hasDisk(cloud: VsphereCloud, context: CallContext, cid: string): Promise<boolean> {
  return (await findDisk(cloud, cid, context.signal)) !== undefined;
}

/** The disk that a create_disk with this token has made. */
export async function diskOfToken(
  cloud: VsphereCloud,
  token: string,
  signal: Signal,
): Promise<string | undefined> {
  const cid = `disk-${uuidFor(token)}`;
  return (await findDisk(cloud, cid, signal)) === undefined ? undefined : cid;
}

export async function deleteDisk(cloud: VsphereCloud, context: CallContext, cid: string): Promise<void> {
  const { signal } = context;
  const disk = await diskOf(cloud, cid, signal);
  // vSphere would delete the file of a disk under a VM that is switched off.
  if (disk.holder !== undefined) throw new CloudError(`Disk '${cid}' is attached to a VM: detach it first`);
  const manager = (await cloud.client.service(signal)).at('virtualDiskManager');
  const parameters = { name: disk.path, datacenter: await datacenterOf(cloud, signal) };
  try {
    await cloud.client.task(manager, 'DeleteVirtualDisk_Task', parameters, signal);
  } catch (error) {
    if (!isFault(error, 'FileNotFound')) throw error;
  }
}

interface AttachableVm {
  readonly ref: Ref;
  readonly devices: Devices;
  readonly usesUuids: boolean;
  /** Properties of the vApp configuration, by label. */
  readonly properties: readonly XmlNode[];
}

async function attachableVm(cloud: VsphereCloud, vmCid: string, signal: Signal): Promise<AttachableVm> {
  const ref = await vmOf(cloud, vmCid, signal);
  const paths = ['config.hardware.device', 'config.extraConfig', 'config.vAppConfig'];
  const found = await cloud.client.find(ref, paths, signal);
  const extra = found?.properties['config.extraConfig']?.children ?? [];
  const enableUuid = extra.find((option) => option.textAt('key') === 'disk.enableUUID')?.textAt('value');
  return {
    ref,
    devices: new Devices(found?.properties['config.hardware.device']),
    usesUuids: isEnabled(enableUuid),
    properties: found?.properties['config.vAppConfig']?.all('property') ?? [],
  };
}

/** `disk.enableUUID` as people write it. */
export function isEnabled(value: string | number | boolean | undefined): boolean {
  return ['1', 'TRUE', 'true'].includes(String(value));
}

export function hintOf(disk: XmlNode, usesUuids: boolean): Json {
  const uuid = disk.textAt('backing', 'uuid');
  if (usesUuids && uuid !== undefined) return { id: uuid.toLowerCase() };
  return disk.textAt('unitNumber') ?? '';
}

export async function attachDisk(
  cloud: VsphereCloud,
  context: CallContext,
  vmCid: string,
  cid: string,
): Promise<Json> {
  const { signal } = context;
  const vm = await attachableVm(cloud, vmCid, signal);
  const present = vm.devices.disks.find((disk) => diskCidOf(disk) === cid);
  if (present !== undefined) {
    await labelDisk(cloud, vm, present, cid, signal);
    return hintOf(present, vm.usesUuids);
  }
  const disk = await diskOf(cloud, cid, signal);
  if (disk.holder !== undefined)
    throw new CloudError(`Disk '${cid}' is attached to another VM: ${disk.holder.id}`);
  const path = await reachablePath(cloud, vm.ref, disk, cid, signal);
  const system = vm.devices.systemDisk;
  const device = object('VirtualDisk', {
    key: -1,
    backing: object('VirtualDiskFlatVer2BackingInfo', { fileName: path, diskMode: 'independent_persistent' }),
    controllerKey: system.numberAt('controllerKey'),
    unitNumber: vm.devices.freeUnitNumber(),
    capacityInKB: disk.capacityKb ?? 0,
  });
  const spec = object('VirtualMachineConfigSpec', { deviceChange: [deviceChange('add', device)] });
  await cloud.client.task(vm.ref, 'ReconfigVM_Task', { spec }, signal);
  const now = await attachableVm(cloud, vmCid, signal);
  const added = now.devices.disks.find((candidate) => diskCidOf(candidate) === cid);
  if (added === undefined)
    throw new CloudError(`Disk '${cid}' was attached, but VM '${vmCid}' does not have it`);
  await labelDisk(cloud, now, added, cid, signal);
  return hintOf(added, now.usesUuids);
}

/** The disk where the VM can reach it: it is moved when its datastore is not mounted there. */
async function reachablePath(
  cloud: VsphereCloud,
  vm: Ref,
  disk: FoundDisk,
  cid: string,
  signal: Signal,
): Promise<string> {
  const reachable = await reachableBy(cloud, vm, signal);
  if (reachable.some(({ name }) => name === disk.datastore)) return disk.path;
  const target = roomyDatastore(cloud, reachable, Math.ceil((disk.capacityKb ?? 0) / 1024));
  await moveDisk(cloud, disk.path, target, cid, signal);
  return `[${target.name}] ${cloud.config.diskPath}/${cid}.vmdk`;
}

async function moveDisk(
  cloud: VsphereCloud,
  sourceName: string,
  target: Datastore,
  cid: string,
  signal: Signal,
): Promise<void> {
  const datacenter = await datacenterOf(cloud, signal);
  await makeDiskFolder(cloud, target, datacenter, signal);
  const manager = (await cloud.client.service(signal)).at('virtualDiskManager');
  const destName = `[${target.name}] ${cloud.config.diskPath}/${cid}.vmdk`;
  const parameters = {
    sourceName,
    sourceDatacenter: datacenter,
    destName,
    destDatacenter: datacenter,
    force: false,
  };
  await cloud.client.task(manager, 'MoveVirtualDisk_Task', parameters, signal);
}

/** Notes the cid and the path, so that the disk is known after vSphere has moved and renamed its file. */
async function labelDisk(
  cloud: VsphereCloud,
  vm: AttachableVm,
  disk: XmlNode,
  cid: string,
  signal: Signal,
): Promise<void> {
  if (vm.properties.some((property) => property.textAt('label') === cid)) return;
  const info = object('VAppPropertyInfo', {
    key: disk.numberAt('key'),
    id: cid,
    category,
    label: cid,
    type: 'string',
    userConfigurable: true,
    value: fileNameOf(disk),
  });
  const property = object('VAppPropertySpec', { operation: 'add', info });
  const spec = object('VirtualMachineConfigSpec', {
    vAppConfig: object('VmConfigSpec', { property: [property] }),
  });
  await cloud.client.task(vm.ref, 'ReconfigVM_Task', { spec }, signal);
}

export async function detachDisk(
  cloud: VsphereCloud,
  context: CallContext,
  vmCid: string,
  cid: string,
): Promise<void> {
  const { signal } = context;
  const vm = await attachableVm(cloud, vmCid, signal);
  const label = vm.properties.find((property) => property.textAt('label') === cid);
  const disk =
    vm.devices.disks.find((candidate) => diskCidOf(candidate) === cid) ??
    vm.devices.disks.find((candidate) => candidate.textAt('key') === label?.textAt('key'));
  if (disk === undefined)
    throw new DiskNotAttached(`Disk '${cid}' is not attached to VM '${vmCid}'`, { okToRetry: true });
  const path = fileNameOf(disk);
  const spec = object('VirtualMachineConfigSpec', {
    deviceChange: [deviceChange('remove', disk)],
    ...(label === undefined ? {} : { vAppConfig: withoutLabel(label) }),
  });
  await cloud.client.task(vm.ref, 'ReconfigVM_Task', { spec }, signal);
  if (path.endsWith(`] ${cloud.config.diskPath}/${cid}.vmdk`)) return;
  // vSphere has moved or renamed the file: back to where it is looked for.
  const home = (await datastores(cloud, signal)).find(({ name }) => path.startsWith(`[${name}]`));
  if (home !== undefined) await moveDisk(cloud, path, home, cid, signal);
}

function withoutLabel(label: XmlNode) {
  const key = label.textAt('key') ?? '';
  const removeKey = new XmlNode('removeKey', { 'xsi:type': 'xsd:int' }, [], key);
  // vCenter reads the first, the simulator the second.
  const info = object('VAppPropertyInfo', { key: Number(key) });
  const property = object('VAppPropertySpec', { operation: 'remove', removeKey, info });
  return object('VmConfigSpec', { property: [property] });
}

export async function getDisks(cloud: VsphereCloud, context: CallContext, vmCid: string): Promise<string[]> {
  const { devices } = await attachableVm(cloud, vmCid, context.signal);
  return devices.disks.flatMap((disk) => diskCidOf(disk) ?? []);
}

export async function resizeDisk(
  cloud: VsphereCloud,
  context: CallContext,
  cid: string,
  newSizeMiB: number,
): Promise<void> {
  const { signal } = context;
  const disk = await diskOf(cloud, cid, signal);
  if (disk.holder !== undefined) throw new CloudError(`Cannot resize disk '${cid}': it is attached to a VM`);
  const newCapacityKb = newSizeMiB * 1024;
  if (newCapacityKb === disk.capacityKb) return;
  if (disk.capacityKb !== undefined && newCapacityKb < disk.capacityKb) {
    throw new NotSupported(`Cannot resize disk '${cid}' to a smaller size`);
  }
  const manager = (await cloud.client.service(signal)).at('virtualDiskManager');
  const datacenter = await datacenterOf(cloud, signal);
  const parameters = { name: disk.path, datacenter, newCapacityKb, eagerZero: false };
  await cloud.client.task(manager, 'ExtendVirtualDisk_Task', parameters, signal);
}

/** vSphere has no place for metadata of a disk. */
export async function setDiskMetadata(): Promise<void> {}

export async function snapshotDisk(): Promise<string> {
  throw new NotImplemented('snapshot_disk is not there on vSphere: independent disks have no snapshots');
}

export async function deleteSnapshot(): Promise<void> {
  throw new NotImplemented('delete_snapshot is not there on vSphere: independent disks have no snapshots');
}
