import {
  AssignIpv6AddressesCommand,
  AssignPrivateIpAddressesCommand,
  AssociateAddressCommand,
  CreateNetworkInterfaceCommand,
  DeleteNetworkInterfaceCommand,
  DescribeAddressesCommand,
  DescribeInstancesCommand,
  DescribeNetworkInterfacesCommand,
  DescribeSecurityGroupsCommand,
  DescribeSubnetsCommand,
  ModifyNetworkInterfaceAttributeCommand,
} from '@aws-sdk/client-ec2';
import type { Address } from '@aws-sdk/client-ec2';
import { CloudError } from '@microbosh/cpi';
import { messageOf } from '@microbosh/errors';
import { isNotFound, repeatOn, waitFor } from './cloud.ts';
import type { AwsCloud } from './cloud.ts';
import { createTags } from './disks.ts';
import type { NetworkPlan, NicGroup } from './network-plan.ts';
import { tagsOf, tokenTags, vmTag } from './tags.ts';
import type { tokenTag } from './tags.ts';

type Signal = AbortSignal | undefined;

export interface Nic {
  readonly id: string;
  readonly mac: string;
  readonly group: NicGroup;
}

export interface Subnet {
  readonly vpcId: string;
  readonly zone: string;
}

/** Subnets of all groups; they have to lie in one zone. */
export async function describeSubnets(
  cloud: AwsCloud,
  groups: readonly NicGroup[],
  signal: Signal,
): Promise<ReadonlyMap<string, Subnet>> {
  const ids = [...new Set(groups.map(({ subnetId }) => subnetId))];
  const { Subnets = [] } = await cloud.clients.ec2.send(
    new DescribeSubnetsCommand({ Filters: [{ Name: 'subnet-id', Values: ids }] }),
    { ...(signal && { abortSignal: signal }) },
  );
  const found = new Map(
    Subnets.map((subnet) => [
      subnet.SubnetId ?? '',
      { vpcId: subnet.VpcId ?? '', zone: subnet.AvailabilityZone ?? '' },
    ]),
  );
  const missing = ids.filter((id) => !found.has(id));
  if (missing.length > 0) throw new CloudError(`Subnet not found: ${missing.join(', ')}`);
  const zones = new Set([...found.values()].map(({ zone }) => zone));
  if (zones.size > 1) {
    throw new CloudError(
      `All nic groups must be in the same availability zone. Found subnets in zones: ${[...zones].join(', ')}`,
    );
  }
  return found;
}

/** Ids of the groups; names are looked up in the VPC. */
export async function securityGroupIds(
  cloud: AwsCloud,
  names: readonly string[],
  vpcId: string,
  signal: Signal,
): Promise<string[]> {
  if (names.length === 0) {
    throw new CloudError(
      'Missing security groups. Set them in the VM or network cloud_properties, or as default_security_groups',
    );
  }
  if (names.every(isGroupId)) return [...names];
  const { SecurityGroups = [] } = await cloud.clients.ec2.send(
    new DescribeSecurityGroupsCommand({ Filters: [{ Name: 'vpc-id', Values: [vpcId] }] }),
    { ...(signal && { abortSignal: signal }) },
  );
  return names.map((name) => {
    if (isGroupId(name)) return name;
    const matching = SecurityGroups.filter((group) => group.GroupName === name);
    const [only, ...more] = matching;
    if (only?.GroupId === undefined) throw new CloudError(`Security group not found with name '${name}'`);
    if (more.length > 0) {
      throw new CloudError(
        `Found multiple matching security groups with name '${name}': ${matching.map(({ GroupId }) => GroupId).join(', ')}`,
      );
    }
    return only.GroupId;
  });
}

function isGroupId(name: string): boolean {
  return /^sg-[a-z0-9]{8}/.test(name);
}

async function interfaceState(cloud: AwsCloud, id: string): Promise<string | undefined> {
  const { NetworkInterfaces = [] } = await cloud.clients.ec2.send(
    new DescribeNetworkInterfacesCommand({ NetworkInterfaceIds: [id] }),
  );
  return NetworkInterfaces[0]?.Status;
}

