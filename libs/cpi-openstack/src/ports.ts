import { CloudError } from '@microbosh/cpi';
import type { Json } from '@microbosh/errors';
import type { OpenstackCloud } from './cloud.ts';
import type { NetworkPlan, PrivateNetwork } from './network-plan.ts';
import { makeOnce } from './make-once.ts';
import { OpenstackAnswer } from './openstack-client.ts';
import { floatingIpsAnswer, portAnswer, portsAnswer, securityGroupsAnswer } from './schemas.ts';
import type { Port } from './schemas.ts';

type Signal = AbortSignal | undefined;

export interface SecurityGroup {
  readonly id: string;
  readonly name: string;
}

/** The groups by name, or else by id; an unknown one is an error that names it. */
export async function findSecurityGroups(
  cloud: OpenstackCloud,
  wanted: readonly string[],
  signal: Signal,
): Promise<SecurityGroup[]> {
  if (wanted.length === 0) return [];
  const { security_groups: known } = await cloud.client.call(
    'network',
    'GET',
    '/security-groups',
    securityGroupsAnswer,
    { signal },
  );
  return wanted.map((name) => {
    const group = known.find((candidate) => candidate.name === name) ?? known.find(({ id }) => id === name);
    if (group === undefined) throw new CloudError(`Security group \`${name}' not found`);
    return group;
  });
}

/** Neutron port of a manual network, with its fixed address. Named after the server, so that a repeated call finds it. */
export async function createPort(
  cloud: OpenstackCloud,
  serverName: string,
  network: PrivateNetwork,
  options: {
    readonly securityGroups: readonly SecurityGroup[];
    readonly allowedAddressPairs: string | undefined;
    /** The server's name may have been given before: an earlier try may have made the port. */
    readonly mayExist: boolean;
    readonly signal: Signal;
  },
): Promise<Port> {
  const { signal } = options;
  const netId = network.netId ?? '';
  const ip = network.spec.ip ?? '';
  const name = `${serverName}-${network.name}`;
  const find = async (of: Signal): Promise<Port | undefined> => {
    const { ports } = await cloud.client.call('network', 'GET', '/ports', portsAnswer, {
      query: { name },
      signal: of,
    });
    return ports.find((port) => port.network_id === netId);
  };
  const mine = options.mayExist ? await find(signal) : undefined;
  if (mine !== undefined) return mine;
  const body: Json = {
    port: {
      name,
      network_id: netId,
      fixed_ips: [{ ip_address: ip }],
      ...(options.securityGroups.length === 0
        ? {}
        : { security_groups: options.securityGroups.map(({ id }) => id) }),
      ...(options.allowedAddressPairs === undefined
        ? {}
        : { allowed_address_pairs: [{ ip_address: options.allowedAddressPairs }] }),
    },
  };
  const make = () =>
    makeOnce({
      make: async () =>
        (await cloud.client.call('network', 'POST', '/ports', portAnswer, { body, once: true, signal })).port,
      find: () => find(undefined),
      pauseMs: cloud.client.pauseMs,
      signal,
    });
  try {
    return await make();
  } catch (error) {
    if (!(error instanceof OpenstackAnswer) || error.status !== 409) throw error;
    if (!(await removeAbandonedPorts(cloud, netId, ip, signal))) {
      throw new CloudError(`Cannot use IP address '${ip}' in network '${network.name}': ${error.message}`, {
        cause: error,
        advice: 'Another port holds the address: choose another one, or remove that port.',
      });
    }
    return make();
  }
}

/** Ports that `createPort` made for a server of this name, bound or not. */
export async function removePortsNamed(
  cloud: OpenstackCloud,
  serverName: string,
  networks: readonly string[],
  signal: Signal,
): Promise<void> {
  for (const network of networks) {
    const { ports } = await cloud.client.call('network', 'GET', '/ports', portsAnswer, {
      query: { name: `${serverName}-${network}` },
      signal,
    });
    for (const port of ports) await cloud.client.delete('network', `/ports/${port.id}`, signal);
  }
}

