import { CloudError, uuidFor, VmNotFound } from '@microbosh/cpi';
import type { CallContext, CreatedVm, FoundResource, VmRequest } from '@microbosh/cpi';
import { isJsonObject } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import type { NetworkSpec, NetworksSpec } from '@microbosh/spec';
import { deliverSettings, directoryOf, isoName, option } from './agent-env.ts';
import type { VsphereCloud } from './cloud.ts';
import { object, refOf } from './data-objects.ts';
import type { DataObject, Ref } from './data-objects.ts';
import { deviceChange, Devices, diskCidOf } from './devices.ts';
import { findDisk, hintOf, isEnabled } from './disks.ts';
import {
  backingOf,
  clustersOf,
  datacenterOf,
  findVm,
  hasBacking,
  networkOf,
  refsIn,
  vmFolder,
  vmOf,
} from './inventory.ts';
import { placements } from './placement.ts';
import type { Placement } from './placement.ts';
import { replicaOn } from './stemcells.ts';
import { isFault, VimFault } from './vim-fault.ts';
import type { XmlNode } from '@microbosh/cpi/xml';

type Signal = AbortSignal | undefined;

interface WantedNetwork {
  readonly name: string;
  readonly portGroup: string;
  readonly ref: Ref;
  readonly ip: string | undefined;
  readonly backing: DataObject;
}

/** Everything that can be checked before anything is made. */
interface Prepared {
  readonly name: string;
  readonly cpu: number;
  readonly ramMiB: number;
  readonly diskMiB: number;
  readonly vmxOptions: Readonly<Record<string, string>>;
  readonly networks: readonly WantedNetwork[];
  readonly places: readonly Placement[];
}

function requiredNumber(properties: JsonObject, key: string): number {
  const value = properties[key];
  if (typeof value === 'number' && Number.isInteger(value) && value > 0) return value;
  throw new CloudError(`Must specify '${key}' in VM cloud properties.`, {
    advice: 'cpu is a number of CPUs; ram and disk are MB.',
  });
}

function vmxOptions(cloud: VsphereCloud, properties: JsonObject): Record<string, string> {
  const own = properties['vmx_options'] ?? {};
  if (!isJsonObject(own)) throw new CloudError("'vmx_options' of the VM cloud properties must be a map");
  const merged = { ...cloud.config.vmxOptions, ...own };
  return Object.fromEntries(
    Object.entries(merged).map(([key, value]) => [
      key,
      typeof value === 'string' ? value : JSON.stringify(value),
    ]),
  );
}

async function wantedNetworks(
  cloud: VsphereCloud,
  networks: NetworksSpec,
  signal: Signal,
): Promise<WantedNetwork[]> {
  const wanted: WantedNetwork[] = [];
  for (const [name, spec] of Object.entries(networks)) {
    // Without a name the network gets no card, as in the original.
    const portGroup = spec.cloud_properties?.['name'];
    if (typeof portGroup !== 'string' || portGroup === '') continue;
    const ref = await networkOf(cloud, portGroup, signal);
    const backing = await backingOf(cloud, ref, portGroup, signal);
    wanted.push({ name, portGroup, ref, ip: spec.ip === '' ? undefined : spec.ip, backing });
  }
  return wanted;
}

async function prepare(
  cloud: VsphereCloud,
  request: VmRequest,
  name: string,
  signal: Signal,
): Promise<Prepared> {
  const properties = request.cloudProperties;
  const cpu = requiredNumber(properties, 'cpu');
  const ramMiB = requiredNumber(properties, 'ram');
  const diskMiB = requiredNumber(properties, 'disk');
  const diskDatastores: string[] = [];
  for (const cid of request.diskCids) {
    const disk = await findDisk(cloud, cid, signal);
    if (disk !== undefined) diskDatastores.push(disk.datastore);
  }
  return {
    name,
    cpu,
    ramMiB,
    diskMiB,
    vmxOptions: vmxOptions(cloud, properties),
    networks: await wantedNetworks(cloud, request.networks, signal),
    places: placements(await clustersOf(cloud, signal), {
      ramMiB,
      diskMiB,
      pattern: cloud.config.ephemeralPattern,
      diskDatastores,
    }),
  };
}

