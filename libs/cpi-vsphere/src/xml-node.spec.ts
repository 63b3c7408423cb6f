import { expect, it } from 'vitest';
import { refOf } from './data-objects.ts';
import { faultOfCall } from './vim-fault.ts';
import { parseXml } from './xml-node.ts';

it('knows a class by whatever prefix the server gives the schema instance', () => {
  const text = `<?xml version="1.0"?><a:Envelope xmlns:a="soap" xmlns:XMLSchema-instance="http://www.w3.org/2001/XMLSchema-instance">
    <a:Body><val XMLSchema-instance:type="vim25:VirtualDisk"><key>2000</key></val></a:Body></a:Envelope>`;

  const value = parseXml(text).at('Body', 'val');

  expect(value?.type).toBe('VirtualDisk');
  expect(value?.numberAt('key')).toBe(2000);
});

it('tells the class of an object from that of a reference', () => {
  const value = parseXml(
    '<val xmlns:xsi="x" xsi:type="ManagedObjectReference" type="VirtualMachine">vm-1</val>',
  );

  expect(value.type).toBe('ManagedObjectReference');
  expect(refOf(value)).toEqual({ ref: 'VirtualMachine', id: 'vm-1' });
});

it('keeps numbers and white space as text', () => {
  expect(parseXml('<a><b>007</b><c> x </c></a>').textAt('b')).toBe('007');
  expect(parseXml('<a><b>007</b><c> x &lt;</c></a>').textAt('c')).toBe(' x <');
});

it.each([
  [
    '<detail><NotAuthenticatedFault xmlns="urn:vim25" xmlns:xsi="x" xsi:type="NotAuthenticated"/></detail>',
    'NotAuthenticated',
  ],
  ['<detail><InvalidLoginFault xmlns="urn:vim25"/></detail>', 'InvalidLogin'],
  ['', 'SystemError'],
])('names a fault by its class, else by its element: %s', (detail, name) => {
  const fault = faultOfCall('Login', parseXml(`<Fault><faultstring>no</faultstring>${detail}</Fault>`));

  expect(fault.fault).toBe(name);
  expect(fault.message).toBe(`vSphere Login: ${name}: no`);
});
