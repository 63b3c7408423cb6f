import { isIP, isIPv4 } from 'node:net';

/** Bits of a netmask: dotted for IPv4, groups for IPv6; a number of bits stays. Undefined when it is none. */
export function prefixLength(netmask: string): number | undefined {
  if (/^\d{1,3}$/.test(netmask)) return Number(netmask);
  const family = isIP(netmask);
  if (family === 0) return undefined;
  const bits = toBits(netmask);
  const length = bits.indexOf('0') === -1 ? bits.length : bits.indexOf('0');
  return bits.slice(length).includes('1') ? undefined : length;
}

/** Last address of an IPv4 network. */
export function broadcastOf(ip: string, length: number): string {
  const address = toInt(ip);
  const hostMask = length >= 32 ? 0 : 2 ** (32 - length) - 1;
  return fromInt((address | hostMask) >>> 0);
}

/** First address of an IPv4 network. */
export function networkOf(ip: string, length: number): string {
  const hostMask = length >= 32 ? 0 : 2 ** (32 - length) - 1;
  return fromInt((toInt(ip) & ~hostMask) >>> 0);
}

export function netmaskOf(length: number): string {
  return fromInt(length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0);
}

/** One spelling for an address, so that `fd00:0::1` equals `fd00::1`. */
export function canonicalAddress(ip: string): string {
  return isIPv4(ip) ? ip : new URL(`http://[${ip}]`).hostname.slice(1, -1);
}

function toInt(ip: string): number {
  return ip.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
}

function fromInt(value: number): string {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');
}

function toBits(ip: string): string {
  if (isIPv4(ip)) return toInt(ip).toString(2).padStart(32, '0');
  const canonical = canonicalAddress(ip);
  const [head = '', tail] = canonical.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const middle = tail === undefined ? [] : new Array<string>(8 - left.length - right.length).fill('0');
  return [...left, ...middle, ...right]
    .map((group) => Number.parseInt(group, 16).toString(2).padStart(16, '0'))
    .join('');
}
