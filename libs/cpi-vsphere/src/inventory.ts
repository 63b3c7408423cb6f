import { CloudError, VmNotFound } from '@microbosh/cpi';
import type { VsphereCloud } from './cloud.ts';
import { object, refOf } from './data-objects.ts';
import type { DataObject, Ref } from './data-objects.ts';
import { isFault } from './vim-fault.ts';
import type { XmlNode } from '@microbosh/cpi/xml';

type Signal = AbortSignal | undefined;

/** Names in inventory paths: a slash of a name would be one of the path. */
export function escapedName(name: string): string {
  return name.replaceAll('%', '%25').replaceAll('/', '%2f');
}

export async function byPath(cloud: VsphereCloud, path: string, signal: Signal): Promise<Ref | undefined> {
  const index = (await cloud.client.service(signal)).at('searchIndex');
  const [found] = await cloud.client.call(index, 'FindByInventoryPath', { inventoryPath: path }, signal);
  return refOf(found);
}

export async function datacenterOf(cloud: VsphereCloud, signal: Signal): Promise<Ref> {
  const { datacenter } = cloud.config;
  const found = await byPath(cloud, datacenter, signal);
  if (found?.ref === 'Datacenter') return found;
  throw new CloudError(`Datacenter '${datacenter}' not found`, {
    advice: "Check 'name' of the datacenter, with its folders if it lies in some.",
  });
}

/** A folder of VMs, made when it is not there; `path` may be nested. */
export async function vmFolder(cloud: VsphereCloud, path: string, signal: Signal): Promise<Ref> {
  let place = `${cloud.config.datacenter}/vm`;
  let folder = await byPath(cloud, place, signal);
  for (const name of path.split('/')) {
    if (folder === undefined) throw new CloudError(`Folder '${place}' not found`);
    place = `${place}/${escapedName(name)}`;
    folder = (await byPath(cloud, place, signal)) ?? (await makeFolder(cloud, folder, name, place, signal));
  }
  if (folder === undefined) throw new CloudError(`Folder '${place}' not found`);
  return folder;
}

async function makeFolder(
  cloud: VsphereCloud,
  parent: Ref,
  name: string,
  place: string,
  signal: Signal,
): Promise<Ref | undefined> {
  try {
    const [made] = await cloud.client.call(parent, 'CreateFolder', { name: escapedName(name) }, signal);
    return refOf(made);
  } catch (error) {
    if (!isFault(error, 'DuplicateName')) throw error;
    return byPath(cloud, place, signal);
  }
}

/** A VM by its exact name; it may have been moved out of its folder. */
export async function findVm(cloud: VsphereCloud, name: string, signal: Signal): Promise<Ref | undefined> {
  const { datacenter, vmFolder: folder } = cloud.config;
  const expected = await byPath(cloud, `${datacenter}/vm/${folder}/${escapedName(name)}`, signal);
  if (expected?.ref === 'VirtualMachine') return expected;
  return (await vmsNamed(cloud, (other) => other === name, signal))[0]?.ref;
}

export interface NamedVm {
  readonly ref: Ref;
  readonly name: string;
}

/** VMs of the datacenter by their names. */
export async function vmsNamed(
  cloud: VsphereCloud,
  isWanted: (name: string) => boolean,
  signal: Signal,
): Promise<readonly NamedVm[]> {
  const all = await cloud.client.below(await datacenterOf(cloud, signal), 'VirtualMachine', ['name'], signal);
  return all
    .map(({ ref, properties }) => ({ ref, name: properties['name']?.text ?? '' }))
    .filter(({ name }) => isWanted(name));
}

export async function vmOf(cloud: VsphereCloud, cid: string, signal: Signal): Promise<Ref> {
  const found = await findVm(cloud, cid, signal);
  if (found !== undefined) return found;
  throw new VmNotFound(cid, {
    message: `VM '${cid}' not found in datacenter '${cloud.config.datacenter}'`,
  });
}

export interface Datastore {
  readonly ref: Ref;
  readonly name: string;
  readonly freeMiB: number;
  readonly browser: Ref;
}

export interface Cluster {
  readonly ref: Ref;
  readonly name: string;
  readonly pool: Ref;
  readonly freeMemoryMiB: number;
  /** Those that can be used now. */
  readonly datastores: readonly Datastore[];
}

const mib = 1024 * 1024;

async function datastoresOf(
  cloud: VsphereCloud,
  refs: readonly Ref[],
  healthyHosts: ReadonlySet<string>,
  signal: Signal,
): Promise<Datastore[]> {
  const paths = [
    'name',
    'summary.accessible',
    'summary.freeSpace',
    'summary.maintenanceMode',
    'host',
    'browser',
  ];
  const found = await cloud.client.properties(refs, paths, signal);
  return found.flatMap(({ ref, properties }) => {
    const browser = refOf(properties['browser']);
    const mode = properties['summary.maintenanceMode']?.text ?? 'normal';
    const mounts = (properties['host']?.children ?? []).map((mount) => mount.textAt('key') ?? '');
    const usable =
      properties['summary.accessible']?.text === 'true' &&
      mode === 'normal' &&
      mounts.some((host) => healthyHosts.has(host));
    if (!usable || browser === undefined) return [];
    const freeMiB = Math.floor(Number(properties['summary.freeSpace']?.text ?? 0) / mib);
    return [{ ref, name: properties['name']?.text ?? '', freeMiB, browser }];
  });
}

