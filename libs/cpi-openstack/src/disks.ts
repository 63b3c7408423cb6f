import { setTimeout as sleep } from 'node:timers/promises';
import { CloudError, DiskNotFound, InvalidCall, NotSupported, VmNotFound, uuidFor } from '@microbosh/cpi';
import type { CallContext } from '@microbosh/cpi';
import type { Json, JsonObject } from '@microbosh/errors';
import { waitFor } from './cloud.ts';
import { makeOnce } from './make-once.ts';
import type { OpenstackCloud } from './cloud.ts';
import { nextDeviceName } from './device-names.ts';
import { gibibytes, metadataOf } from './names.ts';
import { OpenstackAnswer } from './openstack-client.ts';
import {
  attachmentsAnswer,
  flavorAnswer,
  serverAnswer,
  snapshotAnswer,
  snapshotsAnswer,
  volumeAnswer,
  volumesAnswer,
} from './schemas.ts';
import type { Server, Volume } from './schemas.ts';

type Signal = AbortSignal | undefined;

async function loadVolume(cloud: OpenstackCloud, id: string, signal: Signal): Promise<Volume | undefined> {
  return (await cloud.client.find('volume', `/volumes/${id}`, volumeAnswer, signal))?.volume;
}

async function loadServer(cloud: OpenstackCloud, id: string, signal: Signal): Promise<Server | undefined> {
  return (await cloud.client.find('compute', `/servers/${id}`, serverAnswer, signal))?.server;
}

async function waitForVolume(
  cloud: OpenstackCloud,
  id: string,
  targets: readonly string[],
  signal: Signal,
  absenceIsSuccess = false,
): Promise<Volume | undefined> {
  return waitFor(cloud, {
    kind: 'Volume',
    id,
    targets,
    load: () => loadVolume(cloud, id, signal),
    stateOf: (volume) => volume.status,
    absenceIsSuccess,
    signal,
  });
}

async function volumeByName(
  cloud: OpenstackCloud,
  name: string,
  signal: Signal,
): Promise<Volume | undefined> {
  const { volumes } = await cloud.client.call('volume', 'GET', '/volumes/detail', volumesAnswer, {
    query: { name },
    signal,
  });
  return volumes.find((volume) => volume.name === name && volume.status !== 'deleting');
}

/** What a create_disk with this token has made and can be used. */
export async function volumeOfToken(
  cloud: OpenstackCloud,
  token: string,
  signal: Signal,
): Promise<string | undefined> {
  const existing = await volumeByName(cloud, `volume-${uuidFor(token)}`, signal);
  if (existing?.status !== 'error') return existing?.id;
  await cloud.client.delete('volume', `/volumes/${existing.id}`, signal);
  return undefined;
}

/** Best effort: the first error is the one to report. */
async function deleteUnfinished(cloud: OpenstackCloud, name: string): Promise<void> {
  try {
    const made = await volumeByName(cloud, name, undefined);
    if (made === undefined) return;
    // Cinder deletes none that is still being made.
    await waitForVolume(cloud, made.id, ['available', 'error'], undefined).catch(() => undefined);
    await cloud.client.delete('volume', `/volumes/${made.id}`, undefined);
    await waitForVolume(cloud, made.id, ['deleted'], undefined, true);
  } catch {
    // Its token names it to the next call.
  }
}

export async function createDisk(
  cloud: OpenstackCloud,
  context: CallContext,
  sizeMiB: number,
  cloudProperties: JsonObject,
  vmCid: string | null,
): Promise<string> {
  const { signal } = context;
  if (!Number.isInteger(sizeMiB)) throw new InvalidCall(`Disk size needs to be an integer, got ${sizeMiB}`);
  if (sizeMiB < 1024) throw new CloudError('Minimum disk size is 1 GiB');
  const name = `volume-${uuidFor(context.token)}`;
  if (context.token !== undefined) {
    const existing = await volumeOfToken(cloud, context.token, signal);
    if (existing !== undefined) {
      await waitForVolume(cloud, existing, ['available', 'in-use'], signal);
      return existing;
    }
  }
  const type = cloudProperties['type'] ?? cloud.config.properties.default_volume_type;
  let zone: string | null | undefined;
  if (vmCid !== null && vmCid !== '' && !cloud.config.properties.ignore_server_availability_zone) {
    zone = (await loadServer(cloud, vmCid, signal))?.['OS-EXT-AZ:availability_zone'];
  }
  const body = {
    volume: {
      name,
      description: '',
      size: gibibytes(sizeMiB),
      ...(type === undefined || type === null ? {} : { volume_type: type }),
      ...(zone === undefined || zone === null || zone === '' ? {} : { availability_zone: zone }),
    },
  };
  try {
    const volume = await makeOnce({
      make: async () =>
        (await cloud.client.call('volume', 'POST', '/volumes', volumeAnswer, { body, once: true, signal }))
          .volume,
      find: () => volumeByName(cloud, name, undefined),
      pauseMs: cloud.client.pauseMs,
      signal,
    });
    await waitForVolume(cloud, volume.id, ['available'], signal);
    return volume.id;
  } catch (error) {
    await deleteUnfinished(cloud, name);
    throw error;
  }
}