const traceOf = (serverId: string) => `of server ${serverId}`;

/** Neutron forgets whose port it was as soon as its server goes; a delete_vm that is repeated has to find it still. */
export async function markPorts(
  cloud: OpenstackCloud,
  ports: readonly Port[],
  serverId: string,
  signal: Signal,
): Promise<void> {
  for (const port of ports) {
    // Nova's own go with their server, and have no name.
    if (port.name === undefined || port.name === '') continue;
    await cloud.client.send('network', 'PUT', `/ports/${port.id}`, {
      body: { port: { description: traceOf(serverId) } },
      signal,
    });
  }
}

export async function removeMarkedPorts(
  cloud: OpenstackCloud,
  serverId: string,
  signal: Signal,
): Promise<void> {
  const { ports } = await cloud.client.call('network', 'GET', '/ports', portsAnswer, {
    query: { description: traceOf(serverId) },
    signal,
  });
  for (const port of ports) await cloud.client.delete('network', `/ports/${port.id}`, signal);
}

/** Ports that hold the address but belong to nothing: left by a server that never came to be. */
async function removeAbandonedPorts(
  cloud: OpenstackCloud,
  netId: string,
  ip: string,
  signal: Signal,
): Promise<boolean> {
  const { ports } = await cloud.client.call('network', 'GET', '/ports', portsAnswer, {
    query: { fixed_ips: `ip_address=${ip}`, network_id: netId },
    signal,
  });
  const abandoned = ports.filter((port) => port.status === 'DOWN' && !port.device_id && !port.device_owner);
  for (const port of abandoned) await cloud.client.delete('network', `/ports/${port.id}`, signal);
  return abandoned.length > 0;
}

export async function portsOfServer(
  cloud: OpenstackCloud,
  serverId: string,
  signal: Signal,
): Promise<Port[]> {
  const answer = await cloud.client.call('network', 'GET', '/ports', portsAnswer, {
    query: { device_id: serverId },
    signal,
  });
  return answer.ports;
}

/** The other side of VRRP: the port that owns the shared address must exist. */
export async function requireVrrpPort(cloud: OpenstackCloud, ip: string, signal: Signal): Promise<void> {
  const { ports } = await cloud.client.call('network', 'GET', '/ports', portsAnswer, {
    query: { fixed_ips: `ip_address=${ip}` },
    signal,
  });
  if (ports.length === 0) throw new CloudError(`Configured VRRP port with ip '${ip}' does not exist.`);
}

/** Moves a floating IP that is already allocated to the server's port in the gateway network. */
export async function associateFloatingIp(
  cloud: OpenstackCloud,
  plan: NetworkPlan,
  serverId: string,
  signal: Signal,
): Promise<void> {
  if (plan.vip === undefined) return;
  const { ip } = plan.vip;
  const { floatingips } = await cloud.client.call('network', 'GET', '/floatingips', floatingIpsAnswer, {
    query: { floating_ip_address: ip },
    signal,
  });
  const [floating, ...more] = floatingips;
  if (floating === undefined) {
    throw new CloudError(`Floating IP '${ip}' not allocated`, {
      advice: 'Allocate it to the project first (openstack floating ip create).',
    });
  }
  if (more.length > 0) throw new CloudError(`Floating IP '${ip}' found in multiple networks`);
  const ports = await portsOfServer(cloud, serverId, signal);
  const port = ports.find(
    ({ network_id: id }) => plan.gateway.netId === undefined || id === plan.gateway.netId,
  );
  if (port === undefined) throw new CloudError(`Server \`${serverId}' has no port in the gateway network`);
  if (floating.port_id === port.id) return;
  const path = `/floatingips/${floating.id}`;
  if (floating.port_id) {
    await cloud.client.send('network', 'PUT', path, { body: { floatingip: { port_id: null } }, signal });
  }
  await cloud.client.send('network', 'PUT', path, { body: { floatingip: { port_id: port.id } }, signal });
}
