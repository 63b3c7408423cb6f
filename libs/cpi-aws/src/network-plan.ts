import { CloudError } from '@microbosh/cpi';
import type { NetworkSpec, NetworksSpec } from '@microbosh/spec';

/** One network interface: the networks that share a `nic_group`. */
export interface NicGroup {
  readonly name: string;
  readonly subnetId: string;
  /** Names of the networks that get the interface's MAC. */
  readonly networks: readonly string[];
  readonly ipv4?: string;
  readonly ipv6?: string;
  readonly ipv4Prefix?: string;
  readonly ipv6Prefix?: string;
}

export interface NetworkPlan {
  readonly groups: readonly NicGroup[];
  readonly vip?: { readonly name: string; readonly ip: string; readonly group: string | undefined };
  readonly securityGroups: readonly string[];
  readonly dns: readonly string[] | undefined;
}

type AwsNetworkSpec = NetworkSpec & { readonly nic_group?: string | number };

function subnetOf(spec: NetworkSpec): string | undefined {
  const subnet = spec.cloud_properties?.['subnet'];
  return typeof subnet === 'string' && subnet !== '' ? subnet : undefined;
}

function groupOf(name: string, spec: AwsNetworkSpec): string {
  return spec.nic_group === undefined || spec.nic_group === '' ? name : String(spec.nic_group);
}

function isSingleAddress(spec: NetworkSpec): boolean {
  const prefix = spec.prefix === undefined ? '' : String(spec.prefix);
  return prefix === '' || prefix === '32' || prefix === '128';
}

/** Pure: which interfaces a networks argument asks for. */
export function planNetworks(networks: NetworksSpec): NetworkPlan {
  const manual = new Map<string, [string, NetworkSpec][]>();
  let dynamic: [string, NetworkSpec] | undefined;
  let vip: NetworkPlan['vip'];
  const securityGroups = new Set<string>();
  for (const [name, spec] of Object.entries(networks)) {
    const kind = spec.type ?? 'manual';
    if (kind !== 'vip') {
      const groups = spec.cloud_properties?.['security_groups'];
      if (Array.isArray(groups)) groups.forEach((group) => securityGroups.add(String(group)));
    }
    switch (kind) {
      case 'manual': {
        const group = groupOf(name, spec);
        manual.set(group, [...(manual.get(group) ?? []), [name, spec]]);
        break;
      }
      case 'dynamic':
        dynamic ??= [name, spec];
        break;
      case 'vip':
        if (vip !== undefined) throw new CloudError(`More than one vip network for '${name}'`);
        if (spec.ip === undefined || spec.ip === '')
          throw new CloudError(`No IP provided for vip network '${name}'`);
        vip = { name, ip: spec.ip, group: (spec as AwsNetworkSpec).nic_group?.toString() };
        break;
      default:
        throw new CloudError(
          `Invalid network type '${String(kind)}' for AWS, can only handle 'dynamic', 'vip', or 'manual' network types`,
        );
    }
  }
  const groups = [...manual].map(([name, members]) => manualGroup(name, members));
  if (dynamic !== undefined) groups.push(dynamicGroup(dynamic));
  if (groups.length === 0) throw new CloudError('Exactly one dynamic or manual network must be defined');
  return {
    groups,
    ...(vip === undefined ? {} : { vip }),
    securityGroups: [...securityGroups].sort(),
    dns: Object.values(networks).find(
      (spec) => (spec.type ?? 'manual') === 'manual' && spec.dns !== undefined,
    )?.dns,
  };
}

function manualGroup(name: string, members: readonly (readonly [string, NetworkSpec])[]): NicGroup {
  const subnets = new Set(members.map(([, spec]) => subnetOf(spec)));
  const [subnetId] = subnets;
  if (subnets.size !== 1 || subnetId === undefined) {
    throw new CloudError(`Networks of nic group '${name}' must name one subnet in cloud_properties.subnet`);
  }
  const single = members.filter(([, spec]) => isSingleAddress(spec)).map(([, spec]) => spec.ip ?? '');
  const prefixes = members
    .filter(([, spec]) => !isSingleAddress(spec))
    .map(([, spec]) => `${spec.ip ?? ''}/${String(spec.prefix)}`);
  const ipv4 = single.find((ip) => ip !== '' && !ip.includes(':'));
  const ipv6 = single.find((ip) => ip.includes(':'));
  if (ipv4 === undefined && ipv6 === undefined) {
    throw new CloudError(
      `Could not find a single ip address for nic group '${name}': a prefix network can only be a secondary network.`,
    );
  }
  const ipv4Prefix = prefixes.find((prefix) => !prefix.includes(':'));
  const ipv6Prefix = prefixes.find((prefix) => prefix.includes(':'));
  return {
    name,
    subnetId,
    networks: members.map(([network]) => network),
    ...(ipv4 === undefined ? {} : { ipv4 }),
    ...(ipv6 === undefined ? {} : { ipv6 }),
    ...(ipv4Prefix === undefined ? {} : { ipv4Prefix }),
    ...(ipv6Prefix === undefined ? {} : { ipv6Prefix }),
  };
}

function dynamicGroup([name, spec]: readonly [string, NetworkSpec]): NicGroup {
  const subnetId = subnetOf(spec);
  if (subnetId === undefined)
    throw new CloudError(`Network '${name}' must name a subnet in cloud_properties.subnet`);
  return { name, subnetId, networks: [name] };
}