export async function deleteDisk(
  cloud: OpenstackCloud,
  context: CallContext,
  diskCid: string,
): Promise<void> {
  const { signal } = context;
  const volume = await loadVolume(cloud, diskCid, signal);
  if (volume === undefined) return;
  // A request whose answer was lost, or a server that is just going.
  if (passing.has(volume.status)) await waitForVolume(cloud, diskCid, ['available'], signal);
  else if (!['deleting', 'available', 'error'].includes(volume.status)) {
    throw new CloudError(`Cannot delete volume \`${diskCid}', state is ${volume.status}`);
  }
  if (volume.status !== 'deleting') await deleteFree(cloud, diskCid, signal);
  await waitForVolume(cloud, diskCid, ['deleted'], signal, true);
}

/** The state of the object does not allow it. */
function isRefusal(error: unknown): boolean {
  return error instanceof OpenstackAnswer && (error.status === 400 || error.status === 409);
}

/** States that end by themselves, with the volume free. */
const passing: ReadonlySet<string> = new Set(['creating', 'downloading', 'extending', 'detaching']);
const releaseAttempts = 10;

/** Cinder calls a volume available a moment before it has forgotten the attachment, and refuses to delete it until then. */
async function deleteFree(cloud: OpenstackCloud, diskCid: string, signal: Signal): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await cloud.client.delete('volume', `/volumes/${diskCid}`, signal);
      return;
    } catch (error) {
      if (!isRefusal(error)) throw error;
      const state = (await loadVolume(cloud, diskCid, signal))?.status;
      // A request whose answer was lost has been repeated, and Cinder is at it already.
      if (state === undefined || state === 'deleting') return;
      if (state !== 'available' || attempt >= releaseAttempts) throw error;
    }
    await sleep(Math.min(1000, cloud.config.pollIntervalMs), undefined, signal ? { signal } : {});
  }
}

export async function hasDisk(
  cloud: OpenstackCloud,
  context: CallContext,
  diskCid: string,
): Promise<boolean> {
  return (await loadVolume(cloud, diskCid, context.signal)) !== undefined;
}

async function attachments(
  cloud: OpenstackCloud,
  vmCid: string,
  signal: Signal,
): Promise<{ volumeId: string; device?: string | null }[]> {
  const path = `/servers/${vmCid}/os-volume_attachments`;
  return (await cloud.client.call('compute', 'GET', path, attachmentsAnswer, { signal })).volumeAttachments;
}

/** The device that the hypervisor has really given, which need not be the one that was asked for. */
function deviceOn(volume: Volume | undefined, vmCid: string): string | undefined {
  return volume?.attachments?.find((attachment) => attachment.server_id === vmCid)?.device ?? undefined;
}

export async function attachDisk(
  cloud: OpenstackCloud,
  context: CallContext,
  vmCid: string,
  diskCid: string,
): Promise<Json> {
  const { signal } = context;
  const server = await loadServer(cloud, vmCid, signal);
  if (server === undefined) throw new VmNotFound(vmCid);
  const volume = await loadVolume(cloud, diskCid, signal);
  if (volume === undefined) throw new DiskNotFound(diskCid);
  const current = await attachments(cloud, vmCid, signal);
  const mine = current.find((attachment) => attachment.volumeId === diskCid);
  let device = mine?.device ?? deviceOn(volume, vmCid);
  if (mine === undefined) {
    const holder = volume.attachments?.find((attachment) => attachment.server_id !== vmCid);
    if (holder !== undefined) {
      throw new CloudError(`Volume \`${diskCid}' is attached to another server, '${holder.server_id}'`);
    }
    const wanted = nextDeviceName(
      current.map((attachment) => attachment.device ?? ''),
      await occupiedBy(cloud, server, signal),
    );
    await cloud.client.send('compute', 'POST', `/servers/${vmCid}/os-volume_attachments`, {
      body: { volumeAttachment: { volumeId: diskCid, device: wanted } },
      signal,
    });
    const attached = await waitForVolume(cloud, diskCid, ['in-use'], signal);
    device = deviceOn(attached, vmCid) ?? wanted;
  } else if (volume.status !== 'in-use') {
    // An earlier call's request, whose answer was lost.
    device = deviceOn(await waitForVolume(cloud, diskCid, ['in-use'], signal), vmCid) ?? device;
  }
  const path = device ?? '';
  if (cloud.registry !== undefined) {
    await cloud.registry.client.editSettings(
      registryKeyOf(server),
      (settings) => withPersistentDisk(settings, diskCid, { path, volume_id: path, id: diskCid }),
      signal,
    );
  }
  return { path, volume_id: path, id: diskCid };
}

