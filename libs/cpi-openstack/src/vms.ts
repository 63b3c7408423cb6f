import { CloudError, InvalidCall, VmCreationFailed, VmNotFound, uuidFor } from '@microbosh/cpi';
import type { CallContext, CreatedVm, VmRequest } from '@microbosh/cpi';
import { messageOf } from '@microbosh/errors';
import type { Json, JsonObject } from '@microbosh/errors';
import type { NetworkSpec, NetworksSpec } from '@microbosh/spec';
import { waitFor } from './cloud.ts';
import type { OpenstackCloud } from './cloud.ts';
import { registryKeyOf } from './disks.ts';
import { makeOnce } from './make-once.ts';
import { metadataOf } from './names.ts';
import { planNetworks } from './network-plan.ts';
import type { NetworkPlan } from './network-plan.ts';
import { OpenstackAnswer } from './openstack-client.ts';
import {
  associateFloatingIp,
  createPort,
  findSecurityGroups,
  markPorts,
  portsOfServer,
  removeMarkedPorts,
  removePortsNamed,
  requireVrrpPort,
} from './ports.ts';
import type { SecurityGroup } from './ports.ts';
import {
  consoleAnswer,
  flavorsAnswer,
  keypairsAnswer,
  networkAnswer,
  portsAnswer,
  serverAnswer,
  serversAnswer,
  volumeAnswer,
} from './schemas.ts';
import type { Flavor, Port, Server } from './schemas.ts';
import { requireImage } from './stemcells.ts';

type Signal = AbortSignal | undefined;

/** Everything that can be checked before anything is made. */
interface Prepared {
  readonly name: string;
  readonly plan: NetworkPlan;
  readonly groups: readonly SecurityGroup[];
  readonly imageId: string;
  readonly flavor: Flavor;
  readonly keyName: string;
  readonly zones: readonly (string | undefined)[];
  readonly bootVolumeGiB: number | undefined;
  readonly addressPairs: string | undefined;
  readonly registryMode: boolean;
}

async function loadServer(cloud: OpenstackCloud, id: string, signal: Signal): Promise<Server | undefined> {
  return (await cloud.client.find('compute', `/servers/${id}`, serverAnswer, signal))?.server;
}

function optionalText(properties: JsonObject, key: string): string | undefined {
  const value = properties[key];
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value !== 'string') throw new InvalidCall(`cloud property '${key}' must be a string`);
  return value;
}

function textList(properties: JsonObject, key: string): string[] | undefined {
  const value = properties[key];
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) throw new InvalidCall(`cloud property '${key}' must be an Array`);
  return value.map(String);
}

export async function findFlavor(cloud: OpenstackCloud, name: string, signal: Signal): Promise<Flavor> {
  const { flavors } = await cloud.client.call('compute', 'GET', '/flavors/detail', flavorsAnswer, { signal });
  const flavor = flavors.find((candidate) => candidate.name === name);
  if (flavor === undefined) {
    throw new CloudError(`Flavor \`${name}' not found`, {
      advice: `Known flavors: ${flavors.map((candidate) => candidate.name).join(', ')}`,
    });
  }
  const ephemeral = flavor['OS-FLV-EXT-DATA:ephemeral'] ?? 0;
  const needed = Math.floor(flavor.ram / 1024) * 2;
  if (ephemeral > 0 && ephemeral < needed) {
    throw new CloudError(`Flavor \`${name}' should have at least ${needed}Gb of ephemeral disk`);
  }
  return flavor;
}

export async function findKeyName(
  cloud: OpenstackCloud,
  properties: JsonObject,
  signal: Signal,
): Promise<string> {
  const name = optionalText(properties, 'key_name') ?? cloud.config.properties.default_key_name ?? '';
  const { keypairs } = await cloud.client.call('compute', 'GET', '/os-keypairs', keypairsAnswer, { signal });
  if (keypairs.some(({ keypair }) => keypair.name === name)) return name;
  throw new CloudError(`Key-pair \`${name}' not found`, {
    advice: `Known key pairs: ${keypairs.map(({ keypair }) => keypair.name).join(', ') || 'none'}`,
  });
}

/** Those of the VM, else those of its networks, else the default ones. */
export function wantedSecurityGroups(
  cloud: OpenstackCloud,
  properties: JsonObject,
  ofNetworks: readonly string[],
): readonly string[] {
  const own = textList(properties, 'security_groups') ?? [];
  if (own.length > 0) return own;
  return ofNetworks.length > 0 ? ofNetworks : (cloud.config.properties.default_security_groups ?? []);
}

