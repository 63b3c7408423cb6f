export interface OvfDisk {
  readonly file: string;
  readonly fileSizeBytes: number;
  readonly capacityBytes: number;
}

/** Descriptor of the one machine that vSphere and vCloud make a template of. */
export function ovfDescriptor(name: string, disk: OvfDisk): string {
  const item = (fields: Readonly<Record<string, string | number>>) =>
    `      <Item>\n${Object.entries(fields)
      .sort(([a], [b]) => a.localeCompare(b))
      .map(([key, value]) => `        <rasd:${key}>${value}</rasd:${key}>\n`)
      .join('')}      </Item>\n`;
  return `<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
    <File ovf:href="${disk.file}" ovf:id="file1" ovf:size="${disk.fileSizeBytes}"/>
  </References>
  <DiskSection>
    <Info>Virtual disk information</Info>
    <Disk ovf:capacity="${disk.capacityBytes}" ovf:capacityAllocationUnits="byte" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>The list of logical networks</Info>
    <Network ovf:name="VM Network">
      <Description>The VM Network network</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="${name}">
    <Info>A virtual machine</Info>
    <Name>${name}</Name>
    <OperatingSystemSection ovf:id="96" vmw:osType="debian10_64Guest">
      <Info>The kind of installed guest operating system</Info>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware requirements</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>${name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-09</vssd:VirtualSystemType>
      </System>
${[
  item({
    AllocationUnits: 'hertz * 10^6',
    ElementName: '1 virtual CPU(s)',
    InstanceID: 1,
    ResourceType: 3,
    VirtualQuantity: 1,
  }),
  item({
    AllocationUnits: 'byte * 2^20',
    ElementName: '512MB of memory',
    InstanceID: 2,
    ResourceType: 4,
    VirtualQuantity: 512,
  }),
  item({
    Address: 0,
    ElementName: 'SCSI Controller 0',
    InstanceID: 3,
    ResourceSubType: 'VirtualSCSI',
    ResourceType: 6,
  }),
  item({ Address: 0, ElementName: 'IDE 0', InstanceID: 4, ResourceType: 5 }),
  item({
    AddressOnParent: 0,
    AutomaticAllocation: 'false',
    ElementName: 'CD-ROM 1',
    InstanceID: 5,
    Parent: 4,
    ResourceSubType: 'vmware.cdrom.remotepassthrough',
    ResourceType: 15,
  }),
  item({
    AddressOnParent: 0,
    ElementName: 'Hard Disk 1',
    HostResource: 'ovf:/disk/vmdisk1',
    InstanceID: 6,
    Parent: 3,
    ResourceType: 17,
  }),
  item({
    AddressOnParent: 7,
    AutomaticAllocation: 'true',
    Connection: 'VM Network',
    ElementName: 'Network adapter 1',
    InstanceID: 7,
    ResourceSubType: 'VmxNet3',
    ResourceType: 10,
  }),
].join('')}    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
`;
}