/** Other VMs on the same networks whose guests say that they have these addresses. */
async function checkAddresses(cloud: VsphereCloud, { networks }: Prepared, signal: Signal): Promise<void> {
  if (!cloud.config.ensureNoIpConflicts) return;
  const index = (await cloud.client.service(signal)).at('searchIndex');
  const conflicts: string[] = [];
  for (const { ip, portGroup, ref } of networks) {
    if (ip === undefined) continue;
    const found = await cloud.client.call(index, 'FindAllByIp', { ip, vmSearch: true }, signal);
    const vms = found.flatMap((node) => refOf(node) ?? []);
    for (const vm of await cloud.client.properties(vms, ['name', 'network'], signal)) {
      if (refsIn(vm.properties['network']).some(({ id }) => id === ref.id)) {
        conflicts.push(`${vm.properties['name']?.text ?? ''} on network ${portGroup} with ip ${ip}`);
      }
    }
  }
  if (conflicts.length > 0) {
    throw new CloudError(
      `Detected IP conflicts with other VMs on the same networks: ${conflicts.join(', ')}`,
    );
  }
}

/** The hardware of the clone, as changes of the stemcell's. */
function cloneConfig(
  cloud: VsphereCloud,
  prepared: Prepared,
  place: Placement,
  devices: Devices,
): DataObject {
  const system = devices.systemDisk;
  const controller = devices.scsiController;
  const changes: DataObject[] = [];
  if (controller.type !== cloud.config.scsiController) {
    const device = object(cloud.config.scsiController, {
      key: controller.numberAt('key'),
      controllerKey: controller.numberAt('controllerKey'),
      unitNumber: controller.numberAt('unitNumber'),
      busNumber: controller.numberAt('busNumber'),
      sharedBus: controller.textAt('sharedBus'),
    });
    changes.push(deviceChange('edit', device));
  }
  const ephemeral = object('VirtualDisk', {
    key: -1,
    backing: object('VirtualDiskFlatVer2BackingInfo', {
      fileName: `[${place.datastore.name}] ${prepared.name}/ephemeral_disk.vmdk`,
      diskMode: 'persistent',
      thinProvisioned: cloud.config.diskType === 'thin',
    }),
    controllerKey: system.numberAt('controllerKey'),
    unitNumber: devices.freeUnitNumber(),
    capacityInKB: prepared.diskMiB * 1024,
  });
  changes.push(deviceChange('add', ephemeral, 'create'));
  for (const [index, network] of prepared.networks.entries()) {
    const card = object('VirtualVmxnet3', {
      key: -2 - index,
      backing: network.backing,
      controllerKey: devices.pciControllerKey,
    });
    changes.push(deviceChange('add', card));
  }
  for (const card of devices.networkCards) changes.push(deviceChange('remove', card));
  return object('VirtualMachineConfigSpec', {
    numCPUs: prepared.cpu,
    memoryMB: prepared.ramMiB,
    deviceChange: changes,
    extraConfig: Object.entries(prepared.vmxOptions).map(([key, value]) => option(key, value)),
  });
}

async function clone(
  cloud: VsphereCloud,
  request: VmRequest,
  prepared: Prepared,
  place: Placement,
  signal: Signal,
): Promise<Ref> {
  const stemcell = await replicaOn(cloud, request.stemcellCid, place, signal);
  const found = await cloud.client.find(stemcell.vm, ['config.hardware.device'], signal);
  const devices = new Devices(found?.properties['config.hardware.device']);
  const folder = await vmFolder(cloud, cloud.config.vmFolder, signal);
  const spec = object('VirtualMachineCloneSpec', {
    location: object('VirtualMachineRelocateSpec', {
      datastore: place.datastore.ref,
      diskMoveType: 'createNewChildDiskBacking',
      pool: place.cluster.pool,
    }),
    template: false,
    config: cloneConfig(cloud, prepared, place, devices),
    powerOn: false,
    snapshot: stemcell.snapshot,
  });
  const parameters = { folder, name: prepared.name, spec };
  const vm = refOf(await cloud.client.task(stemcell.vm, 'CloneVM_Task', parameters, signal));
  if (vm === undefined) throw new CloudError('vSphere cloned the stemcell and named no VM');
  return vm;
}

/** MACs by network; of several cards with one backing the last is taken first, as in the original. */
function macsOf(
  devices: Devices,
  wanted: readonly WantedNetwork[],
  vmName: string,
): ReadonlyMap<string, string> {
  const cards = [...devices.networkCards];
  const macs = new Map<string, string>();
  for (const network of wanted) {
    const index = cards.findLastIndex((card) => hasBacking(card, network.backing));
    const [card] = index < 0 ? [] : cards.splice(index, 1);
    if (card === undefined)
      throw new CloudError(`Could not find network '${network.portGroup}' for VM '${vmName}'`);
    macs.set(network.name, card.textAt('macAddress') ?? '');
  }
  return macs;
}

