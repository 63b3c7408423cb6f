import { parseXml } from '@microbosh/cpi/xml';
import { expect, it } from 'vitest';
import { refOf } from './data-objects.ts';
import { faultOfCall } from './vim-fault.ts';

it('tells the class of an object from that of a reference', () => {
  const value = parseXml(
    '<val xmlns:xsi="x" xsi:type="ManagedObjectReference" type="VirtualMachine">vm-1</val>',
  );

  expect(value.type).toBe('ManagedObjectReference');
  expect(refOf(value)).toEqual({ ref: 'VirtualMachine', id: 'vm-1' });
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