/** Zones to try, in order. Given disks, the zones of all of them and of the VM have to be one. */
async function zonesFor(
  cloud: OpenstackCloud,
  request: VmRequest,
  signal: Signal,
): Promise<(string | undefined)[]> {
  const zone = optionalText(request.cloudProperties, 'availability_zone');
  const zones = textList(request.cloudProperties, 'availability_zones');
  const ignore = cloud.config.properties.ignore_server_availability_zone ?? false;
  if (zones !== undefined && zone !== undefined) {
    throw new CloudError(
      "Only one property of 'availability_zone' and 'availability_zones' can be configured.",
    );
  }
  if (zones !== undefined) {
    if (!ignore) {
      throw new CloudError(
        "Cannot use multiple azs without 'openstack.ignore_server_availability_zone' set to true",
      );
    }
    return shuffled(zones);
  }
  if (ignore || request.diskCids.length === 0) return [zone];
  const found = new Set<string>(zone === undefined ? [] : [zone]);
  for (const diskCid of request.diskCids) {
    const disk = await cloud.client.find('volume', `/volumes/${diskCid}`, volumeAnswer, signal);
    const diskZone = disk?.volume.availability_zone;
    if (diskZone !== undefined && diskZone !== null && diskZone !== '') found.add(diskZone);
  }
  if (found.size > 1) throw new CloudError(`can't use multiple availability zones: ${[...found].join(', ')}`);
  return [zone];
}

function shuffled(values: readonly string[]): string[] {
  return values
    .map((value) => ({ value, order: Math.random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ value }) => value);
}

function bootVolumeSize(cloud: OpenstackCloud, properties: JsonObject, flavor: Flavor): number | undefined {
  const own = properties['boot_from_volume'];
  const wanted = typeof own === 'boolean' ? own : (cloud.config.properties.boot_from_volume ?? false);
  if (!wanted) return undefined;
  const rootDisk = properties['root_disk'];
  const size =
    typeof rootDisk === 'object' && rootDisk !== null && 'size' in rootDisk ? rootDisk['size'] : undefined;
  if (size !== undefined) {
    if (typeof size !== 'number' || !Number.isInteger(size) || size < 1) {
      throw new InvalidCall('Minimum root_disk size is 1 GiB');
    }
    return size;
  }
  if (flavor.disk > 0) return flavor.disk;
  throw new CloudError(
    `Flavor '${flavor.name}' has a root disk size of 0. Please specify root_disk.size in the VM's cloud properties.`,
  );
}

async function prepare(cloud: OpenstackCloud, context: CallContext, request: VmRequest): Promise<Prepared> {
  const { signal } = context;
  const registryMode = cloud.registry !== undefined;
  if (!registryMode && context.stemcellApiVersion < 2) {
    throw new InvalidCall(
      `Registry configuration is missing: CPI API version 2 with stemcell api_version ${context.stemcellApiVersion} needs one`,
      { advice: "Give 'registry' properties, or use a stemcell of api_version 2 or later." },
    );
  }
  const plan = planNetworks(request.networks);
  const dhcp = cloud.config.properties.use_dhcp ?? true;
  if (plan.privateNetworks.length > 1 && (dhcp || cloud.config.properties.config_drive === undefined)) {
    throw new VmCreationFailed(
      "Multiple manual networks can only be used with 'openstack.use_dhcp=false' and 'openstack.config_drive=cdrom|disk'",
    );
  }
  const properties = request.cloudProperties;
  const groupNames = wantedSecurityGroups(cloud, properties, plan.securityGroups);
  const addressPairs = optionalText(properties, 'allowed_address_pairs');
  if (addressPairs !== undefined && plan.gateway.kind === 'dynamic') {
    throw new CloudError("Network with 'dynamic' type cannot be used with 'allowed_address_pairs' (VRRP)");
  }
  const instanceType = optionalText(properties, 'instance_type');
  if (instanceType === undefined) throw new InvalidCall("cloud property 'instance_type' must be set");

  const [groups, image, flavor, keyName, zones] = await Promise.all([
    findSecurityGroups(cloud, groupNames, signal),
    requireImage(cloud, request.stemcellCid, signal),
    findFlavor(cloud, instanceType, signal),
    findKeyName(cloud, properties, signal),
    zonesFor(cloud, request, signal),
  ]);
  if (addressPairs !== undefined && plan.gateway.spec.cloud_properties?.['vrrp_port_check'] !== false) {
    await requireVrrpPort(cloud, addressPairs, signal);
  }
  return {
    name: `vm-${uuidFor(context.token)}`,
    plan,
    groups,
    imageId: image.id,
    flavor,
    keyName,
    zones,
    bootVolumeGiB: bootVolumeSize(cloud, properties, flavor),
    addressPairs,
    registryMode,
  };
}