function withMacs(networks: NetworksSpec, macs: ReadonlyMap<string, string>): NetworksSpec {
  return Object.fromEntries(
    Object.entries(networks).map(([name, spec]): [string, NetworkSpec] => {
      const mac = macs.get(name);
      return [name, mac === undefined ? spec : { ...spec, mac }];
    }),
  );
}

function agentSettings(
  cloud: VsphereCloud,
  request: VmRequest,
  vm: { readonly name: string; readonly ref: Ref; readonly devices: Devices; readonly usesUuids: boolean },
  networks: NetworksSpec,
): JsonObject {
  const { devices, usesUuids } = vm;
  const ephemeral = devices.disks.find((disk) => disk !== devices.systemDisk);
  if (ephemeral === undefined) throw new CloudError(`VM '${vm.name}' has no ephemeral disk`);
  const settings = {
    ...(cloud.agent ?? {}),
    vm: { name: vm.name, id: vm.ref.id },
    agent_id: request.agentId,
    networks,
    disks: {
      system: devices.systemDisk.textAt('unitNumber') ?? '0',
      ephemeral: hintOf(ephemeral, usesUuids),
      persistent: {},
    },
    env: request.env,
  };
  return JSON.parse(JSON.stringify(settings)) as JsonObject;
}

async function finish(
  cloud: VsphereCloud,
  request: VmRequest,
  prepared: Prepared,
  vm: Ref,
  signal: Signal,
): Promise<NetworksSpec> {
  const { client, config } = cloud;
  const found = await client.find(vm, ['config.hardware.device'], signal);
  const devices = new Devices(found?.properties['config.hardware.device']);
  const networks = withMacs(request.networks, macsOf(devices, prepared.networks, prepared.name));
  const usesUuids = isEnabled(prepared.vmxOptions['disk.enableUUID']);
  const settings = agentSettings(
    cloud,
    request,
    { name: prepared.name, ref: vm, devices, usesUuids },
    networks,
  );
  await deliverSettings(cloud, vm, settings, signal);
  const version = config.hardwareVersion;
  try {
    const parameters = version === undefined ? {} : { version: `vmx-${version}` };
    await client.task(vm, 'UpgradeVM_Task', parameters, signal);
  } catch (error) {
    if (!isFault(error, 'AlreadyUpgraded')) throw error;
  }
  await setFields(cloud, vm, { cpi_metadata_version: '1' }, signal);
  await powerOn(cloud, vm, prepared.name, signal);
  return networks;
}

async function powerOn(cloud: VsphereCloud, vm: Ref, name: string, signal: Signal): Promise<void> {
  const datacenter = await datacenterOf(cloud, signal);
  const result = await cloud.client.task(datacenter, 'PowerOnMultiVM_Task', { vm: [vm] }, signal);
  if ((result?.all('recommendations') ?? []).length > 0) {
    throw new CloudError('Recommendations were detected, you may be running in Manual DRS mode. Aborting.');
  }
  const refused = result?.at('notAttempted');
  if (refused !== undefined) {
    throw new VimFault(
      'PowerOnMultiVM_Task',
      refused.at('fault', 'fault')?.type ?? 'SystemError',
      `Could not power on VM '${name}': ${refused.textAt('fault', 'localizedMessage') ?? ''}`,
    );
  }
  const task = refOf(result?.at('attempted', 'task'));
  if (task !== undefined) await cloud.client.waitForTask(task, 'PowerOnMultiVM_Task', signal);
}

/** A VM of an earlier call that is switched on has everything: that is the last thing to happen. */
async function completeVm(cloud: VsphereCloud, name: string, signal: Signal): Promise<Ref | undefined> {
  const earlier = await findVm(cloud, name, signal);
  if (earlier === undefined) return undefined;
  const state = (await cloud.client.find(earlier, ['runtime.powerState'], signal))?.properties[
    'runtime.powerState'
  ];
  if (state?.text === 'poweredOn') return earlier;
  await destroyVm(cloud, earlier, signal);
  return undefined;
}

/** What a create_vm with this token has made and can be used; its half is removed. */
export async function vmOfToken(
  cloud: VsphereCloud,
  token: string,
  signal: Signal,
): Promise<string | undefined> {
  const name = `vm-${uuidFor(token)}`;
  return (await completeVm(cloud, name, signal)) === undefined ? undefined : name;
}

/** Placements that are tried when a host cannot run the VM. */
const maxPlaces = 5;

