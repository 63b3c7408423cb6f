import { isIP } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatIpv4,
  formatIpv6Groups,
  netmaskOf,
  parseIp,
  parseIpRange,
  rangeContains,
} from './ip-address.ts';

describe('addresses', () => {
  it.each([
    ['10.0.0.0/24', '255.255.255.0'],
    ['10.1.2.3/8', '255.0.0.0'],
    ['0.0.0.0/0', '0.0.0.0'],
    ['1.2.3.4/32', '255.255.255.255'],
    ['fd00::/64', 'ffff:ffff:ffff:ffff:0000:0000:0000:0000'],
  ])('the netmask of %s is %s', (range, netmask) => {
    const parsed = parseIpRange(range);

    expect(parsed && netmaskOf(parsed)).toBe(netmask);
  });

  it.each(['10.0.0.0', '10.0.0.0/33', '10.0.0.0/-1', '10.0.0/8', 'fd00::/129', '10.0.0.0/08', 'x/8'])(
    '%s is no range',
    (text) => {
      expect(parseIpRange(text)).toBeUndefined();
    },
  );

  it('a range contains its first and last address and not its neighbours', () => {
    const range = parseIpRange('10.0.1.77/24');
    const inside = (text: string) => {
      const address = parseIp(text);
      return range !== undefined && address !== undefined && rangeContains(range, address);
    };

    expect(['10.0.0.255', '10.0.1.0', '10.0.1.255', '10.0.2.0', '::a00:100'].map(inside)).toEqual([
      false,
      true,
      true,
      false,
      false,
    ]);
  });

  it('reads the addresses that the system reads, and no others', () => {
    const almost = fc.string({
      unit: fc.constantFrom('0', '1', '255', '256', '.', ':', '::', 'a', 'f', 'g', '01'),
    });
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), almost), (text) => {
        expect(parseIp(text)?.family ?? 0).toBe(isIP(text));
      }),
      { numRuns: 1000 },
    );
  });

  it('writes an address that reads back as the same number', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
        const address = parseIp(text);
        const again =
          address?.family === 4 ? formatIpv4(address.value) : formatIpv6Groups(address?.value ?? 0n);

        expect(parseIp(again)).toEqual(address);
      }),
    );
  });
});
