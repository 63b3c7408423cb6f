import { expect, it } from 'vitest';
import { element } from './data-objects.ts';
import { Devices, withThinDisks } from './devices.ts';
import { parseXml } from '@microbosh/cpi/xml';

const xsi = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"';

it.each([
  ['<fileName>f</fileName><diskMode>persistent</diskMode><eagerlyScrub>false</eagerlyScrub>'],
  [
    '<fileName>f</fileName><diskMode>persistent</diskMode><thinProvisioned>true</thinProvisioned><eagerlyScrub>false</eagerlyScrub>',
  ],
])('puts thinProvisioned where the schema has it: %s', (fields) => {
  const spec = parseXml(
    `<spec ${xsi}><backing xsi:type="VirtualDiskFlatVer2BackingInfo">${fields}</backing></spec>`,
  );

  expect(element('spec', withThinDisks(spec, false))).toBe(
    '<spec><backing xsi:type="VirtualDiskFlatVer2BackingInfo"><fileName>f</fileName><diskMode>persistent</diskMode><thinProvisioned>false</thinProvisioned><eagerlyScrub>false</eagerlyScrub></backing></spec>',
  );
});

function devices(units: readonly number[]): Devices {
  const disks = units.map(
    (unit) =>
      `<d xsi:type="VirtualDisk"><key>${2000 + unit}</key><controllerKey>1000</controllerKey><unitNumber>${unit}</unitNumber></d>`,
  );
  return new Devices(parseXml(`<val ${xsi}>${disks.join('')}</val>`));
}

it('gives a new disk the lowest free unit, never that of the controller', () => {
  expect(devices([0, 2]).freeUnitNumber()).toBe(1);
  expect(devices([0, 1, 2, 3, 4, 5, 6]).freeUnitNumber()).toBe(8);
  const full = Array.from({ length: 64 }, (_, unit) => unit).filter((unit) => unit !== 7);
  expect(() => devices(full).freeUnitNumber()).toThrow('no room for another disk');
});

it('says what a stemcell lacks', () => {
  expect(() => new Devices(undefined).systemDisk).toThrow('The stemcell has no disk');
  expect(() => new Devices(undefined).cdrom).toThrow('The VM has no CD-ROM device');
});