export async function createVm(
  cloud: VsphereCloud,
  context: CallContext,
  request: VmRequest,
): Promise<CreatedVm> {
  const { signal, token } = context;
  const name = `vm-${uuidFor(token)}`;
  const prepared = await prepare(cloud, request, name, signal);
  const earlier = token === undefined ? undefined : await completeVm(cloud, name, signal);
  if (earlier !== undefined) {
    const found = await cloud.client.find(earlier, ['config.hardware.device'], signal);
    const devices = new Devices(found?.properties['config.hardware.device']);
    return { cid: name, networks: withMacs(request.networks, macsOf(devices, prepared.networks, name)) };
  }
  await checkAddresses(cloud, prepared, signal);
  const places = prepared.places.slice(0, maxPlaces);
  for (const [index, place] of places.entries()) {
    try {
      const vm = await clone(cloud, request, prepared, place, signal);
      return { cid: name, networks: await finish(cloud, request, prepared, vm, signal) };
    } catch (error) {
      await removeHalf(cloud, name);
      signal?.throwIfAborted();
      const elsewhere = isFault(error, 'GenericVmConfigFault') && index + 1 < places.length;
      if (!elsewhere) throw error;
    }
  }
  throw new CloudError(`VM '${name}' could not be created`);
}

/** Best effort, by name: what was made without an answer is not known by its reference. */
async function removeHalf(cloud: VsphereCloud, name: string): Promise<void> {
  try {
    const half = await findVm(cloud, name, undefined);
    if (half !== undefined) await destroyVm(cloud, half, undefined);
  } catch {
    // The first error is the one to report.
  }
}

async function answerQuestion(
  cloud: VsphereCloud,
  vm: Ref,
  question: XmlNode,
  signal: Signal,
): Promise<void> {
  const choices = question.at('choice')?.all('choiceInfo') ?? [];
  const choice = choices[question.numberAt('choice', 'defaultIndex') ?? 0] ?? choices[0];
  const parameters = { questionId: question.textAt('id') ?? '', answerChoice: choice?.textAt('key') ?? '0' };
  await cloud.client.call(vm, 'AnswerVM', parameters, signal);
}

async function powerOff(cloud: VsphereCloud, vm: Ref, signal: Signal): Promise<void> {
  try {
    await cloud.client.task(vm, 'PowerOffVM_Task', {}, signal);
  } catch (error) {
    if (!isFault(error, 'InvalidPowerState')) throw error;
  }
}

/** Takes the persistent disks off first: they would go with the VM. */
async function destroyVm(cloud: VsphereCloud, vm: Ref, signal: Signal): Promise<void> {
  const { client } = cloud;
  const paths = [
    'runtime.powerState',
    'runtime.question',
    'config.hardware.device',
    'config.files.vmPathName',
  ];
  const found = await client.find(vm, paths, signal);
  if (found === undefined) return;
  const question = found.properties['runtime.question'];
  if (question !== undefined) await answerQuestion(cloud, vm, question, signal);
  if (found.properties['runtime.powerState']?.text !== 'poweredOff') await powerOff(cloud, vm, signal);
  const kept = new Devices(found.properties['config.hardware.device']).disks.filter(
    (disk) => diskCidOf(disk) !== undefined,
  );
  if (kept.length > 0) {
    const changes = kept.map((disk) => deviceChange('remove', disk));
    const spec = object('VirtualMachineConfigSpec', { deviceChange: changes });
    await client.task(vm, 'ReconfigVM_Task', { spec }, signal);
  }
  await deleteIso(cloud, found.properties['config.files.vmPathName']?.text ?? '', signal);
  await client.task(vm, 'Destroy_Task', {}, signal);
}

/** It holds secrets and is no part of the VM: it would stay behind. */
async function deleteIso(cloud: VsphereCloud, vmPathName: string, signal: Signal): Promise<void> {
  const { datastore, directory } = directoryOf(vmPathName);
  const manager = (await cloud.client.service(signal)).at('fileManager');
  const name = `[${datastore}] ${directory}/${isoName}`;
  try {
    const parameters = { name, datacenter: await datacenterOf(cloud, signal) };
    await cloud.client.task(manager, 'DeleteDatastoreFile_Task', parameters, signal);
  } catch (error) {
    if (!isFault(error, 'FileNotFound', 'CannotDeleteFile', 'FileFault')) throw error;
  }
}

export async function deleteVm(cloud: VsphereCloud, context: CallContext, cid: string): Promise<void> {
  const vm = await vmOf(cloud, cid, context.signal);
  try {
    await destroyVm(cloud, vm, context.signal);
  } catch (error) {
    if (!isFault(error, 'ManagedObjectNotFound')) throw error;
    throw new VmNotFound(cid, { cause: error });
  }
}

