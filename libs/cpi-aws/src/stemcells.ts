import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { CompleteSnapshotCommand, PutSnapshotBlockCommand, StartSnapshotCommand } from '@aws-sdk/client-ebs';
import type { EBSClient } from '@aws-sdk/client-ebs';
import {
  CopyImageCommand,
  CreateTagsCommand,
  DeleteSnapshotCommand,
  DeregisterImageCommand,
  DescribeImagesCommand,
  DescribeSnapshotsCommand,
  RegisterImageCommand,
} from '@aws-sdk/client-ec2';
import type { ArchitectureValues, BootModeValues, Image } from '@aws-sdk/client-ec2';
import { CloudError, unpackRootImage } from '@microbosh/cpi';
import type { CallContext } from '@microbosh/cpi';
import { isJsonObject } from '@microbosh/errors';
import type { Json, JsonObject } from '@microbosh/errors';
import { isNotFound, waitFor } from './cloud.ts';
import type { AwsCloud } from './cloud.ts';
import { snapshotsOfToken, waitForSnapshot } from './disks.ts';
import { imageTag, tagsOf, tokenTags } from './tags.ts';

type Signal = AbortSignal | undefined;

export const lightSuffix = ' light';

export function imageIdOf(stemcellCid: string): string {
  return stemcellCid.endsWith(lightSuffix) ? stemcellCid.slice(0, -lightSuffix.length) : stemcellCid;
}

