import type { CallContext, CloudCheck, DeployNeeds } from '@microbosh/cpi';
import { isOperationalError, messageOf } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import type { OpenstackCloud } from './cloud.ts';
import { gibibytes } from './names.ts';
import { planNetworks } from './network-plan.ts';
import type { NetworkPlan } from './network-plan.ts';
import { findSecurityGroups } from './ports.ts';
import { floatingIpsAnswer, limitsAnswer, networkAnswer, subnetsAnswer, zonesAnswer } from './schemas.ts';
import type { Flavor } from './schemas.ts';
import { findFlavor, findKeyName, wantedSecurityGroups } from './vms.ts';

type Signal = AbortSignal | undefined;

/** What a check says; without a status all is well. */
interface Finding {
  readonly message: string;
  readonly status?: CloudCheck['status'];
  readonly advice?: string;
}

/** Everything that a deploy would trip over later; each check stands for itself, in the order of the deploy. */
export async function checkNeeds(
  cloud: OpenstackCloud,
  context: CallContext,
  needs: DeployNeeds,
): Promise<readonly CloudCheck[]> {
  const { signal } = context;
  const checks: CloudCheck[] = [];
  const check = async (name: string, look: () => Promise<Finding | undefined>): Promise<boolean> => {
    try {
      const finding = await look();
      if (finding !== undefined) checks.push({ name, status: 'ok', ...finding });
      return finding?.status !== 'failed';
    } catch (error) {
      const advice = isOperationalError(error) ? error.advice : undefined;
      checks.push({
        name,
        status: 'failed',
        message: messageOf(error),
        ...(advice === undefined ? {} : { advice }),
      });
      return false;
    }
  };

  // Without a token nothing else can be looked at.
  if (!(await check('credentials', () => credentials(cloud, signal)))) return checks;
  let plan: NetworkPlan | undefined;
  await check('networks', async () => {
    plan = planNetworks(needs.networks);
    return networks(cloud, plan, signal);
  });
  const { vip } = plan ?? {};
  if (vip !== undefined) await check('floating IP', () => floatingIp(cloud, vip.ip, signal));
  await check('security groups', async () => {
    const names = wantedSecurityGroups(cloud, needs.vmCloudProperties, plan?.securityGroups ?? []);
    await findSecurityGroups(cloud, names, signal);
    return { message: names.length === 0 ? "none named: the project's default" : names.join(', ') };
  });
  await check('key pair', async () => ({
    message: await findKeyName(cloud, needs.vmCloudProperties, signal),
  }));
  let flavor: Flavor | undefined;
  await check('flavor', async () => {
    const name = needs.vmCloudProperties['instance_type'];
    if (typeof name !== 'string') {
      return { status: 'failed', message: "cloud property 'instance_type' is not set" };
    }
    flavor = await findFlavor(cloud, name, signal);
    return { message: `${name}: ${flavor.vcpus} CPU, ${flavor.ram} MB RAM, ${flavor.disk} GB disk` };
  });
  await check('availability zone', () => zone(cloud, needs.vmCloudProperties, signal));
  const size = flavor;
  if (size !== undefined) await check('quota of servers', () => computeQuota(cloud, size, signal));
  const { disk } = needs;
  if (disk !== null) await check('quota of volumes', () => volumeQuota(cloud, disk.sizeMiB, signal));
  return checks;
}

async function credentials(cloud: OpenstackCloud, signal: Signal): Promise<Finding> {
  const services = ['compute', 'network', 'image', 'volume'] as const;
  for (const service of services) await cloud.client.endpoint(service, signal);
  return { message: `accepted by ${cloud.config.identityUrl}; the catalog has ${services.join(', ')}` };
}

