import { createReadStream } from 'node:fs';
import { CloudError } from '@microbosh/cpi';
import type { CallContext } from '@microbosh/cpi';
import type { Json, JsonObject } from '@microbosh/errors';
import { waitFor } from './cloud.ts';
import type { OpenstackCloud } from './cloud.ts';
import { unpackRootImage } from './root-image.ts';
import { imageSchema, imagesAnswer } from './schemas.ts';
import type { Image } from './schemas.ts';

const lightSuffix = ' light';

/** Properties of the stemcell that become properties of the image under the same name. */
const copied = [
  'version',
  'os_type',
  'os_distro',
  'architecture',
  'auto_disk_config',
  'hw_vif_model',
  'hw_disk_bus_model',
  'hw_scsi_model',
  'hw_disk_bus',
  'hw_vif_multiqueue_enabled',
  'vmware_adaptertype',
  'vmware_disktype',
  'vmware_linked_clone',
  'vmware_ostype',
];

export function imageIdOf(stemcellCid: string): string {
  return stemcellCid.endsWith(lightSuffix) ? stemcellCid.slice(0, -lightSuffix.length) : stemcellCid;
}

function plain(value: Json | undefined): string | undefined {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? String(value)
    : undefined;
}

function imageBody(
  cloud: OpenstackCloud,
  properties: JsonObject,
  token: string | undefined,
): Record<string, Json> {
  const body: Record<string, Json> = {
    name: `${plain(properties['name']) ?? 'stemcell'}/${plain(properties['version']) ?? '0'}`,
    disk_format: plain(properties['disk_format']) ?? 'qcow2',
    container_format: plain(properties['container_format']) ?? 'bare',
    visibility: cloud.config.properties.stemcell_public_visibility ? 'public' : 'private',
  };
  for (const key of copied) {
    const value = plain(properties[key]);
    if (value !== undefined) body[key] = value;
  }
  const hypervisor = plain(properties['hypervisor']);
  if (hypervisor !== undefined) body['hypervisor_type'] = hypervisor;
  if (token !== undefined) body['microbosh_token'] = token;
  return body;
}

function loadImage(
  cloud: OpenstackCloud,
  id: string,
  signal: AbortSignal | undefined,
): Promise<Image | undefined> {
  return cloud.client.find('image', `/images/${id}`, imageSchema, signal);
}

async function waitForImage(
  cloud: OpenstackCloud,
  id: string,
  targets: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  await waitFor(cloud, {
    kind: 'Image',
    id,
    targets,
    load: () => loadImage(cloud, id, signal),
    stateOf: (image) => image.status,
    signal,
  });
}

/** An image that an earlier try with this token has made: finished ones are used, halves are removed. */
async function imageOfToken(
  cloud: OpenstackCloud,
  token: string,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const { images } = await cloud.client.call('image', 'GET', '/images', imagesAnswer, {
    query: { microbosh_token: token },
    signal,
  });
  let finished: string | undefined;
  for (const image of images) {
    if (image.status === 'active' && finished === undefined) finished = image.id;
    else await cloud.client.delete('image', `/images/${image.id}`, signal);
  }
  return finished;
}

export async function createStemcell(
  cloud: OpenstackCloud,
  context: CallContext,
  imagePath: string,
  cloudProperties: JsonObject | null,
): Promise<string> {
  const properties = cloudProperties ?? {};
  const { signal, token } = context;
  const lightId = plain(properties['image_id']);
  if (lightId !== undefined) {
    const image = await loadImage(cloud, lightId, signal);
    if (image?.status !== 'active') throw new CloudError(`No active image with id '${lightId}' found`);
    return `${lightId}${lightSuffix}`;
  }
  if (token !== undefined) {
    const existing = await imageOfToken(cloud, token, signal);
    if (existing !== undefined) return existing;
  }
  const root = await unpackRootImage(imagePath, signal);
  try {
    const { id } = await cloud.client.call('image', 'POST', '/images', imageSchema, {
      body: imageBody(cloud, properties, token),
      signal,
    });
    try {
      await waitForImage(cloud, id, ['queued'], signal);
      const content = createReadStream(root.path);
      await cloud.client.send('image', 'PUT', `/images/${id}/file`, {
        stream: { content, sizeBytes: root.sizeBytes },
        signal,
      });
      await waitForImage(cloud, id, ['active'], signal);
      return id;
    } catch (error) {
      await cloud.client.delete('image', `/images/${id}`, undefined).catch(() => undefined);
      throw error;
    }
  } finally {
    await root.remove();
  }
}

export async function deleteStemcell(
  cloud: OpenstackCloud,
  context: CallContext,
  stemcellCid: string,
): Promise<void> {
  if (stemcellCid.endsWith(lightSuffix)) return;
  await cloud.client.delete('image', `/images/${stemcellCid}`, context.signal);
}

/** The image of a stemcell, for a new server. */
export async function requireImage(
  cloud: OpenstackCloud,
  stemcellCid: string,
  signal: AbortSignal | undefined,
): Promise<Image> {
  const id = imageIdOf(stemcellCid);
  const image = await loadImage(cloud, id, signal);
  if (image === undefined) throw new CloudError(`Image \`${id}' not found`);
  return image;
}
