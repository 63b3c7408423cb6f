import { CloudError, InvalidCall } from '@microbosh/cpi';
import { isJsonObject } from '@microbosh/errors';
import type { NetworkSpec, NetworksSpec } from '@microbosh/spec';

export interface PrivateNetwork {
  readonly name: string;
  readonly spec: NetworkSpec;
  readonly kind: 'manual' | 'dynamic';
  /** Neutron network; only a dynamic network may leave the choice to Nova. */
  readonly netId?: string;
}

/** What a networks argument asks of Neutron. */
export interface NetworkPlan {
  readonly privateNetworks: readonly PrivateNetwork[];
  readonly vip?: { readonly name: string; readonly ip: string };
  /** The one private network, or the one with `gateway` in `default`. */
  readonly gateway: PrivateNetwork;
  /** Union over the networks, sorted. */
  readonly securityGroups: readonly string[];
  readonly dns: readonly string[];
}

function text(spec: NetworkSpec, key: string): string | undefined {
  const value = spec.cloud_properties?.[key];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** Pure; throws CloudError or InvalidCall with the original's sentences. */
export function planNetworks(networks: NetworksSpec): NetworkPlan {
  const privateNetworks: PrivateNetwork[] = [];
  const seen = new Set<string>();
  let vip: NetworkPlan['vip'];
  let dynamic: string | undefined;
  for (const [name, spec] of Object.entries(networks)) {
    if (!isJsonObject(spec)) throw new InvalidCall(`Invalid spec, Hash expected, ${typeof spec} provided`);
    const kind = spec.type ?? 'manual';
    if (kind === 'vip') {
      if (vip !== undefined) throw new CloudError('Only one VIP network per instance should be defined');
      if (spec.ip === undefined || spec.ip === '')
        throw new CloudError(`No IP provided for vip network \`${name}'`);
      vip = { name, ip: spec.ip };
      continue;
    }
    if (kind !== 'manual' && kind !== 'dynamic') {
      throw new CloudError(
        `Invalid network type \`${String(kind)}': OpenStack CPI can only handle \`dynamic', \`manual' or \`vip' network types`,
      );
    }
    if (kind === 'dynamic') {
      if (dynamic !== undefined)
        throw new CloudError('Only one dynamic network per instance should be defined');
      dynamic = name;
    }
    const netId = text(spec, 'net_id');
    if (kind === 'manual' && netId === undefined) throw new CloudError('Manual network must have net_id');
    if (netId !== undefined) {
      if (seen.has(netId)) throw new CloudError(`Manual network with id ${netId} is already defined`);
      seen.add(netId);
    }
    privateNetworks.push({ name, spec, kind, ...(netId === undefined ? {} : { netId }) });
  }
  const [only, ...more] = privateNetworks;
  if (only === undefined) throw new CloudError('At least one dynamic or manual network should be defined');
  const gateway =
    more.length === 0
      ? only
      : (privateNetworks.find(({ spec }) => spec.default?.includes('gateway')) ?? only);
  const securityGroups = new Set<string>();
  for (const { name, spec } of privateNetworks) {
    const groups = spec.cloud_properties?.['security_groups'];
    if (groups === undefined || groups === null) continue;
    if (!Array.isArray(groups))
      throw new InvalidCall(`security groups of network '${name}' must be an Array`);
    for (const group of groups) securityGroups.add(String(group));
  }
  return {
    privateNetworks,
    ...(vip === undefined ? {} : { vip }),
    gateway,
    securityGroups: [...securityGroups].sort(),
    dns: Object.values(networks).find((spec) => (spec.dns?.length ?? 0) > 0)?.dns ?? [],
  };
}
