import { OperationalError } from '@microbosh/errors';
import type { NetworkSpec } from '@microbosh/spec';
import { isIPv4, isIPv6 } from 'node:net';
import type { Networks } from '../settings/settings-document.ts';
import { broadcastOf, prefixLength } from './addresses.ts';
import type { NetworkInterface } from './interfaces.ts';

export interface PlannedAddress {
  readonly ip: string;
  readonly prefixLength: number;
  /** Only on the interface of the default gateway, IPv4. */
  readonly broadcast?: string;
  /** `eth0:0`: an additional address. */
  readonly label?: string;
}

export interface PlannedInterface {
  readonly name: string;
  readonly method: 'static' | 'dhcp';
  readonly addresses: readonly PlannedAddress[];
  readonly gateways: readonly string[];
  readonly dns: readonly string[];
  readonly routes: readonly { readonly destination: string; readonly gateway: string }[];
  /** DHCP on an interface that is not the way out must not bring a default route. */
  readonly ignoreDhcpRoutes: boolean;
  readonly ipv6: boolean;
}

export interface NetworkPlan {
  /** The host has done it already: only name servers are set. */
  readonly preconfigured: boolean;
  readonly interfaces: readonly PlannedInterface[];
  readonly dns: readonly string[];
  /** Network name → interface that carries it. */
  readonly interfaceOf: Readonly<Record<string, string>>;
}

export class NetworkNotPossible extends OperationalError {
  readonly code = 'E_NETWORK';
}

/** Not on an interface of the machine: the cloud translates it. */
export function isVip(network: NetworkSpec): boolean {
  return network.type === 'vip';
}

/** The originals' rule (agent settings, networks): what is configured by DHCP. */
export function isDhcp(network: NetworkSpec): boolean {
  if (isVip(network)) return false;
  return (
    network.type === 'dynamic' ||
    network.use_dhcp === true ||
    network.resolved === true ||
    (network.ip ?? '') === '' ||
    (network.netmask ?? '') === ''
  );
}

/** The only network, else the first by name that is the default for `what`. */
export function defaultNetwork(
  networks: Networks,
  what: 'dns' | 'gateway',
): readonly [string, NetworkSpec] | undefined {
  const entries = Object.entries(networks);
  if (entries.length === 1) return entries[0];
  return entries
    .filter(([, network]) => network.default?.includes(what) === true)
    .sort(([a], [b]) => (a < b ? -1 : 1))[0];
}

/** Which interface gets which addresses. Refuses networks for which this machine has no interface. */
export function planNetworks(networks: Networks, nics: readonly NetworkInterface[]): NetworkPlan {
  const real = Object.entries(networks).filter(([, network]) => !isVip(network));
  const dns = defaultNetwork(networks, 'dns')?.[1].dns ?? [];
  const preconfigured = real.length > 0 && real.every(([, network]) => network.preconfigured === true);
  const assigned = assign(real, nics, preconfigured);
  const gatewayNetwork = defaultNetwork(Object.fromEntries(real), 'gateway')?.[0];

  const byInterface = new Map<string, [string, NetworkSpec][]>();
  for (const [name, nic] of Object.entries(assigned)) {
    const network = networks[name];
    if (network) byInterface.set(nic, [...(byInterface.get(nic) ?? []), [name, network]]);
  }
  const interfaces = preconfigured
    ? []
    : [...byInterface].map(([nic, members]) => planInterface(nic, members, gatewayNetwork, dns));
  return { preconfigured, interfaces, dns, interfaceOf: assigned };
}

function assign(
  real: readonly (readonly [string, NetworkSpec])[],
  nics: readonly NetworkInterface[],
  preconfigured: boolean,
): Record<string, string> {
  const assigned: Record<string, string> = {};
  const taken = new Set<string>();
  const open: (readonly [string, NetworkSpec])[] = [];
  for (const [name, network] of real) {
    const mac = network.mac?.toLowerCase() ?? '';
    const base = network.alias?.split(':')[0] ?? '';
    const nic =
      mac !== ''
        ? nics.find((candidate) => candidate.mac.toLowerCase() === mac)
        : nics.find((candidate) => base !== '' && candidate.name === base);
    if (mac !== '' && nic === undefined && !preconfigured) {
      throw new NetworkNotPossible(
        `No device found for network '${name}' with MAC address '${network.mac}'.`,
        {
          advice: `This machine has: ${nics.map((n) => `${n.name} ${n.mac}`).join(', ') || 'no interface'}.`,
          details: { network: name },
        },
      );
    }
    if (nic === undefined) open.push([name, network]);
    else {
      assigned[name] = nic.name;
      taken.add(nic.name);
    }
  }
  // A network without a MAC address is unambiguous only when one network and one interface are left.
  const free = nics.filter((nic) => !taken.has(nic.name));
  const [onlyNetwork, onlyNic] = [open[0], free[0]];
  if (open.length === 1 && free.length === 1 && onlyNetwork && onlyNic)
    assigned[onlyNetwork[0]] = onlyNic.name;
  else if (open.length > 0 && !preconfigured) {
    throw new NetworkNotPossible(
      `It is not clear which interface is meant for ${open.map(([name]) => `'${name}'`).join(', ')}.`,
      {
        advice: `Give the networks a mac; this machine has: ${nics.map((n) => `${n.name} ${n.mac}`).join(', ') || 'no interface'}.`,
      },
    );
  }
  return assigned;
}

function planInterface(
  nic: string,
  members: readonly (readonly [string, NetworkSpec])[],
  gatewayNetwork: string | undefined,
  dns: readonly string[],
): PlannedInterface {
  const isWayOut = members.some(([name]) => name === gatewayNetwork);
  const dhcp = members.some(([, network]) => isDhcp(network));
  const statics = members.filter(([, network]) => !isDhcp(network));
  return {
    name: nic,
    method: dhcp ? 'dhcp' : 'static',
    addresses: statics.map(([name, network]) => addressOf(name, network, name === gatewayNetwork)),
    gateways: statics.flatMap(([name, { gateway }]) =>
      name === gatewayNetwork && gateway !== undefined && gateway !== '' ? [gateway] : [],
    ),
    dns,
    routes: members.flatMap(([name, network]) =>
      (network.routes ?? []).map((route) => ({
        destination: `${route.destination}/${lengthOf(name, route.netmask)}`,
        gateway: route.gateway,
      })),
    ),
    ignoreDhcpRoutes: dhcp && !isWayOut && gatewayNetwork !== undefined,
    ipv6: members.some(([, network]) => isIPv6(network.ip ?? '')),
  };
}

function addressOf(name: string, network: NetworkSpec, isGateway: boolean): PlannedAddress {
  const ip = network.ip ?? '';
  const length = lengthOf(name, network.netmask ?? '');
  if (!isIPv4(ip) && !isIPv6(ip)) {
    throw new NetworkNotPossible(`The ip '${ip}' of network '${name}' is not an address.`);
  }
  const alias = network.alias ?? '';
  return {
    ip,
    prefixLength: length,
    ...(isGateway && isIPv4(ip) ? { broadcast: broadcastOf(ip, length) } : {}),
    ...(alias.includes(':') ? { label: alias } : {}),
  };
}

function lengthOf(name: string, netmask: string): number {
  const length = prefixLength(netmask);
  if (length === undefined) {
    throw new NetworkNotPossible(`The netmask '${netmask}' of network '${name}' is not a netmask.`);
  }
  return length;
}
