import { createReadStream } from 'node:fs';
import { CloudError, InvalidCall, unpackImage, uuidFor } from '@microbosh/cpi';
import type { CallContext, UnpackedFile } from '@microbosh/cpi';
import type { XmlNode } from '@microbosh/cpi/xml';
import type { JsonObject } from '@microbosh/errors';
import type { VcloudCloud } from './cloud.ts';
import { catalogOf, findCatalog, itemsOf } from './datacenter.ts';
import { uploadTemplate } from './documents.ts';
import { actionOf, linkOf } from './links.ts';

type Signal = AbortSignal | undefined;

/** Of a template that can be instantiated. */
const ready = '8';
const failed = '-1';

async function itemNamed(cloud: VcloudCloud, name: string, signal: Signal): Promise<XmlNode | undefined> {
  const catalog = await findCatalog(cloud, cloud.config.templateCatalog, signal);
  const found = catalog && itemsOf(catalog).find((item) => item.name === name);
  return found === undefined ? undefined : cloud.client.find(found.href, signal);
}

async function templateOf(
  { client }: VcloudCloud,
  item: XmlNode,
  signal: Signal,
): Promise<XmlNode | undefined> {
  const href = item.at('Entity')?.attribute('href');
  return href === undefined ? undefined : client.find(href, signal);
}

/** The stemcell's template, and the VM inside. */
export async function stemcellOf(
  cloud: VcloudCloud,
  cid: string,
  signal: Signal,
): Promise<{ readonly templateHref: string; readonly vmHref: string }> {
  const item = await cloud.client.resolve(cid, 'vcloud.catalogItem', signal);
  const template = item && (await templateOf(cloud, item, signal));
  if (template === undefined) throw new CloudError(`Could not find the template of stemcell '${cid}'`);
  const vmHref = template.at('Children', 'Vm')?.attribute('href');
  if (template.attribute('status') !== ready || vmHref === undefined) {
    throw new CloudError(
      `The template of stemcell '${cid}' is not ready: ${template.attribute('status') ?? ''}`,
    );
  }
  return { templateHref: template.attribute('href') ?? '', vmHref };
}

/** The template first: it takes its item along. A transfer that is under way is given up before. */
async function removeItem(cloud: VcloudCloud, item: XmlNode, signal: Signal): Promise<void> {
  const { client } = cloud;
  const href = item.at('Entity')?.attribute('href');
  if (href !== undefined && (await client.abandoned(href, signal)) !== undefined) {
    await client.remove(href, signal);
  }
  await client.remove(item.attribute('href') ?? '', signal);
}

/** A stemcell that a create_stemcell with this token has made; its half is removed. */
export async function stemcellOfToken(
  cloud: VcloudCloud,
  token: string,
  signal: Signal,
): Promise<string | undefined> {
  const item = await itemNamed(cloud, `sc-${uuidFor(token)}`, signal);
  if (item === undefined) return undefined;
  const template = await templateOf(cloud, item, signal);
  if (template?.attribute('status') === ready) return item.attribute('id');
  await removeItem(cloud, item, signal);
  return undefined;
}

export async function createStemcell(
  cloud: VcloudCloud,
  context: CallContext,
  imagePath: string,
  _properties: JsonObject | null,
): Promise<string> {
  const { signal, token } = context;
  const earlier = token === undefined ? undefined : await stemcellOfToken(cloud, token, signal);
  if (earlier !== undefined) return earlier;
  const image = await unpackImage(imagePath, (name) => /\.(ovf|vmdk)$/.test(name), signal);
  try {
    const descriptors = image.files.filter(({ name }) => name.endsWith('.ovf'));
    if (descriptors.length !== 1) {
      throw new CloudError(`Invalid stemcell image: having ${descriptors.length} .ovf files`);
    }
    return await uploadedStemcell(cloud, `sc-${uuidFor(token)}`, image.files, signal);
  } finally {
    await image.remove();
  }
}

async function uploadedStemcell(
  cloud: VcloudCloud,
  name: string,
  files: readonly UnpackedFile[],
  signal: Signal,
): Promise<string> {
  const { client, config } = cloud;
  const catalog = await catalogOf(cloud, config.templateCatalog, signal);
  const type = 'vcloud.uploadVAppTemplateParams';
  const add = actionOf(catalog, 'add', type);
  if (add === undefined) throw new CloudError(`Catalog '${config.templateCatalog}' takes no templates`);
  try {
    const item = await client.post(add, type, uploadTemplate(name), signal);
    const cid = item?.attribute('id');
    const href = item?.at('Entity')?.attribute('href');
    if (cid === undefined || href === undefined)
      throw new CloudError('vCloud answered without a catalog item');
    await sendFiles(cloud, href, files, signal);
    return cid;
  } catch (error) {
    // Best effort, by name: what was made without an answer is not known by its URN.
    try {
      const half = await itemNamed(cloud, name, undefined);
      if (half !== undefined) await removeItem(cloud, half, undefined);
    } catch {
      // The first error is the one to report.
    }
    signal?.throwIfAborted();
    throw error;
  }
}

/** More than the files of any stemcell, with the descriptor that goes first. */
const maxRounds = 60;

/** What the server asks for: the descriptor, and when it has read that, the disks that it names. */
async function sendFiles(
  { client, config }: VcloudCloud,
  href: string,
  files: readonly UnpackedFile[],
  signal: Signal,
): Promise<void> {
  let pauseMs = Math.min(100, config.waitDelayMs);
  for (let round = 0; round < maxRounds; round += 1) {
    const template = await client.get(href, signal);
    const listed = template.at('Files')?.all('File') ?? [];
    if (listed.length === 0) {
      const done = await client.settle(template, signal);
      const status = done?.attribute('status');
      if (status === ready) return;
      if (status === undefined || status === failed)
        throw new CloudError('vCloud could not make the template');
      // The descriptor is being read, or the template is being imported.
    }
    const open = listed.filter((file) => {
      const size = Number(file.attribute('size') ?? -1);
      return size < 0 || Number(file.attribute('bytesTransferred') ?? 0) < size;
    });
    for (const file of open) await sendFile(client, file, files, signal);
    if (open.length > 0) continue;
    await client.pause(pauseMs, signal);
    pauseMs = Math.min(pauseMs * 2, config.waitDelayMs);
  }
  throw new CloudError('vCloud does not finish the template of the stemcell');
}

async function sendFile(
  client: VcloudCloud['client'],
  wanted: XmlNode,
  files: readonly UnpackedFile[],
  signal: Signal,
): Promise<void> {
  const name = wanted.attribute('name') ?? '';
  const isDescriptor = name.endsWith('.ovf');
  // The descriptor has a name of the server's own.
  const file = files.find((each) => (isDescriptor ? each.name.endsWith('.ovf') : each.name === name));
  if (file === undefined) throw new CloudError(`The stemcell image has no file '${name}'`);
  const link = linkOf(wanted, ({ rel }) => rel === 'upload:default');
  if (link === undefined) throw new CloudError(`vCloud names no place for '${name}'`);
  const type = isDescriptor ? 'text/xml' : 'application/octet-stream';
  const source = { open: () => createReadStream(file.path), sizeBytes: file.sizeBytes, type };
  await client.upload(link.href, source, signal);
}

export async function deleteStemcell(cloud: VcloudCloud, context: CallContext, cid: string): Promise<void> {
  if (cid.trim() === '') throw new InvalidCall('The stemcell id is empty');
  const item = await cloud.client.resolve(cid, 'vcloud.catalogItem', context.signal);
  if (item !== undefined) await removeItem(cloud, item, context.signal);
}