function textOf(value: Json | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

export async function describeImage(cloud: AwsCloud, id: string, signal: Signal): Promise<Image | undefined> {
  try {
    const { Images = [] } = await cloud.clients.ec2.send(new DescribeImagesCommand({ ImageIds: [id] }), {
      ...(signal && { abortSignal: signal }),
    });
    return Images.find(({ State }) => State !== 'deregistered');
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

async function waitForImage(cloud: AwsCloud, id: string, signal: Signal): Promise<void> {
  await waitFor(cloud, {
    id,
    target: 'available',
    state: async () => (await describeImage(cloud, id, signal))?.State,
    signal,
  });
}

/** The image of this account with this name, which exists or will. */
async function ownImage(cloud: AwsCloud, name: string, signal: Signal): Promise<Image | undefined> {
  const { Images = [] } = await cloud.clients.ec2.send(
    new DescribeImagesCommand({ Owners: ['self'], Filters: [{ Name: 'name', Values: [name] }] }),
    { ...(signal && { abortSignal: signal }) },
  );
  return Images.find(({ State }) => State === 'available' || State === 'pending');
}

/** EC2 knows a name once only: a repeated registration is refused. */
function imageName(token: string | undefined): string {
  if (token === undefined) return `BOSH-${crypto.randomUUID()}`;
  return `BOSH-${createHash('sha256').update(token).digest('hex').slice(0, 32)}`;
}

/** An image that a create_stemcell with this token has made; its halves are removed. */
export async function imageOfToken(
  cloud: AwsCloud,
  token: string,
  signal: Signal,
): Promise<string | undefined> {
  const image = await ownImage(cloud, imageName(token), signal);
  if (image?.ImageId !== undefined) {
    await waitForImage(cloud, image.ImageId, signal);
    return image.ImageId;
  }
  for (const SnapshotId of await snapshotsOfToken(cloud, token, signal)) {
    await cloud.clients.ec2.send(new DeleteSnapshotCommand({ SnapshotId }));
  }
  return undefined;
}

export async function createStemcell(
  cloud: AwsCloud,
  context: CallContext,
  imagePath: string,
  cloudProperties: JsonObject | null,
): Promise<string> {
  const properties = cloudProperties ?? {};
  const amis = properties['ami'];
  if (isJsonObject(amis) && Object.keys(amis).length > 0)
    return lightStemcell(cloud, context, properties, amis);
  if (context.token !== undefined) {
    const existing = await imageOfToken(cloud, context.token, context.signal);
    if (existing !== undefined) return existing;
  }
  return heavyStemcell(cloud, context, imagePath, properties);
}

async function lightStemcell(
  cloud: AwsCloud,
  context: CallContext,
  properties: JsonObject,
  amis: JsonObject,
): Promise<string> {
  const { region } = cloud.clients;
  const ids = Object.values(amis).map((id) => textOf(id) ?? '');
  const { Images = [] } = await cloud.clients.ec2.send(
    new DescribeImagesCommand({ Filters: [{ Name: 'image-id', Values: ids }], IncludeDeprecated: true }),
  );
  const id = Images[0]?.ImageId;
  if (id === undefined) throw new CloudError(`Stemcell does not contain an AMI in region ${region}`);
  const own = properties['encrypted'];
  const encrypted = typeof own === 'boolean' ? own : (cloud.properties.encrypted ?? false);
  if (!encrypted) return `${id}${lightSuffix}`;
  if (context.token !== undefined) {
    const existing = await imageOfToken(cloud, context.token, context.signal);
    if (existing !== undefined) return existing;
  }
  const key = textOf(properties['kms_key_arn']) ?? cloud.properties.kms_key_arn;
  const source = textOf(amis[region]) ?? id;
  const tags = tagsOf({ ...tokenTags(context.token) });
  const { ImageId: copy } = await cloud.clients.ec2.send(
    new CopyImageCommand({
      SourceRegion: region,
      SourceImageId: source,
      Name: context.token === undefined ? `Copied from SourceAMI ${source}` : imageName(context.token),
      Description: `Copied from SourceAMI ${source}`,
      Encrypted: true,
      ...(key === undefined ? {} : { KmsKeyId: key }),
      ...(context.token === undefined ? {} : { ClientToken: context.token.slice(0, 64) }),
      ...(tags.length === 0 ? {} : { TagSpecifications: [{ ResourceType: 'image', Tags: tags }] }),
    }),
  );
  if (copy === undefined) throw new CloudError('EC2 answered without an image id');
  await waitForImage(cloud, copy, context.signal);
  return copy;
}

const blockBytes = 512 * 1024;

/**
 * Writes root.img as an EBS snapshot with the EBS direct API, so that the CPI need not run on EC2, and registers it.
 * Blocks of zeros are not sent; eight blocks are on their way at once.
 */
async function heavyStemcell(
  cloud: AwsCloud,
  context: CallContext,
  imagePath: string,
  properties: JsonObject,
): Promise<string> {
  const { signal, token } = context;
  const root = await unpackRootImage(imagePath, signal);
  let snapshotId: string | undefined;
  try {
    const ebs = cloud.clients.ebs();
    const gib = Math.max(
      Math.ceil(root.sizeBytes / 2 ** 30),
      Math.ceil((typeof properties['disk'] === 'number' ? properties['disk'] : 0) / 1024),
    );
    const started = await ebs.send(
      new StartSnapshotCommand({ VolumeSize: gib, Timeout: 60, Tags: tagsOf({ ...tokenTags(token) }) }),
    );
    snapshotId = started.SnapshotId;
    if (snapshotId === undefined) throw new CloudError('EBS answered without a snapshot id');
    const count = await uploadBlocks(ebs, snapshotId, root.path, signal);
    await ebs.send(new CompleteSnapshotCommand({ SnapshotId: snapshotId, ChangedBlocksCount: count }));
    await waitForSnapshot(cloud, snapshotId, signal);
    return await registerImage(cloud, context, snapshotId, properties);
  } catch (error) {
    await deregisterHalf(cloud, token);
    if (snapshotId !== undefined) {
      // Best effort: the first error is the one to report.
      await cloud.clients.ec2
        .send(new DeleteSnapshotCommand({ SnapshotId: snapshotId }))
        .catch(() => undefined);
    }
    throw error;
  } finally {
    await root.remove();
  }
}

/** Best effort: an image that was registered without an answer holds the snapshot. */
async function deregisterHalf(cloud: AwsCloud, token: string | undefined): Promise<void> {
  if (token === undefined) return;
  const half = await ownImage(cloud, imageName(token), undefined).catch(() => undefined);
  if (half?.ImageId === undefined) return;
  await cloud.clients.ec2.send(new DeregisterImageCommand({ ImageId: half.ImageId })).catch(() => undefined);
}

async function uploadBlocks(
  ebs: EBSClient,
  snapshotId: string,
  path: string,
  signal: Signal,
): Promise<number> {
  const file = await open(path, 'r');
  const zeros = Buffer.alloc(blockBytes);
  let next = 0;
  let sent = 0;
  let ended = false;
  const worker = async (): Promise<void> => {
    const block = Buffer.alloc(blockBytes);
    while (!ended) {
      signal?.throwIfAborted();
      const index = next;
      next += 1;
      const { bytesRead } = await file.read(block, 0, blockBytes, index * blockBytes);
      if (bytesRead === 0) {
        ended = true;
        return;
      }
      block.fill(0, bytesRead);
      if (block.equals(zeros)) continue;
      await ebs.send(
        new PutSnapshotBlockCommand({
          SnapshotId: snapshotId,
          BlockIndex: index,
          BlockData: block,
          DataLength: blockBytes,
          Checksum: createHash('sha256').update(block).digest('base64'),
          ChecksumAlgorithm: 'SHA256',
        }),
        { ...(signal && { abortSignal: signal }) },
      );
      sent += 1;
    }
  };
  try {
    await Promise.all(Array.from({ length: 8 }, worker));
  } finally {
    ended = true;
    await file.close();
  }
  return sent;
}

async function registerImage(
  cloud: AwsCloud,
  context: CallContext,
  snapshotId: string,
  properties: JsonObject,
): Promise<string> {
  const name = textOf(properties['name']);
  const version = textOf(properties['version']);
  const description = name !== undefined && version !== undefined ? `${name} ${version}` : undefined;
  const { ImageId: id } = await cloud.clients.ec2.send(
    new RegisterImageCommand({
      Name: imageName(context.token),
      Architecture: (textOf(properties['architecture']) ?? 'x86_64') as ArchitectureValues,
      VirtualizationType: 'hvm',
      RootDeviceName: '/dev/xvda',
      SriovNetSupport: 'simple',
      EnaSupport: true,
      BootMode: (textOf(properties['boot_mode']) ?? 'legacy-bios') as BootModeValues,
      BlockDeviceMappings: [
        { DeviceName: '/dev/xvda', Ebs: { SnapshotId: snapshotId, DeleteOnTermination: true } },
        { DeviceName: '/dev/sdb', VirtualName: 'ephemeral0' },
      ],
      ...(description === undefined ? {} : { Description: description }),
    }),
  );
  if (id === undefined) throw new CloudError('EC2 answered without an image id');
  try {
    const tags = tagsOf(properties['tags'], {
      ...tokenTags(context.token),
      ...(description === undefined ? {} : { Name: description }),
    });
    if (tags.length > 0) await cloud.clients.ec2.send(new CreateTagsCommand({ Resources: [id], Tags: tags }));
    await waitForImage(cloud, id, context.signal);
  } catch (error) {
    await cloud.clients.ec2.send(new DeregisterImageCommand({ ImageId: id })).catch(() => undefined);
    throw error;
  }
  return id;
}

export async function deleteStemcell(
  cloud: AwsCloud,
  context: CallContext,
  stemcellCid: string,
): Promise<void> {
  if (stemcellCid.endsWith(lightSuffix)) return;
  const image = await describeImage(cloud, stemcellCid, context.signal);
  const snapshots =
    image === undefined ? await snapshotsLeftOf(cloud, stemcellCid) : await deregister(cloud, context, image);
  for (const SnapshotId of snapshots) {
    await unlessAbsent(cloud.clients.ec2.send(new DeleteSnapshotCommand({ SnapshotId })));
  }
}

/** What is gone needs no more. */
async function unlessAbsent(change: Promise<unknown>): Promise<void> {
  await change.catch((error: unknown) => {
    if (!isNotFound(error)) throw error;
  });
}

/** Its snapshots get a tag before: an image that is gone does not tell them any more. */
async function deregister(
  cloud: AwsCloud,
  { signal }: CallContext,
  { ImageId = '', BlockDeviceMappings = [] }: Image,
): Promise<readonly string[]> {
  const snapshots = BlockDeviceMappings.map(({ Ebs }) => Ebs?.SnapshotId ?? '').filter((id) => id !== '');
  const Tags = tagsOf({ [imageTag]: ImageId });
  const tag = new CreateTagsCommand({ Resources: snapshots, Tags });
  if (snapshots.length > 0) await unlessAbsent(cloud.clients.ec2.send(tag));
  await unlessAbsent(cloud.clients.ec2.send(new DeregisterImageCommand({ ImageId })));
  await waitFor(cloud, {
    id: ImageId,
    target: 'deregistered',
    state: async () => (await describeImage(cloud, ImageId, signal))?.State,
    absenceIsSuccess: true,
    signal,
  });
  return snapshots;
}

/** Those of a deletion that was cut short after it had removed the image. */
async function snapshotsLeftOf({ clients }: AwsCloud, imageId: string): Promise<readonly string[]> {
  const Filters = [{ Name: `tag:${imageTag}`, Values: [imageId] }];
  const command = new DescribeSnapshotsCommand({ OwnerIds: ['self'], Filters });
  const { Snapshots = [] } = await clients.ec2.send(command);
  return Snapshots.flatMap(({ SnapshotId }) => SnapshotId ?? []);
}
