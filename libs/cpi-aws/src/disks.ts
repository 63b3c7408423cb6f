import {
  AttachVolumeCommand,
  CreateSnapshotCommand,
  CreateTagsCommand,
  CreateVolumeCommand,
  DeleteSnapshotCommand,
  DeleteVolumeCommand,
  DescribeAvailabilityZonesCommand,
  DescribeSnapshotsCommand,
  DescribeVolumesCommand,
  DescribeVolumesModificationsCommand,
  DetachVolumeCommand,
  ModifyVolumeCommand,
} from '@aws-sdk/client-ec2';
import type { Volume, VolumeType } from '@aws-sdk/client-ec2';
import {
  CloudError,
  DiskNotAttached,
  DiskNotFound,
  InvalidCall,
  NoDiskSpace,
  NotSupported,
  VmNotFound,
} from '@microbosh/cpi';
import type { CallContext } from '@microbosh/cpi';
import type { Json, JsonObject } from '@microbosh/errors';
import { gibibytes, guestPath, isPersistentName, nextVolumeName } from './block-devices.ts';
import { isNotFound, repeatOn, serviceCode, waitFor } from './cloud.ts';
import type { AwsCloud } from './cloud.ts';
import { describeInstance, storageOf } from './instances.ts';
import { tagsOf, tokenTag, tokenTags } from './tags.ts';

type Signal = AbortSignal | undefined;

