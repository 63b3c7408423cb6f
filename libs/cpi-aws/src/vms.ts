import { createHash } from 'node:crypto';
import {
  CreateRouteCommand,
  DescribeInstancesCommand,
  DescribeRouteTablesCommand,
  ModifyInstanceAttributeCommand,
  RebootInstancesCommand,
  ReplaceRouteCommand,
  RunInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
import type { Image, Instance, RunInstancesCommandInput, _InstanceType } from '@aws-sdk/client-ec2';
import { CloudError, VmCreationFailed, VmNotFound } from '@microbosh/cpi';
import type { CallContext, CreatedVm, VmRequest } from '@microbosh/cpi';
import { isJsonObject, messageOf } from '@microbosh/errors';
import type { Json, JsonObject } from '@microbosh/errors';
import type { NetworkSpec, NetworksSpec } from '@microbosh/spec';
import { planBlockDevices } from './block-devices.ts';
import type { BlockDevices } from './block-devices.ts';
import { isNotFound, serviceCode, waitFor } from './cloud.ts';
import type { AwsCloud } from './cloud.ts';
import { createTags, describeVolume } from './disks.ts';
import { describeInstance, storageOf } from './instances.ts';
import { registerWithLoadBalancers } from './load-balancers.ts';
import {
  associateElasticIp,
  createInterfaces,
  deleteInterfaces,
  deleteWithInstance,
  describeSubnets,
  interfacesWithTag,
  securityGroupIds,
} from './network-interfaces.ts';
import type { Nic } from './network-interfaces.ts';
import { planNetworks } from './network-plan.ts';
import type { NetworkPlan } from './network-plan.ts';
import { describeImage, imageIdOf } from './stemcells.ts';
import { completeTag, tagsOf, tokenTag, tokenTags, vmTag } from './tags.ts';

type Signal = AbortSignal | undefined;

/** Everything that can be checked before anything is made. */
interface Prepared {
  readonly image: Image;
  readonly instanceType: string;
  readonly zone: string;
  readonly plan: NetworkPlan;
  readonly devices: BlockDevices;
  readonly securityGroupIds: readonly string[];
  readonly tags: Readonly<Record<string, string>>;
}

function textOf(properties: JsonObject, key: string): string | undefined {
  const value = properties[key];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function listOf(properties: JsonObject, key: string): string[] {
  const value = properties[key];
  return Array.isArray(value) ? value.map(String) : [];
}

function launchTags(request: VmRequest): Record<string, string> {
  const bosh = request.env['bosh'];
  const envTags = isJsonObject(bosh) ? bosh['tags'] : undefined;
  return Object.fromEntries(
    tagsOf(envTags, request.cloudProperties['tags']).map(({ Key, Value }) => [Key ?? '', Value ?? '']),
  );
}

async function prepare(cloud: AwsCloud, context: CallContext, request: VmRequest): Promise<Prepared> {
  const { signal } = context;
  const properties = request.cloudProperties;
  if (cloud.registry === undefined && context.stemcellApiVersion < 2) {
    throw new CloudError(
      `Cannot create VM without registry with CPI v2 and stemcell api version ${context.stemcellApiVersion}. Registry not configured.`,
    );
  }
  const instanceType = textOf(properties, 'instance_type');
  const zone = textOf(properties, 'availability_zone');
  const missing = [
    ...(instanceType === undefined ? ['cloud_properties.instance_type'] : []),
    ...(zone === undefined ? ['cloud_properties.availability_zone'] : []),
  ];
  if (instanceType === undefined || zone === undefined) {
    throw new CloudError(`Missing properties: ${missing.join(', ')}. See http://bosh.io/docs/aws-cpi.html`);
  }
  const plan = planNetworks(request.networks);
  const [image, storage, subnets] = await Promise.all([
    describeImage(cloud, imageIdOf(request.stemcellCid), signal),
    storageOf(cloud, instanceType),
    describeSubnets(cloud, plan.groups, signal),
  ]);
  if (image === undefined)
    throw new CloudError(`Stemcell image '${imageIdOf(request.stemcellCid)}' not found`);
  const [subnet] = subnets.values();
  await checkZones(cloud, zone, subnet?.zone ?? '', request.diskCids, signal);
  const own = listOf(properties, 'security_groups');
  const names =
    own.length > 0
      ? own
      : plan.securityGroups.length > 0
        ? plan.securityGroups
        : (cloud.properties.default_security_groups ?? []);
  return {
    image,
    instanceType,
    zone,
    plan,
    devices: planBlockDevices(
      properties,
      { encrypted: cloud.properties.encrypted ?? false, kmsKeyArn: cloud.properties.kms_key_arn },
      {
        rootDeviceName: image.RootDeviceName ?? '/dev/xvda',
        virtualization: image.VirtualizationType ?? 'hvm',
        mapped: (image.BlockDeviceMappings ?? []).map(({ DeviceName }) => DeviceName ?? ''),
        rootGiB: image.BlockDeviceMappings?.find(({ Ebs }) => Ebs !== undefined)?.Ebs?.VolumeSize,
      },
      storage,
    ),
    securityGroupIds: await securityGroupIds(cloud, names, subnet?.vpcId ?? '', signal),
    tags: launchTags(request),
  };
}

async function checkZones(
  cloud: AwsCloud,
  vmZone: string,
  subnetZone: string,
  diskCids: readonly string[],
  signal: Signal,
): Promise<void> {
  const volumeZones = new Set<string>();
  for (const diskCid of diskCids) {
    const zone = (await describeVolume(cloud, diskCid, signal))?.AvailabilityZone;
    if (zone !== undefined) volumeZones.add(zone);
  }
  if (new Set([vmZone, subnetZone, ...volumeZones]).size > 1) {
    const volumes = volumeZones.size === 0 ? '' : `, and volume in ${[...volumeZones].join(', ')}`;
    throw new CloudError(
      `can't use multiple availability zones: subnet in ${subnetZone}, VM in ${vmZone}${volumes}`,
    );
  }
}

function agentNetworks(networks: NetworksSpec, nics: readonly Nic[]): NetworksSpec {
  const result: Record<string, NetworkSpec> = {};
  for (const [name, spec] of Object.entries(networks)) {
    const nic = nics.find(({ group }) => group.networks.includes(name));
    result[name] = { ...spec, use_dhcp: true, ...(nic === undefined ? {} : { mac: nic.mac }) };
  }
  return result;
}

function agentSettings(
  cloud: AwsCloud,
  request: VmRequest,
  prepared: Prepared,
  networks: NetworksSpec,
): JsonObject {
  const settings = {
    ...(cloud.agent ?? {}),
    vm: { name: `vm-${request.agentId}` },
    agent_id: request.agentId,
    networks,
    disks: { ...prepared.devices.agent, persistent: {} },
    env: request.env,
  };
  return JSON.parse(JSON.stringify(settings)) as JsonObject;
}

/** EC2's limit for user data before base64. */
const maxUserDataBytes = 16 * 1024;

function encodeUserData(data: JsonObject): string {
  const text = JSON.stringify(data);
  if (Buffer.byteLength(text) > maxUserDataBytes) {
    throw new VmCreationFailed(
      `The user data of the VM would be ${Buffer.byteLength(text)} bytes; EC2 allows ${maxUserDataBytes}`,
      {
        advice:
          "Configure a registry ('registry' properties): then only its address goes into the user data.",
      },
    );
  }
  return Buffer.from(text).toString('base64');
}

function metadataOptions(
  cloud: AwsCloud,
  properties: JsonObject,
): RunInstancesCommandInput['MetadataOptions'] {
  const own = properties['metadata_options'];
  const merged: Record<string, Json> = {
    ...cloud.properties.metadata_options,
    ...(isJsonObject(own) ? own : {}),
  };
  if (Object.keys(merged).length === 0) return undefined;
  const pascal = (key: string): string =>
    key.replace(/(?:^|_)([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
  return Object.fromEntries(Object.entries(merged).map(([key, value]) => [pascal(key), value]));
}

function launchInput(
  cloud: AwsCloud,
  context: CallContext,
  request: VmRequest,
  prepared: Prepared,
  nics: readonly Nic[],
  userData: string,
): RunInstancesCommandInput {
  const properties = request.cloudProperties;
  const tags = tagsOf({ ...prepared.tags, ...tokenTags(context.token) });
  const profile = textOf(properties, 'iam_instance_profile') ?? cloud.properties.default_iam_instance_profile;
  const options = metadataOptions(cloud, properties);
  const key = textOf(properties, 'key_name') ?? cloud.properties.default_key_name;
  const group = textOf(properties, 'placement_group');
  return {
    ImageId: prepared.image.ImageId,
    InstanceType: prepared.instanceType as _InstanceType,
    MinCount: 1,
    MaxCount: 1,
    UserData: userData,
    BlockDeviceMappings: [...prepared.devices.mappings],
    NetworkInterfaces: nics.map(({ id }, index) => ({ DeviceIndex: index, NetworkInterfaceId: id })),
    Placement: {
      AvailabilityZone: prepared.zone,
      ...(group === undefined ? {} : { GroupName: group }),
      ...(properties['tenancy'] === 'dedicated' ? { Tenancy: 'dedicated' } : {}),
    },
    ...(key === undefined ? {} : { KeyName: key }),
    ...(profile === undefined ? {} : { IamInstanceProfile: { Name: profile } }),
    ...(options === undefined ? {} : { MetadataOptions: options }),
    ...(context.token === undefined ? {} : { ClientToken: clientToken(context.token, nics) }),
    ...(tags.length === 0
      ? {}
      : {
          TagSpecifications: [
            { ResourceType: 'instance', Tags: tags },
            { ResourceType: 'volume', Tags: tags },
          ],
        }),
  };
}

/** EC2 refuses a client token that comes again with other parameters: a new try has new interfaces. */
function clientToken(token: string, nics: readonly Nic[]): string {
  return createHash('sha256')
    .update([token, ...nics.map(({ id }) => id)].join(' '))
    .digest('hex')
    .slice(0, 64);
}

const capacityCodes = [
  'InsufficientInstanceCapacity',
  'InstanceLimitExceeded',
  'VcpuLimitExceeded',
  'Unsupported',
];
const busyCodes = ['RequestLimitExceeded', 'InternalError', 'Unavailable', 'ServiceUnavailable'];

async function launch(
  cloud: AwsCloud,
  input: RunInstancesCommandInput,
  properties: JsonObject,
): Promise<string> {
  const bid = properties['spot_bid_price'];
  if (typeof bid === 'number' || typeof bid === 'string') {
    try {
      return await runInstance(cloud, {
        ...input,
        InstanceMarketOptions: {
          MarketType: 'spot',
          SpotOptions: {
            MaxPrice: String(bid),
            SpotInstanceType: 'one-time',
            InstanceInterruptionBehavior: 'terminate',
          },
        },
      });
    } catch (error) {
      if (properties['spot_ondemand_fallback'] !== true) {
        throw new VmCreationFailed(`Spot instance creation failed: ${messageOf(error)}`, { cause: error });
      }
      delete input.ClientToken;
    }
  }
  try {
    return await runInstance(cloud, input);
  } catch (error) {
    const code = serviceCode(error);
    if (capacityCodes.includes(code) || busyCodes.includes(code)) {
      throw new VmCreationFailed(`${code}: ${messageOf(error)}`, {
        okToRetry: busyCodes.includes(code),
        cause: error,
      });
    }
    throw error;
  }
}

async function runInstance(cloud: AwsCloud, input: RunInstancesCommandInput): Promise<string> {
  const { Instances = [] } = await cloud.clients.ec2.send(new RunInstancesCommand(input));
  const id = Instances[0]?.InstanceId;
  if (id === undefined) throw new CloudError('EC2 answered without an instance id');
  return id;
}

async function waitUntilRunning(cloud: AwsCloud, id: string, signal: Signal): Promise<void> {
  let instance: Instance | undefined;
  try {
    await waitFor(cloud, {
      id,
      target: 'running',
      failures: ['shutting-down', 'terminated', 'stopping', 'stopped'],
      state: async () => {
        const { Reservations = [] } = await cloud.clients.ec2.send(
          new DescribeInstancesCommand({ InstanceIds: [id] }),
        );
        instance = Reservations[0]?.Instances?.[0];
        return instance?.State?.Name;
      },
      signal,
    });
  } catch (error) {
    signal?.throwIfAborted();
    const reason = instance?.StateReason;
    throw new VmCreationFailed(
      reason?.Code === undefined
        ? `Timed out waiting for instance '${id}' to be running: ${messageOf(error)}`
        : `Instance '${id}' ended: ${reason.Code} ${reason.Message ?? ''}`.trim(),
      { okToRetry: true, cause: error },
    );
  }
}

async function instanceOfToken(
  cloud: AwsCloud,
  token: string,
  signal: Signal,
): Promise<Instance | undefined> {
  const { Reservations = [] } = await cloud.clients.ec2.send(
    new DescribeInstancesCommand({ Filters: [{ Name: `tag:${tokenTag}`, Values: [token] }] }),
    { ...(signal && { abortSignal: signal }) },
  );
  return Reservations.flatMap(({ Instances = [] }) => Instances).find(({ State }) =>
    ['pending', 'running'].includes(State?.Name ?? ''),
  );
}

/** The instance of a create_vm with this token that came to its end; its halves are removed. */
async function completeInstance(
  cloud: AwsCloud,
  token: string,
  signal: Signal,
): Promise<Instance | undefined> {
  const earlier = await instanceOfToken(cloud, token, signal);
  if (earlier?.Tags?.some(({ Key }) => Key === completeTag) === true) return earlier;
  if (earlier?.InstanceId !== undefined) {
    await terminate(cloud, earlier.InstanceId, signal);
    await cloud.registry?.client.deleteSettings(earlier.InstanceId, signal);
  }
  await deleteInterfaces(cloud, await interfacesWithTag(cloud, tokenTag, token, signal));
  return undefined;
}

/** What a create_vm with this token has made and can be used. */
export async function vmOfToken(cloud: AwsCloud, token: string, signal: Signal): Promise<string | undefined> {
  return (await completeInstance(cloud, token, signal))?.InstanceId;
}

function nicsOf(instance: Instance, plan: NetworkPlan): Nic[] {
  return plan.groups.flatMap((group, index) => {
    const nic = instance.NetworkInterfaces?.find(({ Attachment }) => Attachment?.DeviceIndex === index);
    return nic === undefined ? [] : [{ id: nic.NetworkInterfaceId ?? '', mac: nic.MacAddress ?? '', group }];
  });
}

export async function createVm(
  cloud: AwsCloud,
  context: CallContext,
  request: VmRequest,
): Promise<CreatedVm> {
  const { signal, token } = context;
  const prepared = await prepare(cloud, context, request);
  const complete = token === undefined ? undefined : await completeInstance(cloud, token, signal);
  if (complete?.InstanceId !== undefined) {
    const networks = agentNetworks(request.networks, nicsOf(complete, prepared.plan));
    return { cid: complete.InstanceId, networks };
  }
  const nics = await createInterfaces(cloud, prepared.plan, {
    securityGroupIds: prepared.securityGroupIds,
    tags: prepared.tags,
    token,
    autoAssignPublicIp: request.cloudProperties['auto_assign_public_ip'] === true,
    signal,
  });
  let id: string | undefined;
  try {
    const networks = agentNetworks(request.networks, nics);
    const settings = agentSettings(cloud, request, prepared, networks);
    const readToken = cloud.registry?.client.newReadToken();
    const data = userData(cloud, prepared, networks, settings, readToken);
    const input = launchInput(cloud, context, request, prepared, nics, encodeUserData(data));
    id = await launch(cloud, input, request.cloudProperties);
    if (cloud.registry !== undefined && readToken !== undefined) {
      await cloud.registry.client.putSettings(id, settings, signal);
      await cloud.registry.client.registerReadToken(id, readToken, signal);
    }
    await waitUntilRunning(cloud, id, signal);
    await deleteWithInstance(cloud, id, nics);
    await configure(cloud, id, request.cloudProperties);
    await registerWithLoadBalancers(cloud, id, request.cloudProperties);
    await associateElasticIp(cloud, prepared.plan, id, signal);
    if (token !== undefined) await createTags(cloud, [id], { [completeTag]: token });
    return { cid: id, networks };
  } catch (error) {
    // An instance that was started without an answer is known by its token.
    id ??=
      token === undefined
        ? undefined
        : (await instanceOfToken(cloud, token, undefined).catch(() => undefined))?.InstanceId;
    if (id !== undefined) {
      await terminate(cloud, id, undefined).catch(() => undefined);
      await cloud.registry?.client.deleteSettings(id).catch(() => undefined);
    }
    await deleteInterfaces(
      cloud,
      nics.map((nic) => nic.id),
    );
    signal?.throwIfAborted();
    throw error;
  }
}

function userData(
  cloud: AwsCloud,
  prepared: Prepared,
  networks: NetworksSpec,
  settings: JsonObject,
  readToken: string | undefined,
): JsonObject {
  const pointer: JsonObject = {
    dns: prepared.plan.dns === undefined ? null : { nameserver: prepared.plan.dns },
    networks: JSON.parse(JSON.stringify(networks)) as JsonObject,
  };
  if (cloud.registry === undefined || readToken === undefined) return { ...settings, ...pointer };
  const { client, ca } = cloud.registry;
  return {
    ...pointer,
    registry: {
      endpoint: client.endpointWith('instance', readToken),
      ...(ca === undefined ? {} : { ca }),
    },
  };
}

async function configure(cloud: AwsCloud, id: string, properties: JsonObject): Promise<void> {
  const { ec2 } = cloud.clients;
  const routes = properties['advertised_routes'];
  for (const route of Array.isArray(routes) ? routes : []) {
    if (!isJsonObject(route))
      throw new CloudError('advertised_routes must be a list of maps with table_id and destination');
    const target = {
      RouteTableId: textOf(route, 'table_id') ?? '',
      DestinationCidrBlock: textOf(route, 'destination') ?? '',
      InstanceId: id,
    };
    const { RouteTables = [] } = await ec2.send(
      new DescribeRouteTablesCommand({ RouteTableIds: [target.RouteTableId] }),
    );
    const exists = RouteTables[0]?.Routes?.some(
      ({ DestinationCidrBlock }) => DestinationCidrBlock === target.DestinationCidrBlock,
    );
    if (exists === true) await ec2.send(new ReplaceRouteCommand(target));
    else await ec2.send(new CreateRouteCommand(target));
  }
  if (properties['source_dest_check'] === false) {
    await ec2.send(new ModifyInstanceAttributeCommand({ InstanceId: id, SourceDestCheck: { Value: false } }));
  }
}

async function terminate(cloud: AwsCloud, id: string, signal: Signal): Promise<void> {
  await cloud.clients.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
  await waitFor(cloud, {
    id,
    target: 'terminated',
    failures: [],
    state: async () => {
      const { Reservations = [] } = await cloud.clients.ec2.send(
        new DescribeInstancesCommand({ InstanceIds: [id] }),
      );
      return Reservations[0]?.Instances?.[0]?.State?.Name;
    },
    absenceIsSuccess: true,
    signal,
  });
}

export async function deleteVm(cloud: AwsCloud, context: CallContext, vmCid: string): Promise<void> {
  const found = await describeInstance(cloud, vmCid, context.signal);
  if (found !== undefined) {
    try {
      if (cloud.properties.fast_path_delete) {
        await cloud.clients.ec2.send(new TerminateInstancesCommand({ InstanceIds: [vmCid] }));
        await createTags(cloud, [vmCid], { Name: 'to be deleted' });
      } else {
        await terminate(cloud, vmCid, context.signal);
      }
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
  // Interfaces that were not marked to go with their instance, or outlived it.
  if (!cloud.properties.fast_path_delete) {
    await deleteInterfaces(cloud, await interfacesWithTag(cloud, vmTag, vmCid, context.signal));
  }
  await cloud.registry?.client.deleteSettings(vmCid, context.signal);
  if (found === undefined) throw new VmNotFound(vmCid, { message: `VM \`${vmCid}' not found` });
}

export async function hasVm(cloud: AwsCloud, context: CallContext, vmCid: string): Promise<boolean> {
  return (await describeInstance(cloud, vmCid, context.signal)) !== undefined;
}

export async function rebootVm(cloud: AwsCloud, context: CallContext, vmCid: string): Promise<void> {
  if ((await describeInstance(cloud, vmCid, context.signal)) === undefined) throw new VmNotFound(vmCid);
  await cloud.clients.ec2.send(new RebootInstancesCommand({ InstanceIds: [vmCid] }));
}

export async function setVmMetadata(
  cloud: AwsCloud,
  context: CallContext,
  vmCid: string,
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  const instance = await describeInstance(cloud, vmCid, context.signal);
  if (instance === undefined) throw new VmNotFound(vmCid);
  const { name, ...rest } = metadata;
  const { job, index, compiling } = rest;
  const shown =
    name ??
    (job !== undefined
      ? `${job}/${index ?? ''}`
      : compiling === undefined
        ? undefined
        : `compiling/${compiling}`);
  const tags = { ...rest, ...(shown === undefined ? {} : { Name: shown }) };
  const volumes = (instance.BlockDeviceMappings ?? []).map(({ Ebs }) => Ebs?.VolumeId ?? '');
  await createTags(cloud, [vmCid, ...volumes.filter((id) => id !== '')], tags);
}
