import { createHash } from 'node:crypto';
import { InvalidCall, NotSupported, VmCreationFailed } from '@microbosh/cpi';
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
import type { NetworkSpec, NetworksSpec } from '@microbosh/spec';

/** The machine's side of one subnet. Names of interfaces have at most 15 characters. */
export interface BridgePlan {
  readonly name: string;
  /** This machine's end of the cable into the bridge; it has the address. */
  readonly hostInterface: string;
  readonly subnet: string;
  readonly address: string;
  readonly prefix: number;
}

export interface NicPlan {
  readonly network: string;
  readonly tap: string;
  readonly mac: string;
  readonly ip: string;
  readonly bridge: BridgePlan;
  readonly dns: string;
}

export interface NetworkPlan {
  /** What create_vm answers and the agent gets: addresses and `mac` filled in. */
  readonly networks: NetworksSpec;
  readonly nics: readonly NicPlan[];
}

interface Place {
  readonly subnet: Subnet;
  readonly hostAddress: number;
}

/**
 * Decides addresses and names for a VM. `taken` maps addresses in use to the VMs that use them. Nobody serves DHCP here,
 * so that a dynamic network becomes a manual one with an address that is free.
 */
export function planNetworks(
  rootDir: string,
  dynamicSubnet: string,
  vmCid: string,
  networks: NetworksSpec,
  taken: ReadonlyMap<string, string>,
): NetworkPlan {
  const entries = Object.entries(networks).filter(([, spec]) => spec.type !== 'vip');
  if (entries.length === 0) throw new InvalidCall('A VM needs at least one network that is not a vip');
  const used = new Map(taken);
  const resolved: Record<string, NetworkSpec> = Object.fromEntries(
    Object.entries(networks).filter(([, spec]) => spec.type === 'vip'),
  );
  const nics: NicPlan[] = [];
  for (const [index, [name, spec]] of entries.entries()) {
    const place = placeOf(name, spec, dynamicSubnet);
    const ip = chooseAddress(name, spec, place, used);
    used.set(ip, vmCid);
    const mac = macOf(`${vmCid}/${name}`);
    resolved[name] = {
      ...spec,
      type: 'manual',
      ip,
      netmask: formatNetmask(place.subnet.prefix),
      gateway: spec.gateway ?? formatAddress(place.hostAddress),
      mac,
    };
    nics.push({
      network: name,
      tap: `mq${digest(vmCid, 10)}${index}`,
      mac,
      ip,
      bridge: bridgeOf(rootDir, place),
      dns: spec.dns?.[0] ?? formatAddress(place.hostAddress),
    });
  }
  return { networks: resolved, nics };
}

/** The bridges that VMs on these networks hang on. */
export function bridgesFor(rootDir: string, dynamicSubnet: string, networks: NetworksSpec): BridgePlan[] {
  return Object.entries(networks)
    .filter(([, spec]) => spec.type !== 'vip')
    .map(([name, spec]) => bridgeOf(rootDir, placeOf(name, spec, dynamicSubnet)));
}

export function namespaceOf(rootDir: string): string {
  return `microbosh-qemu-${digest(rootDir, 8)}`;
}

function placeOf(name: string, spec: NetworkSpec, dynamicSubnet: string): Place {
  if (spec.type === 'dynamic' && spec.ip === undefined) {
    const subnet = parseSubnet(dynamicSubnet);
    if (!subnet || subnet.prefix > 30) throw new InvalidCall(`'${dynamicSubnet}' is not a usable subnet`);
    return { subnet, hostAddress: subnet.base + 1 };
  }
  if (spec.ip?.includes(':')) throw new NotSupported(`Network '${name}' has an IPv6 address`);
  const ip = parseAddress(spec.ip ?? '');
  const prefix = parseNetmask(spec.netmask ?? '');
  if (ip === undefined) throw new InvalidCall(`Network '${name}' needs an IPv4 address`);
  if (prefix === undefined || prefix > 30) {
    throw new InvalidCall(`Network '${name}' needs a netmask of a subnet with at least two hosts`);
  }
  const subnet = subnetOf(ip, prefix);
  const gateway = spec.gateway === undefined ? subnet.base + 1 : parseAddress(spec.gateway);
  if (gateway === undefined || !subnetContains(subnet, gateway)) {
    throw new InvalidCall(`Gateway '${spec.gateway}' of network '${name}' is not in ${formatSubnet(subnet)}`);
  }
  return { subnet, hostAddress: gateway };
}

function chooseAddress(
  name: string,
  spec: NetworkSpec,
  place: Place,
  used: ReadonlyMap<string, string>,
): string {
  if (spec.ip !== undefined) {
    if (parseAddress(spec.ip) === place.hostAddress) {
      throw new InvalidCall(`Address ${spec.ip} of network '${name}' is the gateway's`);
    }
    const holder = used.get(spec.ip);
    if (holder !== undefined) throw new VmCreationFailed(`Address ${spec.ip} is in use by VM '${holder}'`);
    return spec.ip;
  }
  const last = place.subnet.base + 2 ** (32 - place.subnet.prefix) - 2;
  for (let candidate = place.subnet.base + 2; candidate <= last; candidate += 1) {
    const text = formatAddress(candidate);
    if (candidate !== place.hostAddress && !used.has(text)) return text;
  }
  throw new VmCreationFailed(`Network '${name}' has no free address in ${formatSubnet(place.subnet)}`);
}

function bridgeOf(rootDir: string, place: Place): BridgePlan {
  const subnet = formatSubnet(place.subnet);
  const id = digest(`${rootDir}\0${subnet}`, 10);
  return {
    name: `mqb${id}`,
    hostInterface: `mqh${id}`,
    subnet,
    address: formatAddress(place.hostAddress),
    prefix: place.subnet.prefix,
  };
}

/** Locally administered, and the same whenever this VM is made again. */
function macOf(text: string): string {
  const bytes = createHash('sha256').update(text).digest();
  return ['52', '54', ...[0, 1, 2, 3].map((index) => (bytes[index] ?? 0).toString(16).padStart(2, '0'))].join(
    ':',
  );
}

function digest(text: string, length: number): string {
  return createHash('sha256').update(text).digest('hex').slice(0, length);
}