async function resourcePool(
  cloud: VsphereCloud,
  cluster: { readonly name: string; readonly root: Ref; readonly ref: Ref },
  name: string | undefined,
  signal: Signal,
): Promise<Ref> {
  if (name === undefined) return cluster.root;
  const pools = await cloud.client.below(cluster.ref, 'ResourcePool', ['name'], signal);
  const found = pools.find(({ properties }) => properties['name']?.text === name);
  if (found === undefined) {
    throw new CloudError(`Resource pool '${name}' not found in cluster '${cluster.name}'`);
  }
  return found.ref;
}

/** The clusters of the configuration with what they have to give. */
export async function clustersOf(cloud: VsphereCloud, signal: Signal): Promise<readonly Cluster[]> {
  const datacenter = await datacenterOf(cloud, signal);
  const paths = ['name', 'resourcePool', 'datastore', 'host', 'summary'];
  const found = await cloud.client.below(datacenter, 'ClusterComputeResource', paths, signal);
  const clusters: Cluster[] = [];
  for (const { name, resourcePool: poolName } of cloud.config.clusters) {
    const cluster = found.find(({ properties }) => properties['name']?.text === name);
    const root = refOf(cluster?.properties['resourcePool']);
    if (cluster === undefined || root === undefined) {
      throw new CloudError(`Cluster '${name}' not found in datacenter '${cloud.config.datacenter}'`);
    }
    const { ref, properties } = cluster;
    const hosts = refsIn(properties['host']);
    const states = await cloud.client.properties(
      hosts,
      ['runtime.connectionState', 'runtime.inMaintenanceMode'],
      signal,
    );
    const healthy = states.filter(
      (host) =>
        host.properties['runtime.connectionState']?.text === 'connected' &&
        host.properties['runtime.inMaintenanceMode']?.text === 'false',
    );
    clusters.push({
      ref,
      name,
      pool: await resourcePool(cloud, { name, root, ref }, poolName, signal),
      freeMemoryMiB: properties['summary']?.numberAt('effectiveMemory') ?? 0,
      datastores: await datastoresOf(
        cloud,
        refsIn(properties['datastore']),
        new Set(healthy.map((host) => host.ref.id)),
        signal,
      ),
    });
  }
  return clusters;
}

/** References in an array property. */
export function refsIn(node: XmlNode | undefined): Ref[] {
  return (node?.children ?? []).flatMap((child) => refOf(child) ?? []);
}

/** A network by name, or by its path below the datacenter's networks. */
export async function networkOf(cloud: VsphereCloud, name: string, signal: Signal): Promise<Ref> {
  const byItsPath = await byPath(cloud, `${cloud.config.datacenter}/network/${name}`, signal);
  if (byItsPath !== undefined) return byItsPath;
  const all = await cloud.client.below(await datacenterOf(cloud, signal), 'Network', ['name'], signal);
  const [only, ...more] = all.filter(({ properties }) => properties['name']?.text === name);
  if (only === undefined) {
    throw new CloudError(`Network '${name}' not found. Verify that the portgroup exists.`);
  }
  if (more.length === 0) return only.ref;
  const standard = [only, ...more].filter(({ ref }) => ref.ref === 'Network');
  if (standard.length === 1 && standard[0] !== undefined) return standard[0].ref;
  throw new CloudError(`Multiple networks found for ${name}. Please specify the full path.`);
}

/** What a network card of this network is backed by. */
export async function backingOf(
  cloud: VsphereCloud,
  network: Ref,
  name: string,
  signal: Signal,
): Promise<DataObject> {
  if (network.ref === 'OpaqueNetwork') {
    const found = await cloud.client.find(network, ['summary'], signal);
    return object('VirtualEthernetCardOpaqueNetworkBackingInfo', {
      opaqueNetworkId: found?.properties['summary']?.textAt('opaqueNetworkId'),
      opaqueNetworkType: 'nsx.LogicalSwitch',
    });
  }
  if (network.ref !== 'DistributedVirtualPortgroup') {
    const deviceName = name.slice(name.lastIndexOf('/') + 1);
    return object('VirtualEthernetCardNetworkBackingInfo', { deviceName, network });
  }
  const found = await cloud.client.find(network, ['key', 'config.distributedVirtualSwitch'], signal);
  const dvs = refOf(found?.properties['config.distributedVirtualSwitch']);
  const uuid =
    dvs === undefined ? undefined : (await cloud.client.find(dvs, ['uuid'], signal))?.properties['uuid'];
  return object('VirtualEthernetCardDistributedVirtualPortBackingInfo', {
    port: object('DistributedVirtualSwitchPortConnection', {
      switchUuid: uuid?.text,
      portgroupKey: found?.properties['key']?.text,
    }),
  });
}

/** Whether a card of a VM has this backing. */
export function hasBacking(card: XmlNode, backing: DataObject): boolean {
  const own = card.at('backing');
  const { fields } = backing;
  switch (backing.type) {
    case 'VirtualEthernetCardNetworkBackingInfo':
      return own?.textAt('deviceName') === fields['deviceName'];
    case 'VirtualEthernetCardOpaqueNetworkBackingInfo':
      return own?.textAt('opaqueNetworkId') === fields['opaqueNetworkId'];
    default: {
      const port = fields['port'] as DataObject;
      return own?.textAt('port', 'portgroupKey') === port.fields['portgroupKey'];
    }
  }
}