function withDhcp(
  cloud: OpenstackCloud,
  networks: NetworksSpec,
  macs: ReadonlyMap<string, string>,
): NetworksSpec {
  const useDhcp = cloud.config.properties.use_dhcp ?? true;
  const result: Record<string, NetworkSpec> = {};
  for (const [name, spec] of Object.entries(networks)) {
    const mac = macs.get(name);
    result[name] = {
      ...spec,
      ...(spec.type === 'vip' ? {} : { use_dhcp: useDhcp }),
      ...(mac === undefined ? {} : { mac }),
    };
  }
  return result;
}

function agentSettings(
  cloud: OpenstackCloud,
  request: VmRequest,
  prepared: Prepared,
  networks: NetworksSpec,
): JsonObject {
  const settings = {
    ...(cloud.agent ?? {}),
    vm: { name: prepared.name },
    agent_id: request.agentId,
    networks,
    disks: {
      system: '/dev/sda',
      ephemeral: (prepared.flavor['OS-FLV-EXT-DATA:ephemeral'] ?? 0) > 0 ? '/dev/sdb' : null,
      persistent: {},
    },
    env: request.env,
  };
  return JSON.parse(JSON.stringify(settings)) as JsonObject;
}

/** What the VM finds at its metadata service or on its config drive. */
async function userData(
  cloud: OpenstackCloud,
  prepared: Prepared,
  networks: NetworksSpec,
  settings: JsonObject,
  signal: Signal,
): Promise<JsonObject> {
  const pointer = {
    server: { name: prepared.name },
    networks: JSON.parse(JSON.stringify(networks)) as JsonObject,
    ...(prepared.plan.dns.length === 0 ? {} : { dns: { nameserver: prepared.plan.dns } }),
  };
  if (cloud.registry === undefined) return { ...settings, ...pointer };
  const { client, ca } = cloud.registry;
  return {
    ...pointer,
    registry: {
      endpoint: await client.instanceEndpoint(prepared.name, signal),
      ...(ca === undefined ? {} : { ca }),
    },
  };
}

function serverBody(
  cloud: OpenstackCloud,
  request: VmRequest,
  prepared: Prepared,
  ports: ReadonlyMap<string, Port>,
  data: JsonObject,
  zone: string | undefined,
): Json {
  const { plan, imageId, bootVolumeGiB } = prepared;
  const networks = plan.privateNetworks
    .filter((network) => network.netId !== undefined)
    .map((network) => {
      const port = ports.get(network.name);
      return { uuid: network.netId ?? '', ...(port === undefined ? {} : { port: port.id }) };
    });
  const hints = request.cloudProperties['scheduler_hints'];
  return {
    server: {
      name: prepared.name,
      flavorRef: prepared.flavor.id,
      ...(bootVolumeGiB === undefined ? { imageRef: imageId } : {}),
      key_name: prepared.keyName,
      security_groups: prepared.groups.map(({ name }) => ({ name })),
      user_data: Buffer.from(JSON.stringify(data)).toString('base64'),
      networks,
      ...(zone === undefined ? {} : { availability_zone: zone }),
      ...(cloud.config.properties.config_drive === undefined ? {} : { config_drive: true }),
      ...(bootVolumeGiB === undefined
        ? {}
        : {
            block_device_mapping_v2: [
              {
                boot_index: '0',
                delete_on_termination: '1',
                destination_type: 'volume',
                device_name: '/dev/vda',
                source_type: 'image',
                uuid: imageId,
                volume_size: bootVolumeGiB,
              },
            ],
          }),
      metadata: { registry_key: prepared.name },
    },
    ...(hints === undefined || hints === null ? {} : { 'os:scheduler_hints': hints }),
  };
}

async function serverByName(
  cloud: OpenstackCloud,
  name: string,
  signal: Signal,
): Promise<Server | undefined> {
  const { servers } = await cloud.client.call('compute', 'GET', '/servers/detail', serversAnswer, {
    query: { name: `^${name}$` },
    signal,
  });
  return servers.find((server) => server.metadata?.['registry_key'] === name || server.name === name);
}

