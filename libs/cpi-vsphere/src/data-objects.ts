import { escapeXml, XmlNode } from '@microbosh/cpi/xml';

/** A managed object: its class and id. */
export interface Ref {
  readonly ref: string;
  readonly id: string;
}

/** A data object of the API: its class and its fields, in any order. */
export interface DataObject {
  readonly type: string;
  readonly fields: Fields;
}

export type FieldValue =
  string | number | boolean | Ref | DataObject | XmlNode | undefined | readonly FieldValue[];
export type Fields = Readonly<Record<string, FieldValue>>;

const device = ['key', 'deviceInfo', 'backing', 'connectable', 'slotInfo', 'controllerKey', 'unitNumber'];
const controller = [...device, 'busNumber', 'device', 'hotAddRemove', 'sharedBus', 'scsiCtlrUnitNumber'];
const ethernetCard = [...device, 'addressType', 'macAddress', 'wakeOnLanEnabled'];

/**
 * Elements of each class in the order of its XML sequence. A vCenter refuses another order; the simulator does not care.
 * Methods are listed with their parameters, without `_this`.
 */
export const elementOrder: Readonly<Record<string, readonly string[]>> = {
  VirtualMachineConfigSpec: [
    'name',
    'version',
    'numCPUs',
    'memoryMB',
    'memoryHotAddEnabled',
    'cpuHotAddEnabled',
    'deviceChange',
    'cpuAllocation',
    'extraConfig',
    'vAppConfig',
    'managedBy',
    'memoryReservationLockedToMax',
    'nestedHVEnabled',
    'vmProfile',
    'deviceGroups',
  ],
  VirtualMachineCloneSpec: ['location', 'template', 'config', 'powerOn', 'snapshot'],
  VirtualMachineRelocateSpec: ['datastore', 'diskMoveType', 'pool', 'host'],
  VirtualDeviceConfigSpec: ['operation', 'fileOperation', 'device', 'profile'],
  VirtualDisk: [...device, 'capacityInKB'],
  VirtualCdrom: device,
  VirtualVmxnet3: ethernetCard,
  ParaVirtualSCSIController: controller,
  VirtualLsiLogicController: controller,
  VirtualLsiLogicSASController: controller,
  VirtualDeviceConnectInfo: ['startConnected', 'allowGuestControl', 'connected'],
  VirtualDiskFlatVer2BackingInfo: [
    'fileName',
    'datastore',
    'diskMode',
    'split',
    'writeThrough',
    'thinProvisioned',
    'eagerlyScrub',
    'uuid',
  ],
  VirtualCdromIsoBackingInfo: ['fileName', 'datastore'],
  VirtualEthernetCardNetworkBackingInfo: ['deviceName', 'useAutoDetect', 'network'],
  VirtualEthernetCardDistributedVirtualPortBackingInfo: ['port'],
  DistributedVirtualSwitchPortConnection: ['switchUuid', 'portgroupKey'],
  VirtualEthernetCardOpaqueNetworkBackingInfo: ['opaqueNetworkId', 'opaqueNetworkType'],
  VmConfigSpec: ['property'],
  VAppPropertySpec: ['operation', 'removeKey', 'info'],
  VAppPropertyInfo: ['key', 'id', 'category', 'label', 'type', 'userConfigurable', 'value', 'description'],
  OptionValue: ['key', 'value'],
  OvfCreateImportSpecParams: ['locale', 'deploymentOption', 'entityName'],
  FileBackedVirtualDiskSpec: ['diskType', 'adapterType', 'capacityKb'],
  HostDatastoreBrowserSearchSpec: ['query', 'details', 'matchPattern'],
  VmDiskFileQuery: ['details'],
  VmDiskFileQueryFlags: ['diskType', 'capacityKb', 'hardwareVersion'],
  FileQueryFlags: ['fileType', 'fileSize', 'modification', 'fileOwner'],
  ClusterConfigSpecEx: ['drsVmConfigSpec', 'rulesSpec', 'groupSpec'],
  ClusterRuleSpec: ['operation', 'removeKey', 'info'],
  ClusterAntiAffinityRuleSpec: ['key', 'enabled', 'name', 'vm'],
  PropertyFilterSpec: ['propSet', 'objectSet'],
  PropertySpec: ['type', 'all', 'pathSet'],
  ObjectSpec: ['obj', 'skip', 'selectSet'],
  TraversalSpec: ['name', 'type', 'path', 'skip', 'selectSet'],
  RetrieveOptions: ['maxObjects'],

  RetrieveServiceContent: [],
  Login: ['userName', 'password', 'locale'],
  Logout: [],
  CreateContainerView: ['container', 'type', 'recursive'],
  DestroyView: [],
  RetrievePropertiesEx: ['specSet', 'options'],
  ContinueRetrievePropertiesEx: ['token'],
  FindByInventoryPath: ['inventoryPath'],
  FindAllByIp: ['datacenter', 'ip', 'vmSearch'],
  CreateFolder: ['name'],
  CreateImportSpec: ['ovfDescriptor', 'resourcePool', 'datastore', 'cisp'],
  ImportVApp: ['spec', 'folder', 'host'],
  HttpNfcLeaseProgress: ['percent'],
  HttpNfcLeaseComplete: [],
  HttpNfcLeaseAbort: [],
  CloneVM_Task: ['folder', 'name', 'spec'],
  ReconfigVM_Task: ['spec'],
  CreateSnapshot_Task: ['name', 'description', 'memory', 'quiesce'],
  UpgradeVM_Task: ['version'],
  PowerOnMultiVM_Task: ['vm'],
  PowerOffVM_Task: [],
  RebootGuest: [],
  AnswerVM: ['questionId', 'answerChoice'],
  Destroy_Task: [],
  CreateVirtualDisk_Task: ['name', 'datacenter', 'spec'],
  DeleteVirtualDisk_Task: ['name', 'datacenter'],
  MoveVirtualDisk_Task: ['sourceName', 'sourceDatacenter', 'destName', 'destDatacenter', 'force'],
  ExtendVirtualDisk_Task: ['name', 'datacenter', 'newCapacityKb', 'eagerZero'],
  MakeDirectory: ['name', 'datacenter', 'createParentDirectories'],
  DeleteDatastoreFile_Task: ['name', 'datacenter'],
  SearchDatastore_Task: ['datastorePath', 'searchSpec'],
  AddCustomFieldDef: ['name', 'moType'],
  SetField: ['entity', 'key', 'value'],
  ReconfigureComputeResource_Task: ['spec', 'modify'],
};

