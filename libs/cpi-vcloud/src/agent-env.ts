import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { CloudError, isoImage } from '@microbosh/cpi';
import type { XmlNode } from '@microbosh/cpi/xml';
import { isJsonObject } from '@microbosh/errors';
import type { Json, JsonObject } from '@microbosh/errors';
import type { VcloudCloud } from './cloud.ts';
import { catalogOf, datacenterOf, findCatalog, itemsOf } from './datacenter.ts';
import type { Datacenter, Reference } from './datacenter.ts';
import { insertOrEject, isoMedia, mediaItem, metadataValue } from './documents.ts';
import { actionOf, linkOf } from './links.ts';
import { VcdError } from './vcd-error.ts';
import type { VmDocument } from './vm-document.ts';

type Signal = AbortSignal | undefined;

/** Where an object's metadata is. */
export function metadataOf(node: XmlNode): string {
  const link = actionOf(node, 'down', 'vcloud.metadata');
  return link ?? `${node.attribute('href') ?? ''}/metadata`;
}

/** Names of the VM's media begin with this; those of the original are named like the VM. */
const mediaPrefix = (vm: VmDocument): string => `env-${vm.cid.slice(vm.cid.lastIndexOf(':') + 1)}-`;

const isOurs = (vm: VmDocument, name: string): boolean =>
  name === vm.name || name.startsWith(mediaPrefix(vm));

function mediaOf(datacenter: Datacenter, vm: VmDocument): readonly Reference[] {
  return datacenter.entities('vcloud.media').filter(({ name }) => isOurs(vm, name));
}

function mediaAction(vm: VmDocument, rel: 'media:insertMedia' | 'media:ejectMedia'): string {
  const href = actionOf(vm.node, rel);
  if (href !== undefined) return href;
  throw new CloudError(
    `VM '${vm.name}' allows no ${rel} now: its status is ${vm.node.attribute('status') ?? ''}`,
  );
}

const parametersType = 'vcloud.mediaInsertOrEjectParams';

/** Deletes media that are in no drive, and the catalog items that are meant. */
async function deleteMedia(
  cloud: VcloudCloud,
  media: readonly Reference[],
  isMeant: (itemName: string) => boolean,
  signal: Signal,
): Promise<void> {
  const { client, config } = cloud;
  for (const { href } of media) {
    await client.abandoned(href, signal);
    await client.remove(href, signal);
  }
  const catalog = await findCatalog(cloud, config.mediaCatalog, signal);
  for (const { name, href } of catalog === undefined ? [] : itemsOf(catalog)) {
    if (isMeant(name)) await client.remove(href, signal);
  }
}

async function ejected({ client }: VcloudCloud, vm: VmDocument, href: string, signal: Signal): Promise<void> {
  try {
    const url = mediaAction(vm, 'media:ejectMedia');
    await client.settle(await client.post(url, parametersType, insertOrEject(href), signal), signal);
  } catch (error) {
    // It is not in the drive.
    if (!(error instanceof VcdError && error.status === 400)) throw error;
  }
}

/** What the VM's settings were delivered on: it holds secrets and is no part of the VM. */
export async function removeSettings(cloud: VcloudCloud, vm: VmDocument, signal: Signal): Promise<void> {
  const media = mediaOf(await datacenterOf(cloud, signal), vm);
  for (const { href } of media) await ejected(cloud, vm, href, signal);
  await deleteMedia(cloud, media, (name) => isOurs(vm, name), signal);
}

/**
 * Puts the settings on the VM's CD-ROM and then into its metadata, from where they are read back: settings in the metadata
 * are on the CD-ROM, too. The old medium is kept until the new one is there.
 */