/** A server of an earlier call with the same token, by the key that survives a renaming. */
async function serverOfEarlierCall(
  cloud: OpenstackCloud,
  name: string,
  signal: Signal,
): Promise<Server | undefined> {
  const byName = await serverByName(cloud, name, signal);
  if (byName === undefined) return undefined;
  if (byName.status?.toLowerCase() !== 'error') return byName;
  await destroy(cloud, byName, signal);
  return undefined;
}

async function waitUntilActive(
  cloud: OpenstackCloud,
  id: string,
  signal: Signal,
): Promise<Server | undefined> {
  return waitFor(cloud, {
    kind: 'Server',
    id,
    targets: ['active'],
    load: () => loadServer(cloud, id, signal),
    stateOf: (server) => server.status ?? '',
    faultOf: ({ fault }) =>
      fault === undefined ? undefined : `${fault.message ?? ''} ${fault.details ?? ''}`.trim(),
    signal,
  });
}

/** POST /servers; when no answer comes, the server is looked for by its name, so that none is lost. */
async function requestServer(
  cloud: OpenstackCloud,
  prepared: Prepared,
  body: Json,
  signal: Signal,
): Promise<string> {
  try {
    const { id } = await makeOnce({
      make: async () =>
        (
          await cloud.client.call('compute', 'POST', '/servers', serverAnswer, {
            body,
            once: true,
            signal,
          })
        ).server,
      find: () => serverByName(cloud, prepared.name, undefined),
      pauseMs: cloud.client.pauseMs,
      signal,
    });
    return id;
  } catch (error) {
    if (error instanceof OpenstackAnswer && (error.status === 400 || error.status === 404)) {
      await explainMissingNetworks(cloud, prepared, signal);
    }
    throw error;
  }
}

async function explainMissingNetworks(
  cloud: OpenstackCloud,
  prepared: Prepared,
  signal: Signal,
): Promise<void> {
  const missing: string[] = [];
  for (const { netId } of prepared.plan.privateNetworks) {
    if (netId === undefined) continue;
    const found = await cloud.client.find('network', `/networks/${netId}`, networkAnswer, signal);
    if (found === undefined) missing.push(netId);
  }
  if (missing.length > 0) {
    throw new VmCreationFailed(
      `VM creation with name '${prepared.name}' failed. Following network IDs are not existing or not accessible from this project: '${missing.join(',')}'. Make sure you do not use subnet IDs`,
    );
  }
}

async function createServer(
  cloud: OpenstackCloud,
  request: VmRequest,
  prepared: Prepared,
  ports: ReadonlyMap<string, Port>,
  data: JsonObject,
  signal: Signal,
): Promise<Server> {
  let failure: unknown;
  for (const zone of prepared.zones) {
    let id: string | undefined;
    try {
      // A server of the zone before has to be gone: it holds the ports.
      if (failure !== undefined) await removeServerNamed(cloud, prepared.name);
      id = await requestServer(
        cloud,
        prepared,
        serverBody(cloud, request, prepared, ports, data, zone),
        signal,
      );
      const server = await waitUntilActive(cloud, id, signal);
      if (server !== undefined) return server;
    } catch (error) {
      signal?.throwIfAborted();
      failure = error;
      if (id !== undefined) {
        failure = new VmCreationFailed(`VM creation failed: ${messageOf(error)}`, {
          okToRetry: true,
          cause: error,
        });
      }
    }
  }
  throw failure;
}

export async function createVm(
  cloud: OpenstackCloud,
  context: CallContext,
  request: VmRequest,
): Promise<CreatedVm> {
  const { signal } = context;
  const prepared = await prepare(cloud, context, request);
  const ports = new Map<string, Port>();
  let server: Server | undefined;
  try {
    for (const network of prepared.plan.privateNetworks) {
      if (network.kind !== 'manual') continue;
      const allowedAddressPairs = network === prepared.plan.gateway ? prepared.addressPairs : undefined;
      const mayExist = context.token !== undefined;
      const options = { securityGroups: prepared.groups, allowedAddressPairs, mayExist, signal };
      ports.set(network.name, await createPort(cloud, prepared.name, network, options));
    }
    const macs = new Map([...ports].map(([name, port]) => [name, port.mac_address]));
    const networks = withDhcp(cloud, request.networks, macs);
    const settings = agentSettings(cloud, request, prepared, networks);
    // Settings first: the agent of a server that is up finds them at its first try.
    await cloud.registry?.client.putSettings(prepared.name, settings, signal);
    const data = await userData(cloud, prepared, networks, settings, signal);
    server =
      context.token === undefined ? undefined : await serverOfEarlierCall(cloud, prepared.name, signal);
    if (server === undefined) server = await createServer(cloud, request, prepared, ports, data, signal);
    else await waitUntilActive(cloud, server.id, signal);
    await associateFloatingIp(cloud, prepared.plan, server.id, signal);
    return { cid: server.id, networks };
  } catch (error) {
    await cleanUp(cloud, server, prepared);
    signal?.throwIfAborted();
    throw error;
  }
}

