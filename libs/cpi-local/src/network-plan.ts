import { createHash } from 'node:crypto';
import { InvalidCall, NotSupported, VmCreationFailed } from '@microbosh/cpi';
import type { NetworkSpec, NetworksSpec } from '@microbosh/spec';
import {
  formatAddress,
  formatNetmask,
  formatSubnet,
  parseAddress,
  parseNetmask,
  parseSubnet,
  subnetContains,
  subnetOf,
  type Subnet,
} from '@microbosh/host';

/** The host's side of one subnet. */
export interface BridgePlan {
  /** At most 15 characters. */
  readonly name: string;
  readonly subnet: string;
  /** The bridge's own address: the network's gateway, or the first address of the subnet. */
  readonly address: string;
  readonly prefix: number;
}

/** One network card of a VM. */
export interface InterfacePlan {
  readonly network: string;
  /** Name inside the VM. */
  readonly guestName: string;
  /** Name of the host's end. */
  readonly hostName: string;
  readonly mac: string;
  readonly ip: string;
  readonly prefix: number;
  /** Set on the interface that has the default route. */
  readonly defaultGateway?: string;
  readonly bridge: BridgePlan;
}

export interface NetworkPlan {
  /** What create_vm answers and the agent gets: addresses filled in, `mac` and `preconfigured` set. */
  readonly networks: NetworksSpec;
  readonly interfaces: readonly InterfacePlan[];
}

interface Place {
  readonly subnet: Subnet;
  readonly bridgeAddress: number;
}

/**
 * Decides addresses and device names for a VM. `taken` maps the addresses in use by other VMs to their cids.
 * Throws InvalidCall for networks that contradict themselves, NotSupported for kinds that this CPI does not have, and
 * VmCreationFailed when the address is in use or the subnet is full.
 */
export function planNetworks(
  rootDir: string,
  dynamicSubnet: string,
  vmCid: string,
  networks: NetworksSpec,
  taken: ReadonlyMap<string, string>,
): NetworkPlan {
  const entries = Object.entries(networks);
  if (entries.length === 0) throw new InvalidCall('A VM needs at least one network');
  const used = new Map(taken);
  const interfaces: InterfacePlan[] = [];
  const resolved: Record<string, NetworkSpec> = {};
  const defaultNetwork =
    entries.find(([, spec]) => spec.default?.includes('gateway'))?.[0] ?? entries[0]?.[0];
  for (const [index, [name, spec]] of entries.entries()) {
    const place = placeOf(name, spec, dynamicSubnet);
    const bridge = bridgeOf(rootDir, place);
    const ip = chooseAddress(name, spec, place, used);
    used.set(ip, vmCid);
    const mac = macOf(`${vmCid}/${name}`);
    interfaces.push({
      network: name,
      guestName: `eth${index}`,
      hostName: `mv${digest(vmCid, 9)}${index}`,
      mac,
      ip,
      prefix: place.subnet.prefix,
      ...(name === defaultNetwork && { defaultGateway: bridge.address }),
      bridge,
    });
    resolved[name] = {
      ...spec,
      ip,
      netmask: formatNetmask(place.subnet.prefix),
      gateway: spec.gateway ?? bridge.address,
      mac,
      preconfigured: true,
    };
  }
  return { networks: resolved, interfaces };
}

/** The bridges that these networks need, without choosing addresses for a VM. */
export function planBridges(
  rootDir: string,
  dynamicSubnet: string,
  networks: NetworksSpec,
): readonly { readonly network: string; readonly isDefault: boolean; readonly bridge: BridgePlan }[] {
  const entries = Object.entries(networks);
  return entries.map(([network, spec]) => ({
    network,
    isDefault: entries.length === 1 || (spec.default?.includes('gateway') ?? false),
    bridge: bridgeOf(rootDir, placeOf(network, spec, dynamicSubnet)),
  }));
}

function placeOf(name: string, spec: NetworkSpec, dynamicSubnet: string): Place {
  // The Director leaves out the type of manual networks.
  const type = (spec.type as string | undefined) ?? 'manual';
  if (type === 'dynamic') {
    const subnet = parseSubnet(dynamicSubnet);
    if (subnet === undefined || subnet.prefix > 30)
      throw new InvalidCall(`'cloud.properties.local.dynamic_subnet' is not a subnet: ${dynamicSubnet}`);
    return { subnet, bridgeAddress: subnet.base + 1 };
  }
  if (type !== 'manual') {
    throw new NotSupported(`Network '${name}': the local CPI has no networks of type '${type}'`, {
      advice: 'Use a manual or a dynamic network.',
    });
  }
  const text = spec.ip ?? spec.gateway;
  const known = text === undefined ? undefined : parseAddress(text);
  const prefix = spec.netmask === undefined ? undefined : parseNetmask(spec.netmask);
  if (text?.includes(':')) throw new NotSupported(`Network '${name}': the local CPI has no IPv6 networks`);
  if (known === undefined || prefix === undefined || prefix < 8 || prefix > 30) {
    throw new InvalidCall(
      `Network '${name}': needs an IPv4 address or gateway, and a netmask between /8 and /30`,
      { details: { network: name } },
    );
  }
  const subnet = subnetOf(known, prefix);
  const gateway = spec.gateway === undefined ? subnet.base + 1 : parseAddress(spec.gateway);
  if (gateway === undefined || !isHostAddress(subnet, gateway)) {
    throw new InvalidCall(
      `Network '${name}': gateway ${spec.gateway ?? ''} is not an address of ${formatSubnet(subnet)}`,
    );
  }
  return { subnet, bridgeAddress: gateway };
}

function bridgeOf(rootDir: string, place: Place): BridgePlan {
  const subnet = formatSubnet(place.subnet);
  return {
    name: `mb${digest(`${rootDir} ${subnet}`, 10)}`,
    subnet,
    address: formatAddress(place.bridgeAddress),
    prefix: place.subnet.prefix,
  };
}

function chooseAddress(
  name: string,
  spec: NetworkSpec,
  place: Place,
  used: ReadonlyMap<string, string>,
): string {
  if (spec.ip !== undefined) {
    const address = parseAddress(spec.ip);
    if (address === undefined || !isHostAddress(place.subnet, address))
      throw new InvalidCall(
        `Network '${name}': ${spec.ip} is not an address of ${formatSubnet(place.subnet)}`,
      );
    if (address === place.bridgeAddress)
      throw new InvalidCall(`Network '${name}': ${spec.ip} is the gateway, the VM needs another address`);
    const owner = used.get(spec.ip);
    if (owner !== undefined) {
      throw new VmCreationFailed(`Network '${name}': address ${spec.ip} is in use by VM '${owner}'`, {
        advice: 'Delete that VM, or give this one another static_ips entry.',
      });
    }
    return spec.ip;
  }
  const last = place.subnet.base + 2 ** (32 - place.subnet.prefix) - 2;
  for (let address = place.subnet.base + 1; address <= last; address += 1) {
    const text = formatAddress(address);
    if (address !== place.bridgeAddress && !used.has(text)) return text;
  }
  throw new VmCreationFailed(`Network '${name}': no address is free in ${formatSubnet(place.subnet)}`);
}

function isHostAddress(subnet: Subnet, address: number): boolean {
  const last = subnet.base + 2 ** (32 - subnet.prefix) - 1;
  return subnetContains(subnet, address) && address !== subnet.base && address !== last;
}

function macOf(text: string): string {
  const hex = digest(text, 10);
  return `02:${hex.match(/../g)?.join(':') ?? ''}`;
}

function digest(text: string, length: number): string {
  return createHash('sha256').update(text).digest('hex').slice(0, length);
}
