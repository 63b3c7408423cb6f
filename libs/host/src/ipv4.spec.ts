import { describe, expect, it } from 'vitest';
import { formatNetmask, formatSubnet, parseNetmask, parseSubnet, subnetsOverlap } from './ipv4.ts';

describe('IPv4 arithmetic', () => {
  it.each([
    ['255.255.255.0', 24],
    ['255.255.255.252', 30],
    ['255.0.0.0', 8],
    ['0.0.0.0', 0],
    ['255.255.255.255', 32],
  ])('reads netmask %s as /%i and writes it back', (text, prefix) => {
    expect(parseNetmask(text)).toBe(prefix);
    expect(formatNetmask(prefix)).toBe(text);
  });

  it.each(['255.0.255.0', '255.255.255', '256.0.0.0', '255.255.255.00', 'text'])(
    'refuses netmask %s',
    (text) => {
      expect(parseNetmask(text)).toBeUndefined();
    },
  );

  it.each([
    ['10.1.2.3/24', '10.1.2.0/24'],
    ['192.168.255.255/16', '192.168.0.0/16'],
    ['10.0.0.7', '10.0.0.7/32'],
  ])('reads %s as the subnet %s', (text, subnet) => {
    const parsed = parseSubnet(text);

    expect(parsed && formatSubnet(parsed)).toBe(subnet);
  });

  it.each([
    ['10.0.0.0/8', '10.250.1.0/24', true],
    ['10.250.1.0/24', '10.0.0.0/8', true],
    ['10.250.1.0/24', '10.250.2.0/24', false],
    ['10.250.1.7/32', '10.250.1.0/24', true],
  ])('knows whether %s and %s overlap', (a, b, overlap) => {
    const [first, second] = [parseSubnet(a), parseSubnet(b)];

    expect(first && second && subnetsOverlap(first, second)).toBe(overlap);
  });
});