/** Best effort and in every case: the first error is the one to report. */
async function cleanUp(cloud: OpenstackCloud, server: Server | undefined, prepared: Prepared): Promise<void> {
  if (server !== undefined) await destroyServerOnly(cloud, server.id).catch(() => undefined);
  // By name, too: what was made without an answer is not known by id.
  await removeServerNamed(cloud, prepared.name).catch(() => undefined);
  const manual = prepared.plan.privateNetworks.filter(({ kind }) => kind === 'manual');
  await removePortsNamed(
    cloud,
    prepared.name,
    manual.map(({ name }) => name),
    undefined,
  ).catch(() => undefined);
  await cloud.registry?.client.deleteSettings(prepared.name).catch(() => undefined);
}

async function removeServerNamed(cloud: OpenstackCloud, name: string): Promise<void> {
  const server = await serverByName(cloud, name, undefined);
  if (server !== undefined) await destroyServerOnly(cloud, server.id);
}

/** What a create_vm with this token has made and can be used; its halves are removed. */
export async function serverOfToken(
  cloud: OpenstackCloud,
  token: string,
  signal: Signal,
): Promise<string | undefined> {
  const name = `vm-${uuidFor(token)}`;
  const server = await serverOfEarlierCall(cloud, name, signal);
  if (server !== undefined) return server.id;
  const { ports } = await cloud.client.call('network', 'GET', '/ports', portsAnswer, { signal });
  for (const port of ports) {
    if (port.name?.startsWith(`${name}-`) === true && !port.device_id) {
      await cloud.client.delete('network', `/ports/${port.id}`, signal);
    }
  }
  return undefined;
}

async function destroyServerOnly(cloud: OpenstackCloud, id: string, signal?: AbortSignal): Promise<void> {
  await cloud.client.delete('compute', `/servers/${id}`, signal);
  await waitFor(cloud, {
    kind: 'Server',
    id,
    targets: ['terminated', 'deleted'],
    load: () => loadServer(cloud, id, signal),
    // A server that was in state error stays so until it is gone.
    stateOf: (server) => (server.status?.toLowerCase() === 'error' ? 'deleting' : (server.status ?? '')),
    absenceIsSuccess: true,
    signal,
  });
}

async function destroy(cloud: OpenstackCloud, server: Server, signal: Signal): Promise<void> {
  const ports = await portsOfServer(cloud, server.id, signal);
  await markPorts(cloud, ports, server.id, signal);
  const problems: string[] = [];
  const collect = async (prefix: string, action: () => Promise<unknown>): Promise<void> => {
    try {
      await action();
    } catch (error) {
      signal?.throwIfAborted();
      problems.push(`${prefix}: ${messageOf(error)}`);
    }
  };
  await collect('Wait for server deletion', () => destroyServerOnly(cloud, server.id, signal));
  for (const port of ports) {
    await collect('Removing ports', () => cloud.client.delete('network', `/ports/${port.id}`, signal));
  }
  await collect('Deleting registry settings', async () =>
    cloud.registry?.client.deleteSettings(registryKeyOf(server), signal),
  );
  if (problems.length === 0) return;
  throw new CloudError(
    problems.length === 1 ? (problems[0] ?? '') : `Multiple cloud errors occurred:\n${problems.join('\n')}`,
  );
}

export async function deleteVm(cloud: OpenstackCloud, context: CallContext, vmCid: string): Promise<void> {
  const server = await loadServer(cloud, vmCid, context.signal);
  if (server === undefined) await removeMarkedPorts(cloud, vmCid, context.signal);
  else await destroy(cloud, server, context.signal);
}