export async function saveSettings(
  cloud: VcloudCloud,
  vm: VmDocument,
  settings: JsonObject,
  signal: Signal,
): Promise<void> {
  const { client, config } = cloud;
  const text = JSON.stringify(settings);
  const datacenter = await datacenterOf(cloud, signal);
  const old = mediaOf(datacenter, vm);
  const { media, stale } = await createMedia(cloud, datacenter, vm, Buffer.from(text), signal);
  for (const { href } of old) await ejected(cloud, vm, href, signal);
  const url = mediaAction(vm, 'media:insertMedia');
  await client.settle(await client.post(url, parametersType, insertOrEject(media.href), signal), signal);
  if (old.length > 0 || stale) {
    const isOld = (name: string) => name !== media.name && isOurs(vm, name);
    await deleteMedia(cloud, old, isOld, signal);
  }
  const key = `${metadataOf(vm.node)}/${encodeURIComponent(config.metadataKey)}`;
  await client.settle(await client.put(key, 'vcloud.metadata.value', metadataValue(text), signal), signal);
}

async function createMedia(
  cloud: VcloudCloud,
  datacenter: Datacenter,
  vm: VmDocument,
  content: Buffer,
  signal: Signal,
): Promise<{ readonly media: Reference; readonly stale: boolean }> {
  const { client, config } = cloud;
  const name = `${mediaPrefix(vm)}${randomBytes(4).toString('hex')}`;
  const image = isoImage('ENV', content);
  const profile = datacenter.profile(config.mediaProfile);
  const catalog = await catalogOf(cloud, config.mediaCatalog, signal);
  const media = await client.post(
    datacenter.action('vcloud.media'),
    'vcloud.media',
    isoMedia(name, image.length, profile),
    signal,
  );
  const href = media?.attribute('href');
  const file = media?.at('Files')?.all('File')[0];
  const place = file && linkOf(file, ({ rel }) => rel === 'upload:default');
  if (href === undefined || place === undefined)
    throw new CloudError('vCloud names no place for the settings');
  const source = {
    open: () => Readable.from([image]),
    sizeBytes: image.length,
    type: 'application/octet-stream',
  };
  await client.upload(place.href, source, signal);
  const item = actionOf(catalog, 'add', 'vcloud.catalogItem');
  if (item !== undefined) {
    await client.settle(await client.post(item, 'vcloud.catalogItem', mediaItem(name, href), signal), signal);
  }
  await client.settled(href, signal);
  // Of a call that was cut short after it had deleted their media.
  const stale = itemsOf(catalog).some((each) => isOurs(vm, each.name));
  return { media: { name, href }, stale };
}

/** The settings that were saved last; undefined when there are none. */
export async function savedSettings(
  { client, config }: VcloudCloud,
  vm: VmDocument,
  signal: Signal,
): Promise<JsonObject | undefined> {
  const key = `${metadataOf(vm.node)}/${encodeURIComponent(config.metadataKey)}`;
  const text = (await client.find(key, signal))?.textAt('TypedValue', 'Value');
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isJsonObject(value) ? value : undefined;
  } catch {
    throw new CloudError(`The metadata '${config.metadataKey}' of VM '${vm.name}' is not JSON`);
  }
}

/** Saves the settings with a persistent disk, or without it. */
export async function savePersistentDisk(
  cloud: VcloudCloud,
  vm: VmDocument,
  disk: { readonly cid: string; readonly unit: string | undefined },
  signal: Signal,
): Promise<void> {
  const settings = await savedSettings(cloud, vm, signal);
  // A VM that something else has made gets no settings from here.
  if (settings === undefined) return;
  const disks = isJsonObject(settings['disks']) ? settings['disks'] : {};
  const present: Readonly<Record<string, Json>> = isJsonObject(disks['persistent'])
    ? disks['persistent']
    : {};
  if (present[disk.cid] === disk.unit) return;
  const others = Object.fromEntries(Object.entries(present).filter(([cid]) => cid !== disk.cid));
  const persistent = disk.unit === undefined ? others : { ...others, [disk.cid]: disk.unit };
  await saveSettings(cloud, vm, { ...settings, disks: { ...disks, persistent } }, signal);
}
