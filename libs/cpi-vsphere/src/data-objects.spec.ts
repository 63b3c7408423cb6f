import { describe, expect, it } from 'vitest';
import { element, elementOrder, object, orderedFields, ref, typedText } from './data-objects.ts';

/** The sequences of the API's schema, written down apart from the table that the client uses. */
const schema: Readonly<Record<string, string>> = {
  VirtualMachineConfigSpec:
    'name version numCPUs memoryMB memoryHotAddEnabled cpuHotAddEnabled deviceChange cpuAllocation extraConfig vAppConfig managedBy memoryReservationLockedToMax nestedHVEnabled vmProfile deviceGroups',
  VirtualMachineCloneSpec: 'location template config powerOn snapshot',
  VirtualMachineRelocateSpec: 'datastore diskMoveType pool host',
  VirtualDeviceConfigSpec: 'operation fileOperation device profile',
  VirtualDisk: 'key deviceInfo backing connectable slotInfo controllerKey unitNumber capacityInKB',
  VirtualVmxnet3:
    'key deviceInfo backing connectable slotInfo controllerKey unitNumber addressType macAddress wakeOnLanEnabled',
  ParaVirtualSCSIController:
    'key deviceInfo backing connectable slotInfo controllerKey unitNumber busNumber device hotAddRemove sharedBus scsiCtlrUnitNumber',
  VirtualDeviceConnectInfo: 'startConnected allowGuestControl connected',
  VirtualDiskFlatVer2BackingInfo:
    'fileName datastore diskMode split writeThrough thinProvisioned eagerlyScrub uuid',
  VirtualCdromIsoBackingInfo: 'fileName datastore',
  VirtualEthernetCardNetworkBackingInfo: 'deviceName useAutoDetect network',
  VAppPropertySpec: 'operation removeKey info',
  VAppPropertyInfo: 'key id category label type userConfigurable value description',
  OvfCreateImportSpecParams: 'locale deploymentOption entityName',
  FileBackedVirtualDiskSpec: 'diskType adapterType capacityKb',
  HostDatastoreBrowserSearchSpec: 'query details matchPattern',
  ClusterConfigSpecEx: 'drsVmConfigSpec rulesSpec groupSpec',
  ClusterAntiAffinityRuleSpec: 'key enabled name vm',
  CloneVM_Task: 'folder name spec',
  CreateSnapshot_Task: 'name description memory quiesce',
  ImportVApp: 'spec folder host',
  CreateVirtualDisk_Task: 'name datacenter spec',
  MoveVirtualDisk_Task: 'sourceName sourceDatacenter destName destDatacenter force',
  MakeDirectory: 'name datacenter createParentDirectories',
  SearchDatastore_Task: 'datastorePath searchSpec',
  FindAllByIp: 'datacenter ip vmSearch',
  AddCustomFieldDef: 'name moType',
};

describe('order of elements', () => {
  it.each(Object.entries(schema))('of %s is that of the schema', (type, order) => {
    expect(elementOrder[type]?.join(' ')).toBe(order);
  });

  it.each(Object.entries(elementOrder).filter(([, order]) => order.length > 1))(
    'of %s does not depend on the order of the fields',
    (type, order) => {
      const fields = Object.fromEntries([...order].reverse().map((name) => [name, name]));

      const names = [...orderedFields(type, fields).matchAll(/<(\w+)>/g)].map(([, name]) => name);

      expect(names).toEqual(order);
    },
  );

  it('refuses a class and a field that it does not know', () => {
    expect(() => orderedFields('NoSuchSpec', {})).toThrow('the order of NoSuchSpec. is not known');
    expect(() => orderedFields('CloneVM_Task', { nmae: 'x' })).toThrow('CloneVM_Task.nmae');
  });
});

it('writes references, classes, lists, texts with their type, and escapes', () => {
  const disk = object('OptionValue', { value: typedText('a<b & "c"'), key: 'k' });

  expect(element('vm', [ref('VirtualMachine', 'vm-1'), ref('VirtualMachine', 'vm-2')])).toBe(
    '<vm type="VirtualMachine">vm-1</vm><vm type="VirtualMachine">vm-2</vm>',
  );
  expect(element('x', disk)).toBe(
    '<x xsi:type="OptionValue"><key>k</key><value xsi:type="xsd:string">a&#60;b &#38; &#34;c&#34;</value></x>',
  );
  expect(element('absent', undefined)).toBe('');
});