export async function hasVm(cloud: OpenstackCloud, context: CallContext, vmCid: string): Promise<boolean> {
  const status = (await loadServer(cloud, vmCid, context.signal))?.status?.toUpperCase();
  return status !== undefined && status !== 'TERMINATED' && status !== 'DELETED';
}

export async function rebootVm(cloud: OpenstackCloud, context: CallContext, vmCid: string): Promise<void> {
  const server = await loadServer(cloud, vmCid, context.signal);
  if (server === undefined) throw new VmNotFound(vmCid, { message: `Server \`${vmCid}' not found` });
  const off = server.status?.toUpperCase() === 'SHUTOFF';
  await cloud.client.send('compute', 'POST', `/servers/${vmCid}/action`, {
    body: off ? { 'os-start': null } : { reboot: { type: 'SOFT' } },
    signal: context.signal,
  });
  await waitUntilActive(cloud, vmCid, context.signal);
}

export async function setVmMetadata(
  cloud: OpenstackCloud,
  context: CallContext,
  vmCid: string,
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  const { signal } = context;
  if ((await loadServer(cloud, vmCid, signal)) === undefined) throw new VmNotFound(vmCid);
  await cloud.client.send('compute', 'POST', `/servers/${vmCid}/metadata`, {
    body: { metadata: metadataOf(metadata) },
    signal,
  });
  if (!cloud.config.properties.human_readable_vm_names) return;
  const job = metadata['job'];
  const compiling = metadata['compiling'];
  const name =
    metadata['name'] ??
    (job !== undefined
      ? `${job}/${metadata['index'] ?? ''}`
      : compiling === undefined
        ? undefined
        : `compiling/${compiling}`);
  if (name === undefined) return;
  await cloud.client.send('compute', 'PUT', `/servers/${vmCid}`, { body: { server: { name } }, signal });
}

export async function calculateVmCloudProperties(
  cloud: OpenstackCloud,
  context: CallContext,
  wanted: { readonly cpu: number; readonly ram: number; readonly ephemeral_disk_size: number },
): Promise<JsonObject> {
  const { flavors } = await cloud.client.call('compute', 'GET', '/flavors/detail', flavorsAnswer, {
    signal: context.signal,
  });
  const disk = Math.ceil(wanted.ephemeral_disk_size / 1024);
  const ephemeralOf = (flavor: Flavor): number => flavor['OS-FLV-EXT-DATA:ephemeral'] ?? 0;
  const enough = flavors.filter(
    (flavor) => !flavor['OS-FLV-DISABLED:disabled'] && flavor.vcpus >= wanted.cpu && flavor.ram >= wanted.ram,
  );
  const fromVolume = cloud.config.properties.boot_from_volume ?? false;
  let candidates = fromVolume
    ? enough.filter((flavor) => ephemeralOf(flavor) === 0)
    : enough.filter((flavor) => ephemeralOf(flavor) >= disk && flavor.disk >= 3);
  if (!fromVolume && candidates.length === 0) {
    candidates = enough.filter((flavor) => ephemeralOf(flavor) === 0 && flavor.disk >= disk + 3);
  }
  const key = (flavor: Flavor): number[] => [
    flavor.vcpus,
    flavor.ram,
    flavor.disk + ephemeralOf(flavor),
    flavor.disk,
  ];
  const [best] = candidates.sort((a, b) => {
    const [left, right] = [key(a), key(b)];
    return left.map((value, at) => value - (right[at] ?? 0)).find((difference) => difference !== 0) ?? 0;
  });
  if (best === undefined) {
    throw new CloudError(
      `Unable to meet requested desired_instance_size: ${wanted.cpu} CPU, ${wanted.ram} MB RAM, ${disk} GB ephemeral disk. Available flavors: ${flavors.map(({ name }) => name).join(', ')}`,
    );
  }
  return {
    instance_type: best.name,
    ...(fromVolume && best.disk < disk + 3 ? { root_disk: { size: 3 + disk } } : {}),
  };
}

/** The end of what the server wrote to its console; clouds whose hypervisor keeps none answer with an error. */
export async function consoleLog(
  cloud: OpenstackCloud,
  context: CallContext,
  vmCid: string,
): Promise<string | undefined> {
  const answer = await cloud.client.call('compute', 'POST', `/servers/${vmCid}/action`, consoleAnswer, {
    body: { 'os-getConsoleOutput': { length: 200 } },
    signal: context.signal,
  });
  return answer.output;
}