export function registryKeyOf(server: Server): string {
  return server.metadata?.['registry_key'] ?? server.name ?? server.id;
}

function withPersistentDisk(settings: JsonObject, diskCid: string, hint: Json | undefined): JsonObject {
  const disks = (settings['disks'] ?? {}) as JsonObject;
  const persistent = Object.fromEntries(
    Object.entries((disks['persistent'] ?? {}) as JsonObject).filter(([cid]) => cid !== diskCid),
  );
  return {
    ...settings,
    disks: { ...disks, persistent: hint === undefined ? persistent : { ...persistent, [diskCid]: hint } },
  };
}

async function occupiedBy(
  cloud: OpenstackCloud,
  server: Server,
  signal: Signal,
): Promise<{ ephemeral: boolean; swap: boolean; configDriveDisk: boolean }> {
  const id = server.flavor?.id;
  const flavor =
    id === undefined
      ? undefined
      : (await cloud.client.find('compute', `/flavors/${id}`, flavorAnswer, signal))?.flavor;
  return {
    ephemeral: (flavor?.['OS-FLV-EXT-DATA:ephemeral'] ?? 0) > 0,
    swap: Number(flavor?.swap ?? 0) > 0,
    configDriveDisk: cloud.config.properties.config_drive === 'disk',
  };
}

export async function detachDisk(
  cloud: OpenstackCloud,
  context: CallContext,
  vmCid: string,
  diskCid: string,
): Promise<void> {
  const { signal } = context;
  const server = await loadServer(cloud, vmCid, signal);
  if (server === undefined) throw new VmNotFound(vmCid);
  const volume = await loadVolume(cloud, diskCid, signal);
  const attached = (await attachments(cloud, vmCid, signal)).some(({ volumeId }) => volumeId === diskCid);
  if (volume !== undefined && attached) {
    if (volume.status !== 'detaching') await requestDetachment(cloud, vmCid, diskCid, signal);
    await waitForVolume(cloud, diskCid, ['available'], signal);
  }
  if (cloud.registry !== undefined) {
    await cloud.registry.client.editSettings(
      registryKeyOf(server),
      (settings) => withPersistentDisk(settings, diskCid, undefined),
      signal,
    );
  }
}

async function requestDetachment(
  cloud: OpenstackCloud,
  vmCid: string,
  diskCid: string,
  signal: Signal,
): Promise<void> {
  try {
    await cloud.client.delete('compute', `/servers/${vmCid}/os-volume_attachments/${diskCid}`, signal);
  } catch (error) {
    // A request whose answer was lost has been repeated, and Nova refuses what it is doing already.
    if (!isRefusal(error)) throw error;
    const state = (await loadVolume(cloud, diskCid, signal))?.status;
    if (state !== 'detaching' && state !== 'available') throw error;
  }
}

export async function getDisks(
  cloud: OpenstackCloud,
  context: CallContext,
  vmCid: string,
): Promise<string[]> {
  const { signal } = context;
  if ((await loadServer(cloud, vmCid, signal)) === undefined) throw new VmNotFound(vmCid);
  return (await attachments(cloud, vmCid, signal)).map((attachment) => attachment.volumeId);
}