/** One interface per group; on failure those made so far are removed. */
export async function createInterfaces(
  cloud: AwsCloud,
  plan: NetworkPlan,
  options: {
    readonly securityGroupIds: readonly string[];
    readonly tags: Readonly<Record<string, string>>;
    readonly token: string | undefined;
    readonly autoAssignPublicIp: boolean;
    readonly signal: Signal;
  },
): Promise<Nic[]> {
  const made: Nic[] = [];
  for (const [index, group] of plan.groups.entries()) {
    try {
      made.push(await createInterface(cloud, group, index, options));
    } catch (error) {
      await deleteInterfaces(
        cloud,
        made.map(({ id }) => id),
      );
      options.signal?.throwIfAborted();
      throw new CloudError(
        `Failed to create network interface for nic_group '${group.name}': ${messageOf(error)}`,
        {
          cause: error,
        },
      );
    }
  }
  return made;
}

async function createInterface(
  cloud: AwsCloud,
  group: NicGroup,
  index: number,
  options: Parameters<typeof createInterfaces>[2],
): Promise<Nic> {
  const { ec2 } = cloud.clients;
  const token = options.token === undefined ? undefined : `${options.token}-nic-${index}`;
  const tags = tagsOf({ ...options.tags, ...tokenTags(options.token) });
  const limit = { attempts: 20, pauseMs: cloud.pollMs * 30 };
  const answer = await repeatOn(['InvalidIPAddress.InUse'], limit, options.signal, () =>
    ec2.send(
      new CreateNetworkInterfaceCommand({
        SubnetId: group.subnetId,
        Groups: [...options.securityGroupIds],
        ...(group.ipv4 === undefined ? {} : { PrivateIpAddress: group.ipv4 }),
        ...(group.ipv6 === undefined ? {} : { Ipv6Addresses: [{ Ipv6Address: group.ipv6 }] }),
        ...(token === undefined ? {} : { ClientToken: token.slice(0, 64) }),
        ...(tags.length === 0
          ? {}
          : { TagSpecifications: [{ ResourceType: 'network-interface', Tags: tags }] }),
      }),
      { ...(options.signal && { abortSignal: options.signal }) },
    ),
  );
  const id = answer.NetworkInterface?.NetworkInterfaceId;
  if (id === undefined) throw new CloudError('EC2 answered without an interface id');
  try {
    await waitFor(cloud, {
      id,
      target: 'available',
      state: () => interfaceState(cloud, id),
      signal: options.signal,
    });
    await assignPrefixes(cloud, id, group);
    if (options.autoAssignPublicIp) {
      await ec2.send(
        new ModifyNetworkInterfaceAttributeCommand({
          NetworkInterfaceId: id,
          AssociatePublicIpAddress: true,
        }),
      );
    }
  } catch (error) {
    await deleteInterfaces(cloud, [id]);
    throw error;
  }
  return { id, mac: answer.NetworkInterface?.MacAddress ?? '', group };
}

async function assignPrefixes(cloud: AwsCloud, id: string, group: NicGroup): Promise<void> {
  if (group.ipv4Prefix !== undefined) {
    await cloud.clients.ec2.send(
      new AssignPrivateIpAddressesCommand({ NetworkInterfaceId: id, Ipv4Prefixes: [group.ipv4Prefix] }),
    );
  }
  if (group.ipv6Prefix !== undefined) {
    await cloud.clients.ec2.send(
      new AssignIpv6AddressesCommand({ NetworkInterfaceId: id, Ipv6Prefixes: [group.ipv6Prefix] }),
    );
  }
}

