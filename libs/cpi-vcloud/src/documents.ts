import { escapeXml } from '@microbosh/cpi/xml';
import type { XmlNode } from '@microbosh/cpi/xml';
import { mediaType } from './links.ts';

const vcloud = 'http://www.vmware.com/vcloud/v1.5';
const ovf = 'http://schemas.dmtf.org/ovf/envelope/1';
const rasd = 'http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData';
const xsi = 'http://www.w3.org/2001/XMLSchema-instance';

/** Declarations for elements of hardware that are put into somebody else's document. */
const hardwareNamespaces = `xmlns:ovf="${ovf}" xmlns:rasd="${rasd}" xmlns:vcloud="${vcloud}"`;

type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;

/** `content` is XML already. */
export function element(name: string, attributes: Attributes, ...content: readonly string[]): string {
  const written = Object.entries(attributes)
    .filter((entry): entry is [string, string | number | boolean] => entry[1] !== undefined)
    .map(([key, value]) => ` ${key}="${escapeXml(String(value))}"`);
  return `<${name}${written.join('')}>${content.join('')}</${name}>`;
}

/** An element that holds text. */
export function leaf(name: string, text: string | number | boolean): string {
  return element(name, {}, escapeXml(String(text)));
}

const root = (name: string, attributes: Attributes, ...content: readonly string[]): string =>
  element(name, { xmlns: vcloud, ...attributes }, ...content);

function reference(name: string, href: string, type: string): string {
  return element(name, { href, type: mediaType(type) });
}

export function adminCatalog(name: string): string {
  return root('AdminCatalog', { name }, leaf('Description', ''));
}

export function uploadTemplate(name: string): string {
  return root('UploadVAppTemplateParams', { name, manifestRequired: false }, leaf('Description', ''));
}

export interface Instantiation {
  readonly name: string;
  readonly description: string;
  readonly templateHref: string;
  /** Of the VM inside the template. */
  readonly vmHref: string;
  readonly profileHref: string | undefined;
  /** Disks that the VM should be near to. */
  readonly diskHrefs: readonly string[];
}

export function instantiateTemplate(wanted: Instantiation): string {
  const { name, description, templateHref, vmHref, profileHref, diskHrefs } = wanted;
  const near = diskHrefs.map((href) => reference('ResourceEntity', href, 'vcloud.disk'));
  const isPlaced = profileHref !== undefined || near.length > 0;
  return root(
    'InstantiateVAppTemplateParams',
    { name, deploy: false, powerOn: false, linkedClone: false },
    leaf('Description', description),
    reference('Source', templateHref, 'vcloud.vAppTemplate'),
    leaf('IsSourceDelete', false),
    ...(isPlaced
      ? [
          element(
            'SourcedVmInstantiationParams',
            {},
            reference('Source', vmHref, 'vcloud.vm'),
            ...(profileHref === undefined ? [] : [element('StorageProfile', { href: profileHref })]),
            ...(near.length === 0 ? [] : [element('LocalityParams', {}, ...near)]),
          ),
        ]
      : []),
    leaf('AllEULAsAccepted', true),
  );
}

export interface BridgedNetwork {
  readonly name: string;
  readonly href: string;
  /** `IpScope` of the organisation's network. */
  readonly scope: XmlNode | undefined;
}

function bridged({ name, href, scope }: BridgedNetwork): string {
  const text = (...path: readonly string[]): string[] => {
    const found = scope?.textAt(...path);
    return found === undefined || found === '' ? [] : [leaf(path.at(-1) ?? '', found)];
  };
  const ranges = (scope?.at('IpRanges')?.all('IpRange') ?? []).map((range) =>
    element(
      'IpRange',
      {},
      leaf('StartAddress', range.textAt('StartAddress') ?? ''),
      leaf('EndAddress', range.textAt('EndAddress') ?? ''),
    ),
  );
  const copy = element(
    'IpScope',
    {},
    leaf('IsInherited', true),
    ...text('Gateway'),
    ...text('Netmask'),
    ...(ranges.length === 0 ? [] : [element('IpRanges', {}, ...ranges)]),
  );
  return element(
    'NetworkConfig',
    { networkName: name },
    element(
      'Configuration',
      {},
      ...(scope === undefined ? [] : [element('IpScopes', {}, copy)]),
      element('ParentNetwork', { href, name }),
      leaf('FenceMode', 'bridged'),
    ),
  );
}

/** `present`: `NetworkConfig` elements of the vApp that stay as they are. */
export function networkConfigSection(present: readonly XmlNode[], added: readonly BridgedNetwork[]): string {
  return root(
    'NetworkConfigSection',
    { 'xmlns:ovf': ovf },
    leaf('ovf:Info', 'The networks of the vApp'),
    ...present.map((config) => config.render()),
    ...added.map(bridged),
  );
}

export function hardDiskItem(disk: {
  readonly name: string;
  readonly instanceId: number;
  readonly capacityMb: number;
  readonly busSubType: string;
}): string {
  const { name, instanceId, capacityMb, busSubType } = disk;
  const host = element('rasd:HostResource', {
    'vcloud:capacity': capacityMb,
    'vcloud:busSubType': busSubType,
    'vcloud:busType': 6,
  });
  const fields = [leaf('rasd:ElementName', name), host, leaf('rasd:InstanceID', instanceId)];
  return `<ovf:Item ${hardwareNamespaces}>${fields.join('')}${leaf('rasd:ResourceType', 17)}</ovf:Item>`;
}