export async function resizeDisk(
  cloud: OpenstackCloud,
  context: CallContext,
  diskCid: string,
  newSizeMiB: number,
): Promise<void> {
  const { signal } = context;
  const volume = await loadVolume(cloud, diskCid, signal);
  if (volume === undefined) throw new DiskNotFound(diskCid);
  const size = gibibytes(newSizeMiB);
  if (volume.size === size) return;
  if (size < volume.size)
    throw new NotSupported(`Cannot resize volume to a smaller size from ${volume.size}GiB to ${size}GiB`);
  if ((volume.attachments?.length ?? 0) > 0) {
    throw new CloudError(`Cannot resize volume \`${diskCid}' due to attachments`);
  }
  await cloud.client.send('volume', 'POST', `/volumes/${diskCid}/action`, {
    body: { 'os-extend': { new_size: size } },
    signal,
  });
  await waitForVolume(cloud, diskCid, ['available'], signal);
}

export async function setDiskMetadata(
  cloud: OpenstackCloud,
  context: CallContext,
  diskCid: string,
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  if (!(await hasDisk(cloud, context, diskCid))) throw new DiskNotFound(diskCid);
  await cloud.client.send('volume', 'POST', `/volumes/${diskCid}/metadata`, {
    body: { metadata: metadataOf(metadata) },
    signal: context.signal,
  });
}

export async function snapshotDisk(
  cloud: OpenstackCloud,
  context: CallContext,
  diskCid: string,
  metadata: Readonly<Record<string, string>>,
): Promise<string> {
  const { signal } = context;
  const volume = await loadVolume(cloud, diskCid, signal);
  if (volume === undefined) throw new DiskNotFound(diskCid);
  const device = volume.attachments?.[0]?.device;
  const parts = [metadata['deployment'], metadata['job'], metadata['index'], device?.split('/').at(-1)];
  const name = `snapshot-${uuidFor(context.token)}`;
  const body = {
    snapshot: {
      volume_id: diskCid,
      name,
      description: parts.filter((part) => part !== undefined && part !== '').join('/'),
      force: true,
    },
  };
  const earlier = context.token === undefined ? undefined : await snapshotByName(cloud, name, signal);
  const snapshot =
    earlier ??
    (await makeOnce({
      make: async () =>
        (
          await cloud.client.call('volume', 'POST', '/snapshots', snapshotAnswer, {
            body,
            once: true,
            signal,
          })
        ).snapshot,
      find: () => snapshotByName(cloud, name, undefined),
      pauseMs: cloud.client.pauseMs,
      signal,
    }));
  try {
    await waitForSnapshot(cloud, snapshot.id, ['available'], signal);
    const { director_name: director, index, job, ...rest } = metadata;
    await cloud.client.send('volume', 'POST', `/snapshots/${snapshot.id}/metadata`, {
      body: {
        metadata: metadataOf({
          ...rest,
          director,
          instance_index: index,
          instance_name: job === undefined ? undefined : `${job}/${metadata['instance_id'] ?? ''}`,
        }),
      },
      signal,
    });
  } catch (error) {
    await cloud.client.delete('volume', `/snapshots/${snapshot.id}`, undefined).catch(() => undefined);
    await waitForSnapshot(cloud, snapshot.id, ['deleted'], undefined, true).catch(() => undefined);
    throw error;
  }
  return snapshot.id;
}

async function snapshotByName(cloud: OpenstackCloud, name: string, signal: Signal) {
  const { snapshots } = await cloud.client.call('volume', 'GET', '/snapshots/detail', snapshotsAnswer, {
    query: { name },
    signal,
  });
  return snapshots.find((snapshot) => snapshot.name === name && snapshot.status !== 'deleting');
}

async function waitForSnapshot(
  cloud: OpenstackCloud,
  id: string,
  targets: readonly string[],
  signal: Signal,
  absenceIsSuccess = false,
): Promise<void> {
  await waitFor(cloud, {
    kind: 'Snapshot',
    id,
    targets,
    load: async () =>
      (await cloud.client.find('volume', `/snapshots/${id}`, snapshotAnswer, signal))?.snapshot,
    stateOf: (snapshot) => snapshot.status,
    absenceIsSuccess,
    signal,
  });
}

export async function deleteSnapshot(
  cloud: OpenstackCloud,
  context: CallContext,
  snapshotCid: string,
): Promise<void> {
  const { signal } = context;
  const found = await cloud.client.find('volume', `/snapshots/${snapshotCid}`, snapshotAnswer, signal);
  if (found === undefined) return;
  if (found.snapshot.status !== 'deleting') {
    if (found.snapshot.status !== 'available') {
      throw new CloudError(`Cannot delete snapshot \`${snapshotCid}', state is ${found.snapshot.status}`);
    }
    await cloud.client.delete('volume', `/snapshots/${snapshotCid}`, signal);
  }
  await waitForSnapshot(cloud, snapshotCid, ['deleted'], signal, true);
}