async function networks(cloud: OpenstackCloud, plan: NetworkPlan, signal: Signal): Promise<Finding> {
  for (const { name, netId } of plan.privateNetworks) {
    if (netId === undefined) continue;
    const found = await cloud.client.find('network', `/networks/${netId}`, networkAnswer, signal);
    if (found !== undefined) continue;
    const { subnets } = await cloud.client.call('network', 'GET', '/subnets', subnetsAnswer, { signal });
    const subnet = subnets.find(({ id }) => id === netId);
    return {
      status: 'failed',
      message: `net_id '${netId}' of network '${name}' does not exist, or this project cannot see it`,
      advice:
        subnet === undefined
          ? "Use the id of a network that 'openstack network list' shows."
          : `It is the id of a subnet; its network is '${subnet.network_id}'.`,
    };
  }
  return { message: plan.privateNetworks.map(({ name, netId }) => `${name} (${netId ?? 'any'})`).join(', ') };
}

async function floatingIp(cloud: OpenstackCloud, ip: string, signal: Signal): Promise<Finding> {
  const { floatingips } = await cloud.client.call('network', 'GET', '/floatingips', floatingIpsAnswer, {
    query: { floating_ip_address: ip },
    signal,
  });
  const [floating] = floatingips;
  if (floating === undefined) {
    return {
      status: 'failed',
      message: `Floating IP '${ip}' is not allocated to this project`,
      advice: "Allocate it: 'openstack floating ip create --floating-ip-address'.",
    };
  }
  if (!floating.port_id) return { message: `${ip}, free` };
  return { status: 'warning', message: `${ip} is in use by port '${floating.port_id}'; a deploy moves it` };
}

async function zone(
  cloud: OpenstackCloud,
  properties: JsonObject,
  signal: Signal,
): Promise<Finding | undefined> {
  const { availability_zone: one, availability_zones: several } = properties;
  const wanted = Array.isArray(several)
    ? several.map(String)
    : typeof one === 'string' && one !== ''
      ? [one]
      : [];
  if (wanted.length === 0) return undefined;
  const path = '/os-availability-zone';
  const { availabilityZoneInfo: known } = await cloud.client.call('compute', 'GET', path, zonesAnswer, {
    signal,
  });
  const open = known.filter(({ zoneState }) => zoneState.available).map(({ zoneName }) => zoneName);
  const missing = wanted.filter((name) => !open.includes(name));
  if (missing.length === 0) return { message: wanted.join(', ') };
  return {
    status: 'failed',
    message: `Availability zone ${missing.join(', ')} is not there or not available`,
    advice: `There are: ${open.join(', ')}.`,
  };
}

/** The first resource that does not suffice; -1 stands for no limit. */
function shortage(
  absolute: Readonly<Record<string, unknown>>,
  wanted: readonly (readonly [label: string, limit: string, used: string, amount: number])[],
): Finding {
  for (const [label, limitKey, usedKey, amount] of wanted) {
    const limit = Number(absolute[limitKey] ?? -1);
    const used = Number(absolute[usedKey] ?? 0);
    if (limit < 0 || used + amount <= limit) continue;
    return {
      status: 'failed',
      message: `The project's quota of ${label} is ${limit}, ${used} are in use, and ${amount} more are needed`,
      advice: 'Delete what is not needed any more, or have the quota raised.',
    };
  }
  return { message: 'suffices' };
}

async function computeQuota(cloud: OpenstackCloud, flavor: Flavor, signal: Signal): Promise<Finding> {
  const { limits } = await cloud.client.call('compute', 'GET', '/limits', limitsAnswer, { signal });
  return shortage(limits.absolute, [
    ['servers', 'maxTotalInstances', 'totalInstancesUsed', 1],
    ['CPUs', 'maxTotalCores', 'totalCoresUsed', flavor.vcpus],
    ['MB of RAM', 'maxTotalRAMSize', 'totalRAMUsed', flavor.ram],
  ]);
}

async function volumeQuota(cloud: OpenstackCloud, sizeMiB: number, signal: Signal): Promise<Finding> {
  const { limits } = await cloud.client.call('volume', 'GET', '/limits', limitsAnswer, { signal });
  return shortage(limits.absolute, [
    ['volumes', 'maxTotalVolumes', 'totalVolumesUsed', 1],
    ['GB of volumes', 'maxTotalVolumeGigabytes', 'totalGigabytesUsed', gibibytes(sizeMiB)],
  ]);
}
