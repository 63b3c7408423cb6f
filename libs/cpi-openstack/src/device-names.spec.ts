import { describe, expect, it } from 'vitest';
import { nextDeviceName } from './device-names.ts';

const none = { ephemeral: false, swap: false, configDriveDisk: false };

describe('nextDeviceName', () => {
  it.each([
    [[], none, '/dev/sdb'],
    [[], { ...none, ephemeral: true }, '/dev/sdc'],
    [[], { ephemeral: true, swap: true, configDriveDisk: true }, '/dev/sde'],
    [['/dev/vdb'], none, '/dev/sdc'],
    [['/dev/xvdb', '/dev/sdc'], none, '/dev/sdd'],
    [['/dev/sdc'], none, '/dev/sdb'],
  ])('with %j taken and %j the next is %s', (taken, occupied, expected) => {
    expect(nextDeviceName(taken, occupied)).toBe(expected);
  });

  it('says when there is none left', () => {
    const all = Array.from({ length: 25 }, (_, index) => `/dev/sd${String.fromCharCode(98 + index)}`);

    expect(() => nextDeviceName(all, none)).toThrow('Server has too many disks attached');
  });
});