/** Interfaces with this tag: of a VM, or left by an earlier call with a token. */
export async function interfacesWithTag(
  cloud: AwsCloud,
  tag: typeof vmTag | typeof tokenTag,
  value: string,
  signal: Signal,
): Promise<string[]> {
  const { NetworkInterfaces = [] } = await cloud.clients.ec2.send(
    new DescribeNetworkInterfacesCommand({ Filters: [{ Name: `tag:${tag}`, Values: [value] }] }),
    { ...(signal && { abortSignal: signal }) },
  );
  return NetworkInterfaces.map(({ NetworkInterfaceId }) => NetworkInterfaceId ?? '').filter(
    (id) => id !== '',
  );
}

/** Best effort, bounded: an interface whose instance is still ending is in use for a while. */
export async function deleteInterfaces(cloud: AwsCloud, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    const limit = { attempts: 50, pauseMs: cloud.pollMs * 10 };
    try {
      await repeatOn(['InvalidNetworkInterface.InUse', 'InvalidParameterValue'], limit, undefined, () =>
        cloud.clients.ec2.send(new DeleteNetworkInterfaceCommand({ NetworkInterfaceId: id })),
      );
    } catch (error) {
      if (!isNotFound(error)) continue;
    }
  }
}

/** The interfaces end with their instance; should they not, they are known by its id. */
export async function deleteWithInstance(
  cloud: AwsCloud,
  instanceId: string,
  nics: readonly Nic[],
): Promise<void> {
  await createTags(
    cloud,
    nics.map(({ id }) => id),
    { [vmTag]: instanceId },
  );
  const { NetworkInterfaces = [] } = await cloud.clients.ec2.send(
    new DescribeNetworkInterfacesCommand({ NetworkInterfaceIds: nics.map(({ id }) => id) }),
  );
  for (const { NetworkInterfaceId, Attachment } of NetworkInterfaces) {
    if (Attachment?.AttachmentId === undefined) {
      throw new CloudError(`Network interface '${NetworkInterfaceId ?? ''}' is not attached to its instance`);
    }
    await cloud.clients.ec2.send(
      new ModifyNetworkInterfaceAttributeCommand({
        NetworkInterfaceId,
        Attachment: { AttachmentId: Attachment.AttachmentId, DeleteOnTermination: true },
      }),
    );
  }
}

/** Points an allocated elastic IP at the interface of the vip's group (the first one unless it names another). */
export async function associateElasticIp(
  cloud: AwsCloud,
  plan: NetworkPlan,
  instanceId: string,
  signal: Signal,
): Promise<void> {
  const { vip } = plan;
  if (vip === undefined) return;
  const { ec2 } = cloud.clients;
  let addresses: Address[];
  try {
    ({ Addresses: addresses = [] } = await ec2.send(
      new DescribeAddressesCommand({ PublicIps: [vip.ip], Filters: [{ Name: 'domain', Values: ['vpc'] }] }),
    ));
  } catch (error) {
    if (!isNotFound(error)) throw error;
    addresses = [];
  }
  const allocation = addresses[0]?.AllocationId;
  if (allocation === undefined) {
    throw new CloudError(`Elastic IP with VPC scope not found with address '${vip.ip}'`);
  }
  const { Reservations = [] } = await ec2.send(new DescribeInstancesCommand({ InstanceIds: [instanceId] }));
  const interfaces = Reservations[0]?.Instances?.[0]?.NetworkInterfaces ?? [];
  const wanted = Math.max(
    0,
    plan.groups.findIndex(({ name }) => name === vip.group),
  );
  const target =
    interfaces.find(({ Attachment }) => Attachment?.DeviceIndex === wanted) ?? interfaces[wanted];
  if (target?.NetworkInterfaceId === undefined) {
    throw new CloudError(`Instance '${instanceId}' has no network interface ${wanted}`);
  }
  const limit = { attempts: 10, pauseMs: cloud.pollMs };
  await repeatOn(['IncorrectInstanceState', 'InvalidInstanceID'], limit, signal, () =>
    ec2.send(
      new AssociateAddressCommand({
        AllocationId: allocation,
        NetworkInterfaceId: target.NetworkInterfaceId,
        AllowReassociation: true,
      }),
    ),
  );
}