export function object(type: string, fields: Fields): DataObject {
  return { type, fields };
}

export function ref(type: string, id: string): Ref {
  return { ref: type, id };
}

/** The reference that an element of an answer holds. */
export function refOf(node: XmlNode | undefined): Ref | undefined {
  const type = node?.attributes['type'];
  return node === undefined || type === undefined ? undefined : ref(type, node.text);
}

function isRef(value: object): value is Ref {
  return 'ref' in value;
}

/** Fields in the order of their class. Throws for a class or a field that the table does not have. */
export function orderedFields(type: string, fields: Fields): string {
  const order = elementOrder[type];
  const stranger = Object.keys(fields).find((name) => order?.includes(name) !== true);
  if (order === undefined || stranger !== undefined) {
    throw new Error(`the order of ${type}.${stranger ?? ''} is not known`);
  }
  return order.map((name) => element(name, fields[name])).join('');
}

export function element(name: string, value: FieldValue): string {
  if (value === undefined) return '';
  if (typeof value !== 'object') return `<${name}>${escapeXml(String(value))}</${name}>`;
  if (isList(value)) return value.map((item) => element(name, item)).join('');
  if (value instanceof XmlNode) return copied(name, value);
  if (isRef(value)) return `<${name} type="${value.ref}">${escapeXml(value.id)}</${name}>`;
  return `<${name} xsi:type="${value.type}">${orderedFields(value.type, value.fields)}</${name}>`;
}

function isList(value: FieldValue): value is readonly FieldValue[] {
  return Array.isArray(value);
}

/** What the server has sent, as it was: its order is right. */
function copied(name: string, node: XmlNode): string {
  const isSchemaType = /^(string|int|long|short|byte|boolean|double|float|dateTime|anyURI)$/.test(
    node.type ?? '',
  );
  const type = node.type === undefined ? '' : ` xsi:type="${isSchemaType ? 'xsd:' : ''}${node.type}"`;
  const managed = node.attributes['type'];
  const reference = managed === undefined ? '' : ` type="${managed}"`;
  const content =
    node.children.length > 0
      ? node.children.map((child) => copied(child.name, child)).join('')
      : escapeXml(node.text);
  return `<${name}${type}${reference}>${content}</${name}>`;
}

/** Text with a type: the fields of the API that take anything need it. */
export function typedText(text: string): XmlNode {
  return new XmlNode('value', { 'xsi:type': 'xsd:string' }, [], text);
}
