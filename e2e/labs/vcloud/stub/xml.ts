import { escapeXml } from '@microbosh/cpi/xml';

export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;

/** `content` is XML already. */
export function element(name: string, attributes: Attributes, ...content: readonly string[]): string {
  const written = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${escapeXml(String(value))}"`);
  return `<${name}${written.join('')}>${content.join('')}</${name}>`;
}

export const leaf = (name: string, value: string | number | boolean): string =>
  element(name, {}, escapeXml(String(value)));

export const namespaces = {
  xmlns: 'http://www.vmware.com/vcloud/v1.5',
  'xmlns:ovf': 'http://schemas.dmtf.org/ovf/envelope/1',
  'xmlns:rasd': 'http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData',
  'xmlns:vcloud': 'http://www.vmware.com/vcloud/v1.5',
  'xmlns:xsi': 'http://www.w3.org/2001/XMLSchema-instance',
};

export const mediaType = (type: string): string => `application/vnd.vmware.${type}+xml`;
