import { CloudError } from '@microbosh/cpi';
import type { XmlNode } from '@microbosh/cpi/xml';
import type { VcloudCloud } from './cloud.ts';
import { adminCatalog } from './documents.ts';
import type { BridgedNetwork } from './documents.ts';
import { actionOf, linkOf, linksOf, mediaType } from './links.ts';
import { VcdError } from './vcd-error.ts';

type Signal = AbortSignal | undefined;

export interface Reference {
  readonly name: string;
  readonly href: string;
}

const referenceOf = (node: XmlNode): Reference => ({
  name: node.attribute('name') ?? '',
  href: node.attribute('href') ?? '',
});

/** The organisation's virtual datacenter as it is now: what is in it, and what can be asked of it. */
export class Datacenter {
  readonly #node: XmlNode;

  constructor(node: XmlNode) {
    this.#node = node;
  }

  /** vApps, disks, media by their names. */
  entities(type: 'vcloud.vApp' | 'vcloud.disk' | 'vcloud.media'): readonly Reference[] {
    return (this.#node.at('ResourceEntities')?.all('ResourceEntity') ?? [])
      .filter((entity) => entity.attribute('type') === mediaType(type))
      .map(referenceOf);
  }

  action(type: string): string {
    const href = actionOf(this.#node, 'add', type);
    if (href !== undefined) return href;
    throw new CloudError(`Virtual datacenter '${this.#node.attribute('name') ?? ''}' has no link '${type}'`, {
      advice: 'The user lacks the right, or the datacenter is disabled.',
    });
  }

  networkNames(): readonly Reference[] {
    return (this.#node.at('AvailableNetworks')?.all('Network') ?? []).map(referenceOf);
  }

  /** Undefined for no name and for one that is not there: the datacenter's default is used. */
  profile(name: string | undefined): Reference | undefined {
    const profiles = this.#node.at('VdcStorageProfiles')?.all('VdcStorageProfile') ?? [];
    return profiles.map(referenceOf).find((profile) => profile.name === name);
  }
}

export async function datacenterOf({ client, config }: VcloudCloud, signal: Signal): Promise<Datacenter> {
  const organization = await client.organization(signal);
  const isMeant = (type: string | undefined) => type === mediaType('vcloud.vdc');
  const link = linkOf(organization, ({ type, name }) => isMeant(type) && name === config.datacenter);
  if (link !== undefined) return new Datacenter(await client.get(link.href, signal));
  const names = linksOf(organization).flatMap(({ type, name }) => (isMeant(type) ? [name] : []));
  throw new CloudError(`Virtual datacenter '${config.datacenter}' not found in '${config.organization}'`, {
    advice: `There are: ${names.join(', ') || 'none'}.`,
  });
}

/** A network of the organisation, with its addresses. */
export async function networkOf(
  { client, config }: VcloudCloud,
  datacenter: Datacenter,
  name: string,
  signal: Signal,
): Promise<BridgedNetwork> {
  const networks = datacenter.networkNames();
  const found = networks.find((network) => network.name === name);
  if (found === undefined) {
    throw new CloudError(`Network ${name} not accessible to VDC ${config.datacenter}`, {
      advice: `There are: ${networks.map((network) => network.name).join(', ') || 'none'}.`,
    });
  }
  const network = await client.get(found.href, signal);
  return { ...found, scope: network.at('Configuration', 'IpScopes', 'IpScope') };
}

/** A catalog; undefined when it is not there. */
export async function findCatalog(
  { client }: VcloudCloud,
  name: string,
  signal: Signal,
): Promise<XmlNode | undefined> {
  for (const refresh of [false, true]) {
    const organization = await client.organization(signal, refresh);
    const isMeant = (type: string | undefined) => type === mediaType('vcloud.catalog');
    const link = linkOf(
      organization,
      (each) => each.rel === 'down' && isMeant(each.type) && each.name === name,
    );
    const catalog = link && (await client.find(link.href, signal));
    if (catalog !== undefined) return catalog;
  }
  return undefined;
}

/** A catalog, made when it is not there. It is shared: nothing ever removes it. */
export async function catalogOf(cloud: VcloudCloud, name: string, signal: Signal): Promise<XmlNode> {
  const { client } = cloud;
  const found = await findCatalog(cloud, name, signal);
  if (found !== undefined) return found;
  const add = actionOf(await client.organization(signal), 'add', 'admin.catalog');
  if (add === undefined) {
    throw new CloudError(`Catalog '${name}' is not there, and the user may not make it`, {
      advice: 'Give the user the right to make catalogs, or make it.',
    });
  }
  try {
    await client.settle(await client.post(add, 'admin.catalog', adminCatalog(name), signal), signal);
  } catch (error) {
    // Another process has made it.
    if (!(error instanceof VcdError && error.status === 400)) throw error;
  }
  const made = await findCatalog(cloud, name, signal);
  if (made !== undefined) return made;
  throw new CloudError(`Catalog '${name}' was made, but is not listed`, { okToRetry: true });
}

export function itemsOf(catalog: XmlNode): readonly Reference[] {
  return (catalog.at('CatalogItems')?.all('CatalogItem') ?? []).map(referenceOf);
}