export async function describeVolume(
  cloud: AwsCloud,
  id: string,
  signal: Signal,
): Promise<Volume | undefined> {
  try {
    const { Volumes = [] } = await cloud.clients.ec2.send(new DescribeVolumesCommand({ VolumeIds: [id] }), {
      ...(signal && { abortSignal: signal }),
    });
    return Volumes[0];
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

async function waitForVolume(cloud: AwsCloud, id: string, target: string, signal: Signal): Promise<void> {
  await waitFor(cloud, {
    id,
    target,
    state: async () => (await describeVolume(cloud, id, signal))?.State,
    absenceIsSuccess: target === 'deleted',
    signal,
  });
}

async function volumeOfToken(cloud: AwsCloud, token: string, signal: Signal): Promise<Volume | undefined> {
  const { Volumes = [] } = await cloud.clients.ec2.send(
    new DescribeVolumesCommand({ Filters: [{ Name: `tag:${tokenTag}`, Values: [token] }] }),
    { ...(signal && { abortSignal: signal }) },
  );
  return Volumes.find(({ State }) => State === 'creating' || State === 'available' || State === 'in-use');
}

/** The volume that a create_disk with this token has made. */
export async function diskOfToken(
  cloud: AwsCloud,
  token: string,
  signal: Signal,
): Promise<string | undefined> {
  return (await volumeOfToken(cloud, token, signal))?.VolumeId;
}

async function zoneFor(cloud: AwsCloud, vmCid: string | null, signal: Signal): Promise<string> {
  if (vmCid !== null && vmCid !== '') {
    const zone = (await describeInstance(cloud, vmCid, signal))?.Placement?.AvailabilityZone;
    if (zone !== undefined) return zone;
  }
  const { AvailabilityZones = [] } = await cloud.clients.ec2.send(new DescribeAvailabilityZonesCommand({}));
  const names = AvailabilityZones.map(({ ZoneName }) => ZoneName ?? '').filter((name) => name !== '');
  const name = names[Math.floor(Math.random() * names.length)];
  if (name === undefined) throw new CloudError(`No availability zone in region '${cloud.clients.region}'`);
  return name;
}

export async function createDisk(
  cloud: AwsCloud,
  context: CallContext,
  sizeMiB: number,
  cloudProperties: JsonObject,
  vmCid: string | null,
): Promise<string> {
  const { signal, token } = context;
  if (!Number.isInteger(sizeMiB)) throw new InvalidCall('disk size needs to be an integer');
  if (sizeMiB < 1024) throw new CloudError('AWS CPI minimum disk size is 1 GiB');
  if (token !== undefined) {
    const existing = await volumeOfToken(cloud, token, signal);
    if (existing?.VolumeId !== undefined) {
      if (existing.State === 'creating') await waitForVolume(cloud, existing.VolumeId, 'available', signal);
      return existing.VolumeId;
    }
  }
  const own = cloudProperties['encrypted'];
  const encrypted = typeof own === 'boolean' ? own : (cloud.properties.encrypted ?? false);
  const key = cloudProperties['kms_key_arn'] ?? cloud.properties.kms_key_arn;
  const tags = tagsOf(cloudProperties['tags'], { ...tokenTags(token) });
  let id: string | undefined;
  try {
    const volume = await cloud.clients.ec2.send(
      new CreateVolumeCommand({
        Size: gibibytes(sizeMiB),
        AvailabilityZone: await zoneFor(cloud, vmCid, signal),
        VolumeType: (cloudProperties['type'] ?? 'gp3') as VolumeType,
        Encrypted: encrypted,
        ...(typeof cloudProperties['iops'] === 'number' ? { Iops: cloudProperties['iops'] } : {}),
        ...(typeof cloudProperties['throughput'] === 'number'
          ? { Throughput: cloudProperties['throughput'] }
          : {}),
        ...(encrypted && typeof key === 'string' ? { KmsKeyId: key } : {}),
        ...(token === undefined ? {} : { ClientToken: token.slice(0, 64) }),
        ...(tags.length === 0 ? {} : { TagSpecifications: [{ ResourceType: 'volume', Tags: tags }] }),
      }),
    );
    id = volume.VolumeId;
    if (id === undefined) throw new CloudError('EC2 answered without a volume id');
    await waitForVolume(cloud, id, 'available', signal);
    return id;
  } catch (error) {
    if (id !== undefined) {
      // Best effort: the first error is the one to report.
      await cloud.clients.ec2.send(new DeleteVolumeCommand({ VolumeId: id })).catch(() => undefined);
    }
    if (['VolumeLimitExceeded', 'MaxIOPSLimitExceeded'].includes(serviceCode(error))) {
      throw new NoDiskSpace(error instanceof Error ? error.message : '', { cause: error });
    }
    throw error;
  }
}

/** A volume on its way from an instance is waited for; one that is attached stays attached. */
async function deleteUnlessAttached(cloud: AwsCloud, diskCid: string, signal: Signal): Promise<void> {
  try {
    await cloud.clients.ec2.send(new DeleteVolumeCommand({ VolumeId: diskCid }));
  } catch (error) {
    if (serviceCode(error) !== 'VolumeInUse') throw error;
    const { Attachments = [] } = (await describeVolume(cloud, diskCid, signal)) ?? {};
    const holder = Attachments.find(({ State }) => State === 'attached' || State === 'attaching');
    if (holder === undefined) throw error;
    throw new CloudError(`Volume '${diskCid}' is attached to '${holder.InstanceId ?? ''}'`, { cause: error });
  }
}

export async function deleteDisk(cloud: AwsCloud, context: CallContext, diskCid: string): Promise<void> {
  const { signal } = context;
  try {
    await repeatOn(['VolumeInUse'], { attempts: 40, pauseMs: cloud.pollMs * 10 }, signal, () =>
      deleteUnlessAttached(cloud, diskCid, signal),
    );
  } catch (error) {
    if (isNotFound(error)) throw new DiskNotFound(diskCid, { message: `Disk '${diskCid}' not found` });
    if (serviceCode(error) === 'VolumeInUse') {
      throw new CloudError(`Timed out waiting to delete volume \`${diskCid}'`, { cause: error });
    }
    throw error;
  }
  if (cloud.properties.fast_path_delete) return;
  await waitForVolume(cloud, diskCid, 'deleted', signal);
}

export async function hasDisk(cloud: AwsCloud, context: CallContext, diskCid: string): Promise<boolean> {
  const state = (await describeVolume(cloud, diskCid, context.signal))?.State;
  return state !== undefined && state !== 'deleted';
}

async function attachmentState(
  cloud: AwsCloud,
  vmCid: string,
  diskCid: string,
  signal: Signal,
): Promise<string | undefined> {
  const volume = await describeVolume(cloud, diskCid, signal);
  return volume?.Attachments?.find(({ InstanceId }) => InstanceId === vmCid)?.State;
}

export async function attachDisk(
  cloud: AwsCloud,
  context: CallContext,
  vmCid: string,
  diskCid: string,
): Promise<Json> {
  const { signal } = context;
  const instance = await describeInstance(cloud, vmCid, signal);
  if (instance === undefined) throw new VmNotFound(vmCid);
  const volume = await describeVolume(cloud, diskCid, signal);
  if (volume === undefined) throw new DiskNotFound(diskCid);
  const mappings = instance.BlockDeviceMappings ?? [];
  const mine = mappings.find(({ Ebs }) => Ebs?.VolumeId === diskCid);
  const device = mine?.DeviceName ?? nextVolumeName(mappings.map(({ DeviceName }) => DeviceName ?? ''));
  if (mine === undefined) {
    const holder = volume.Attachments?.find(
      ({ InstanceId, State }) => InstanceId !== vmCid && State !== 'detached',
    );
    if (holder !== undefined) {
      throw new CloudError(
        `Failed to attach disk: volume '${diskCid}' is attached to '${holder.InstanceId ?? ''}'`,
      );
    }
    const limit = { attempts: 15, pauseMs: cloud.pollMs };
    await repeatOn(['IncorrectState', 'VolumeInUse'], limit, signal, () =>
      cloud.clients.ec2.send(
        new AttachVolumeCommand({ VolumeId: diskCid, InstanceId: vmCid, Device: device }),
      ),
    );
  }
  await waitFor(cloud, {
    id: diskCid,
    target: 'attached',
    state: () => attachmentState(cloud, vmCid, diskCid, signal),
    signal,
  });
  const path = guestPath(diskCid, device, await storageOf(cloud, instance.InstanceType ?? ''));
  if (cloud.registry !== undefined) {
    await cloud.registry.client.editSettings(
      vmCid,
      (settings) => withPersistentDisk(settings, diskCid, path),
      signal,
    );
  }
  return path;
}

function withPersistentDisk(settings: JsonObject, diskCid: string, path: string | undefined): JsonObject {
  const disks = (settings['disks'] ?? {}) as JsonObject;
  const others = Object.fromEntries(
    Object.entries((disks['persistent'] ?? {}) as JsonObject).filter(([cid]) => cid !== diskCid),
  );
  return {
    ...settings,
    disks: { ...disks, persistent: path === undefined ? others : { ...others, [diskCid]: path } },
  };
}

export async function detachDisk(
  cloud: AwsCloud,
  context: CallContext,
  vmCid: string,
  diskCid: string,
): Promise<void> {
  const { signal } = context;
  const instance = await describeInstance(cloud, vmCid, signal);
  if (instance === undefined) throw new VmNotFound(vmCid);
  const volume = await describeVolume(cloud, diskCid, signal);
  if (volume !== undefined) {
    const mapping = (instance.BlockDeviceMappings ?? []).find(({ Ebs }) => Ebs?.VolumeId === diskCid);
    if (mapping === undefined)
      throw new DiskNotAttached(`Disk '${diskCid}' not attached`, { okToRetry: true });
    try {
      await cloud.clients.ec2.send(
        new DetachVolumeCommand({
          VolumeId: diskCid,
          InstanceId: vmCid,
          Device: mapping.DeviceName,
          Force: false,
        }),
      );
    } catch (error) {
      // Already on its way out, by an earlier call.
      if (!isNotFound(error) && serviceCode(error) !== 'IncorrectState') throw error;
    }
    await waitFor(cloud, {
      id: diskCid,
      target: 'detached',
      state: () => attachmentState(cloud, vmCid, diskCid, signal),
      absenceIsSuccess: true,
      signal,
    });
  }
  if (cloud.registry !== undefined) {
    await cloud.registry.client.editSettings(
      vmCid,
      (settings) => withPersistentDisk(settings, diskCid, undefined),
      signal,
    );
  }
}

export async function getDisks(cloud: AwsCloud, context: CallContext, vmCid: string): Promise<string[]> {
  const instance = await describeInstance(cloud, vmCid, context.signal);
  if (instance === undefined) throw new VmNotFound(vmCid);
  // The original names root and ephemeral volumes too, which no caller can make anything of.
  return (instance.BlockDeviceMappings ?? [])
    .filter(({ DeviceName }) => isPersistentName(DeviceName ?? ''))
    .map(({ Ebs }) => Ebs?.VolumeId ?? '')
    .filter((id) => id !== '');
}

export async function resizeDisk(
  cloud: AwsCloud,
  context: CallContext,
  diskCid: string,
  newSizeMiB: number,
): Promise<void> {
  const { signal } = context;
  const volume = await describeVolume(cloud, diskCid, signal);
  if (volume === undefined) throw new DiskNotFound(diskCid);
  const size = gibibytes(newSizeMiB);
  const current = volume.Size ?? 0;
  if (size === current) return;
  if (size < current)
    throw new NotSupported(`Cannot resize volume to a smaller size from ${current}GiB to ${size}GiB`);
  const count = volume.Attachments?.length ?? 0;
  if (count > 0)
    throw new CloudError(`Cannot resize volume '${diskCid}' it still has ${count} attachment(s)`);
  await cloud.clients.ec2.send(new ModifyVolumeCommand({ VolumeId: diskCid, Size: size }));
  await waitFor(cloud, {
    id: diskCid,
    target: 'completed',
    state: async () => {
      const { VolumesModifications = [] } = await cloud.clients.ec2.send(
        new DescribeVolumesModificationsCommand({ VolumeIds: [diskCid] }),
      );
      const state = VolumesModifications[0]?.ModificationState;
      return state === 'optimizing' ? 'completed' : state;
    },
    signal,
  });
}

export async function setDiskMetadata(
  cloud: AwsCloud,
  _context: CallContext,
  diskCid: string,
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  await createTags(cloud, [diskCid], metadata);
}

/** Tags help people; too many of them must not fail a deploy. */
export async function createTags(
  cloud: AwsCloud,
  resources: readonly string[],
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  const Tags = tagsOf(metadata);
  if (Tags.length === 0) return;
  // What has just been made is not known everywhere yet.
  const codes = [
    'InvalidInstanceID.NotFound',
    'InvalidVolume.NotFound',
    'InvalidNetworkInterfaceID.NotFound',
  ];
  try {
    await repeatOn(codes, { attempts: 10, pauseMs: cloud.pollMs }, undefined, () =>
      cloud.clients.ec2.send(new CreateTagsCommand({ Resources: [...resources], Tags })),
    );
  } catch (error) {
    if (serviceCode(error) !== 'TagLimitExceeded') throw error;
  }
}

export async function snapshotDisk(
  cloud: AwsCloud,
  context: CallContext,
  diskCid: string,
  metadata: Readonly<Record<string, string>>,
): Promise<string> {
  const { signal, token } = context;
  if (token !== undefined) {
    const [earlier] = await snapshotsOfToken(cloud, token, signal);
    if (earlier !== undefined) {
      await waitForSnapshot(cloud, earlier, signal);
      return earlier;
    }
  }
  const volume = await describeVolume(cloud, diskCid, signal);
  if (volume === undefined) throw new DiskNotFound(diskCid);
  const device = volume.Attachments?.[0]?.Device;
  const description = [metadata['deployment'], metadata['job'], metadata['index'], device?.split('/').at(-1)]
    .filter((part) => part !== undefined && part !== '')
    .join('/');
  const { director_name: director, index, job, ...rest } = metadata;
  const { SnapshotId: id } = await cloud.clients.ec2.send(
    new CreateSnapshotCommand({
      VolumeId: diskCid,
      Description: description,
      TagSpecifications: [
        {
          ResourceType: 'snapshot',
          Tags: tagsOf({
            ...rest,
            ...tokenTags(token),
            Name: description,
            ...(device === undefined ? {} : { device }),
            ...(director === undefined ? {} : { director }),
            ...(index === undefined ? {} : { instance_index: index }),
            ...(job === undefined ? {} : { instance_name: `${job}/${metadata['instance_id'] ?? ''}` }),
          }),
        },
      ],
    }),
  );
  if (id === undefined) throw new CloudError('EC2 answered without a snapshot id');
  try {
    await waitForSnapshot(cloud, id, signal);
  } catch (error) {
    await cloud.clients.ec2.send(new DeleteSnapshotCommand({ SnapshotId: id })).catch(() => undefined);
    throw error;
  }
  return id;
}

/** Snapshots that calls with this token have made. */
export async function snapshotsOfToken(
  cloud: AwsCloud,
  token: string,
  signal: Signal,
): Promise<readonly string[]> {
  const { Snapshots = [] } = await cloud.clients.ec2.send(
    new DescribeSnapshotsCommand({
      OwnerIds: ['self'],
      Filters: [{ Name: `tag:${tokenTag}`, Values: [token] }],
    }),
    { ...(signal && { abortSignal: signal }) },
  );
  return Snapshots.filter(({ State }) => State !== 'error').map(({ SnapshotId }) => SnapshotId ?? '');
}

export async function waitForSnapshot(cloud: AwsCloud, id: string, signal: Signal): Promise<void> {
  await waitFor(cloud, {
    id,
    target: 'completed',
    state: async () => {
      const { Snapshots = [] } = await cloud.clients.ec2.send(
        new DescribeSnapshotsCommand({ SnapshotIds: [id] }),
      );
      return Snapshots[0]?.State;
    },
    signal,
  });
}

export async function deleteSnapshot(
  cloud: AwsCloud,
  _context: CallContext,
  snapshotCid: string,
): Promise<void> {
  try {
    await cloud.clients.ec2.send(new DeleteSnapshotCommand({ SnapshotId: snapshotCid }));
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}
