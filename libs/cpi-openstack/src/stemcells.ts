import { createReadStream } from 'node:fs';
import { CloudError, unpackRootImage, uuidFor } from '@microbosh/cpi';
import type { CallContext } from '@microbosh/cpi';
import type { Json, JsonObject } from '@microbosh/errors';
import { waitFor } from './cloud.ts';
import { makeOnce } from './make-once.ts';
import { OpenstackSilent } from './openstack-client.ts';
import type { OpenstackCloud } from './cloud.ts';
import { imageSchema, imagesAnswer } from './schemas.ts';
import type { Image } from './schemas.ts';

const lightSuffix = ' light';
/** Image property: what the call that made it is known by. */
const markKey = 'microbosh_token';

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

function imageBody(cloud: OpenstackCloud, properties: JsonObject, mark: string): Record<string, Json> {
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
  body[markKey] = mark;
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

async function imagesOf(
  cloud: OpenstackCloud,
  mark: string,
  signal: AbortSignal | undefined,
): Promise<readonly Image[]> {
  const { images } = await cloud.client.call('image', 'GET', '/images', imagesAnswer, {
    query: { [markKey]: mark },
    signal,
  });
  return images;
}

/** An image that an earlier try with this token has made: finished ones are used, halves are removed. */
export async function imageOfToken(
  cloud: OpenstackCloud,
  token: string,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const images = await imagesOf(cloud, token, signal);
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
  const mark = token ?? uuidFor(undefined);
  const root = await unpackRootImage(imagePath, signal);
  try {
    const { id } = await makeOnce({
      make: () =>
        cloud.client.call('image', 'POST', '/images', imageSchema, {
          body: imageBody(cloud, properties, mark),
          once: true,
          signal,
        }),
      find: async () => (await imagesOf(cloud, mark, undefined))[0],
      pauseMs: cloud.client.pauseMs,
      signal,
    });
    await waitForImage(cloud, id, ['queued'], signal);
    await upload(cloud, id, root, signal);
    await waitForImage(cloud, id, ['active'], signal);
    return id;
  } catch (error) {
    const made = await imagesOf(cloud, mark, undefined).catch(() => []);
    for (const { id } of made) {
      await cloud.client.delete('image', `/images/${id}`, undefined).catch(() => undefined);
    }
    throw error;
  } finally {
    await root.remove();
  }
}

async function upload(
  cloud: OpenstackCloud,
  id: string,
  root: { readonly path: string; readonly sizeBytes: number },
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    await cloud.client.send('image', 'PUT', `/images/${id}/file`, {
      stream: { open: () => createReadStream(root.path), sizeBytes: root.sizeBytes },
      signal,
    });
  } catch (error) {
    // The answer may be lost after the last byte.
    const image = error instanceof OpenstackSilent ? await loadImage(cloud, id, signal) : undefined;
    if (image?.status !== 'active') throw error;
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