export interface NetworkCard {
  readonly index: number;
  readonly instanceId: number;
  readonly network: string;
  readonly ip: string;
}

export function networkCardItem({ index, instanceId, network, ip }: NetworkCard): string {
  const connection = element(
    'rasd:Connection',
    {
      'vcloud:ipAddressingMode': 'MANUAL',
      'vcloud:ipAddress': ip,
      'vcloud:primaryNetworkConnection': index === 0,
    },
    escapeXml(network),
  );
  const fields = [
    leaf('rasd:AddressOnParent', index),
    connection,
    leaf('rasd:ElementName', `Network adapter ${index}`),
    leaf('rasd:InstanceID', instanceId),
    leaf('rasd:ResourceSubType', 'VMXNET3'),
    leaf('rasd:ResourceType', 10),
  ];
  return `<ovf:Item ${hardwareNamespaces}>${fields.join('')}</ovf:Item>`;
}

export function networkConnectionSection(cards: readonly NetworkCard[]): string {
  return element(
    'NetworkConnectionSection',
    { xmlns: vcloud, 'xmlns:ovf': ovf },
    leaf('ovf:Info', 'The network cards of the VM'),
    leaf('PrimaryNetworkConnectionIndex', 0),
    ...cards.map(({ index, network, ip }) =>
      element(
        'NetworkConnection',
        { network },
        leaf('NetworkConnectionIndex', index),
        leaf('IpAddress', ip),
        leaf('IsConnected', true),
        leaf('IpAddressAllocationMode', 'MANUAL'),
      ),
    ),
  );
}

/** From this version of the API sizes of disks are MB, not bytes. */
const megabytesSince = 33;

export interface DiskDocument {
  readonly name: string;
  readonly sizeMiB: number;
  readonly busType: string;
  readonly busSubType: string;
  readonly profile: { readonly href: string; readonly name: string } | undefined;
}

function diskElement(open: typeof element, disk: DiskDocument, apiVersion: number): string {
  const { name, sizeMiB, busType, busSubType, profile } = disk;
  const size = apiVersion >= megabytesSince ? { sizeMb: sizeMiB } : { size: sizeMiB * 2 ** 20 };
  const type = mediaType('vcloud.vdcStorageProfile');
  return open(
    'Disk',
    { name, ...size, busType, busSubType },
    ...(profile === undefined ? [] : [element('StorageProfile', { ...profile, type })]),
  );
}

export function createDisk(disk: DiskDocument, vmHref: string | undefined, apiVersion: number): string {
  return root(
    'DiskCreateParams',
    {},
    diskElement(element, disk, apiVersion),
    ...(vmHref === undefined ? [] : [reference('Locality', vmHref, 'vcloud.vm')]),
  );
}

export function changedDisk(disk: DiskDocument, apiVersion: number): string {
  return diskElement(root, disk, apiVersion);
}

/** Without a unit number the server chooses one. */
export function attachOrDetach(diskHref: string, unitNumber?: number): string {
  const place = unitNumber === undefined ? [] : [leaf('BusNumber', 0), leaf('UnitNumber', unitNumber)];
  return root('DiskAttachOrDetachParams', {}, reference('Disk', diskHref, 'vcloud.disk'), ...place);
}

export function isoMedia(
  name: string,
  sizeBytes: number,
  profile: { readonly href: string; readonly name: string } | undefined,
): string {
  return root(
    'Media',
    { name, size: sizeBytes, imageType: 'iso' },
    ...(profile === undefined ? [] : [element('VdcStorageProfile', { ...profile })]),
  );
}

export function mediaItem(name: string, mediaHref: string): string {
  const type = mediaType('vcloud.media');
  return root('CatalogItem', { name }, element('Entity', { href: mediaHref, name, type }));
}

export function insertOrEject(mediaHref: string): string {
  return root('MediaInsertOrEjectParams', {}, reference('Media', mediaHref, 'vcloud.media'));
}

const stringValue = (value: string): string =>
  element('TypedValue', { 'xsi:type': 'MetadataStringValue' }, leaf('Value', value));

export function metadataValue(value: string): string {
  return root('MetadataValue', { 'xmlns:xsi': xsi }, stringValue(value));
}

/** Entries that are not named stay as they are. */
export function metadata(values: Readonly<Record<string, string>>): string {
  const entries = Object.entries(values).map(([key, value]) =>
    element('MetadataEntry', {}, leaf('Key', key), stringValue(value)),
  );
  return root('Metadata', { 'xmlns:xsi': xsi }, ...entries);
}

export function undeploy(): string {
  return root('UndeployVAppParams', {}, leaf('UndeployPowerAction', 'powerOff'));
}

/** Moves a VM into the vApp that this is sent to; without one the vApp gets another name. */
export function recompose(name: string | undefined, vmHref?: string): string {
  return root(
    'RecomposeVAppParams',
    { name },
    ...(vmHref === undefined
      ? []
      : [element('SourcedItem', { sourceDelete: true }, element('Source', { href: vmHref }))]),
    leaf('AllEULAsAccepted', true),
  );
}
