import type { XmlNode } from '@microbosh/cpi/xml';

/** `vcloud.vm` is `application/vnd.vmware.vcloud.vm+xml`. */
export function mediaType(type: string): string {
  return `application/vnd.vmware.${type}+xml`;
}

/** Of the link to the resolver of URNs. */
export const entityType = 'vcloud.entity';

export interface Link {
  readonly rel: string;
  readonly type: string | undefined;
  readonly name: string | undefined;
  readonly href: string;
}

export function linksOf(node: XmlNode): readonly Link[] {
  return node.all('Link').map((link) => ({
    rel: link.attribute('rel') ?? '',
    type: link.attributes['type'],
    name: link.attribute('name'),
    href: link.attribute('href') ?? '',
  }));
}

export function linkOf(node: XmlNode, isMeant: (link: Link) => boolean): Link | undefined {
  return linksOf(node).find(isMeant);
}

/** Where an action of an object is; undefined when its state or the user's rights do not allow it. */
export function actionOf(node: XmlNode, rel: string, type?: string): string | undefined {
  return linkOf(node, (link) => link.rel === rel && (type === undefined || link.type === mediaType(type)))
    ?.href;
}