export async function hasVm(cloud: VsphereCloud, context: CallContext, cid: string): Promise<boolean> {
  return (await findVm(cloud, cid, context.signal)) !== undefined;
}

export async function rebootVm(cloud: VsphereCloud, context: CallContext, cid: string): Promise<void> {
  const { signal } = context;
  const vm = await vmOf(cloud, cid, signal);
  try {
    await cloud.client.call(vm, 'RebootGuest', {}, signal);
  } catch (error) {
    signal?.throwIfAborted();
    // No tools in the guest, or no running guest.
    if (!(error instanceof VimFault)) throw error;
    await powerOff(cloud, vm, signal);
    await powerOn(cloud, vm, cid, signal);
  }
}

async function fieldKeys(
  cloud: VsphereCloud,
  manager: Ref,
  signal: Signal,
): Promise<ReadonlyMap<string, string>> {
  const found = await cloud.client.find(manager, ['field'], signal);
  const fields = found?.properties['field']?.children ?? [];
  return new Map(fields.map((field) => [field.textAt('name') ?? '', field.textAt('key') ?? '']));
}

/** Custom attributes; a user who may not define them is no reason to fail. */
async function setFields(
  cloud: VsphereCloud,
  vm: Ref,
  values: Readonly<Record<string, string>>,
  signal: Signal,
): Promise<void> {
  const { client } = cloud;
  const manager = (await client.service(signal)).at('customFieldsManager');
  let keys = await fieldKeys(cloud, manager, signal);
  try {
    for (const [name, value] of Object.entries(values)) {
      if (!keys.has(name)) {
        await defineField(cloud, manager, name, signal);
        keys = await fieldKeys(cloud, manager, signal);
      }
      await client.call(manager, 'SetField', { entity: vm, key: Number(keys.get(name)), value }, signal);
    }
  } catch (error) {
    if (!isFault(error, 'NoPermission')) throw error;
  }
}

async function defineField(cloud: VsphereCloud, manager: Ref, name: string, signal: Signal): Promise<void> {
  try {
    await cloud.client.call(manager, 'AddCustomFieldDef', { name, moType: 'VirtualMachine' }, signal);
  } catch (error) {
    // Another process has defined it.
    if (!isFault(error, 'DuplicateName')) throw error;
  }
}

export async function setVmMetadata(
  cloud: VsphereCloud,
  context: CallContext,
  cid: string,
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  await setFields(cloud, await vmOf(cloud, cid, context.signal), metadata, context.signal);
}

/** VMs with all of these custom attributes, and the persistent disks that they have. */
export async function findByMetadata(
  cloud: VsphereCloud,
  context: CallContext,
  metadata: Readonly<Record<string, string>>,
): Promise<readonly FoundResource[]> {
  const { signal } = context;
  const manager = (await cloud.client.service(signal)).at('customFieldsManager');
  const keys = await fieldKeys(cloud, manager, signal);
  const folder = await vmFolder(cloud, cloud.config.vmFolder, signal);
  const paths = ['name', 'customValue', 'config.hardware.device'];
  const vms = await cloud.client.below(folder, 'VirtualMachine', paths, signal);
  return vms.flatMap(({ properties }): FoundResource[] => {
    const values = new Map(
      (properties['customValue']?.children ?? []).map((field) => [
        field.textAt('key'),
        field.textAt('value'),
      ]),
    );
    const isMeant = Object.entries(metadata).every(
      ([name, value]) => keys.has(name) && values.get(keys.get(name)) === value,
    );
    if (!isMeant) return [];
    const disks = new Devices(properties['config.hardware.device']).disks.flatMap((disk): FoundResource[] => {
      const cid = diskCidOf(disk);
      const sizeMiB = Math.floor((disk.numberAt('capacityInKB') ?? 0) / 1024);
      // A size of nothing is that of a server which does not tell it.
      return cid === undefined
        ? []
        : [{ kind: 'disk', cid, ...(sizeMiB > 0 ? { sizeMiB } : {}), cloudProperties: {} }];
    });
    return [{ kind: 'vm', cid: properties['name']?.text ?? '' }, ...disks];
  });
}

export async function calculateVmCloudProperties(
  _cloud: VsphereCloud,
  _context: CallContext,
  { cpu, ram, ephemeral_disk_size: disk }: { cpu: number; ram: number; ephemeral_disk_size: number },
): Promise<JsonObject> {
  return { cpu, ram, disk };
}
