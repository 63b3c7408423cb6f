import { parseXml } from '@microbosh/cpi/xml';
import { describe, expect, it } from 'vitest';
import { VmDocument } from './vm-document.ts';

const text = `<?xml version="1.0"?>
<Vm xmlns="http://www.vmware.com/vcloud/v1.5" xmlns:o="http://schemas.dmtf.org/ovf/envelope/1" xmlns:r="urn:rasd" xmlns:v="http://www.vmware.com/vcloud/v1.5" name="stemcell" href="https://v/api/vApp/vm-1" id="urn:vcloud:vm:1" status="8">
  <Description>template</Description>
  <o:VirtualHardwareSection v:href="https://v/x">
    <o:Info>hardware</o:Info>
    <o:Item><r:Address>00:50</r:Address><r:AddressOnParent>0</r:AddressOnParent><r:Connection v:ipAddressingMode="DHCP">VM Network</r:Connection><r:InstanceID>1</r:InstanceID><r:ResourceType>10</r:ResourceType></o:Item>
    <o:Item><r:InstanceID>2</r:InstanceID><r:ResourceSubType>VirtualSCSI</r:ResourceSubType><r:ResourceType>6</r:ResourceType></o:Item>
    <o:Item><r:AddressOnParent>0</r:AddressOnParent><r:HostResource v:capacity="3072" v:disk=""/><r:InstanceID>2000</r:InstanceID><r:ResourceType>17</r:ResourceType></o:Item>
    <o:Item><r:AddressOnParent>1</r:AddressOnParent><r:HostResource v:capacity="1024" v:disk="https://v/api/disk/9"/><r:InstanceID>2001</r:InstanceID><r:ResourceType>17</r:ResourceType></o:Item>
    <o:Item><r:InstanceID>4</r:InstanceID><r:ResourceType>3</r:ResourceType><r:VirtualQuantity>1</r:VirtualQuantity><v:CoresPerSocket>1</v:CoresPerSocket></o:Item>
    <o:Item><r:InstanceID>5</r:InstanceID><r:ResourceType>4</r:ResourceType><r:VirtualQuantity>512</r:VirtualQuantity></o:Item>
    <Link rel="edit" href="https://v/x"/>
  </o:VirtualHardwareSection>
  <NetworkConnectionSection><o:Info>i</o:Info></NetworkConnectionSection>
  <Unknown a="b">kept</Unknown>
</Vm>`;
const vm = new VmDocument(parseXml(text));
const wanted = {
  name: 'vm-9',
  description: 'ours',
  cpu: 4,
  ramMiB: 2048,
  diskMiB: 4096,
  networks: [{ network: 'net', ip: '10.0.0.9' }],
};

describe('the document of a VM', () => {
  it('tells its disks and cards whatever the prefixes are', () => {
    expect(vm.disks).toEqual([
      { unit: 0, diskHref: undefined },
      { unit: 1, diskHref: 'https://v/api/disk/9' },
    ]);
    expect(vm.cards).toEqual([{ network: 'VM Network', mac: '00:50' }]);
    expect([vm.freeUnit(), vm.busSubType, vm.cid]).toEqual([2, 'VirtualSCSI', 'urn:vcloud:vm:1']);
  });

  it('is sent back with the hardware that is wanted, and with all that it does not know', () => {
    const sent = parseXml(vm.reconfigured(wanted));
    const items = sent.at('VirtualHardwareSection')?.all('Item') ?? [];
    const quantity = (kind: number) =>
      items.find((item) => item.numberAt('ResourceType') === kind)?.numberAt('VirtualQuantity');

    expect([sent.attribute('name'), sent.textAt('Description'), sent.textAt('Unknown')]).toEqual([
      'vm-9',
      'ours',
      'kept',
    ]);
    expect([quantity(3), quantity(4)]).toEqual([4, 2048]);
    expect(items.some((item) => item.textAt('CoresPerSocket') === '1')).toBe(true);
    expect(new VmDocument(sent).cards).toEqual([{ network: 'net', mac: '' }]);
    expect(new VmDocument(sent).disks).toHaveLength(3);
    expect(sent.at('VirtualHardwareSection')?.children.at(-1)?.name).toBe('Link');
  });

  it('numbers new hardware above what is there', () => {
    const items = parseXml(vm.reconfigured(wanted)).at('VirtualHardwareSection')?.all('Item') ?? [];
    const ids = items.map((item) => item.textAt('InstanceID'));

    expect(new Set(ids).size).toBe(ids.length);
  });

  it('has no place for a disk when all sixteen are taken, and never takes that of the controller', () => {
    const disk = (unit: number) =>
      `<o:Item><r:AddressOnParent>${unit}</r:AddressOnParent><r:HostResource/><r:InstanceID>${3000 + unit}</r:InstanceID><r:ResourceType>17</r:ResourceType></o:Item>`;
    const holding = (...units: number[]) =>
      new VmDocument(parseXml(text.replace('<Link', `${units.map(disk).join('')}<Link`)));

    expect(holding(2, 3, 4, 5, 6).freeUnit()).toBe(8);
    expect(() => holding(...Array.from({ length: 14 }, (_, index) => index + 2)).freeUnit()).toThrow(
      'no place for another disk',
    );
  });
});
