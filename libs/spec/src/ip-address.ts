/** An address as a number, so that ranges can be compared. */
export interface IpAddress {
  readonly family: 4 | 6;
  readonly value: bigint;
}

export interface IpRange {
  readonly family: 4 | 6;
  /** First address: all host bits zero. */
  readonly first: bigint;
  readonly last: bigint;
  readonly prefixLength: number;
}

/** Reads dotted IPv4 (no leading zeros) or IPv6 without a zone; undefined for anything else. */
export function parseIp(text: string): IpAddress | undefined {
  return text.includes(':') ? parseIpv6(text) : parseIpv4(text);
}

/** Reads `address/length`; host bits may be set. */
export function parseIpRange(text: string): IpRange | undefined {
  const match = /^([^/]+)\/(0|[1-9][0-9]{0,2})$/.exec(text);
  const address = match?.[1] === undefined ? undefined : parseIp(match[1]);
  if (address === undefined) return undefined;
  const bits = address.family === 4 ? 32 : 128;
  const prefixLength = Number(match?.[2]);
  if (prefixLength > bits) return undefined;
  const hosts = (1n << BigInt(bits - prefixLength)) - 1n;
  const first = address.value & ~hosts;
  return { family: address.family, first, last: first | hosts, prefixLength };
}

export function rangeContains(range: IpRange, address: IpAddress): boolean {
  return address.family === range.family && address.value >= range.first && address.value <= range.last;
}

/** The netmask of a range: dotted for IPv4, eight groups of four digits for IPv6. */
export function netmaskOf(range: IpRange): string {
  const bits = range.family === 4 ? 32 : 128;
  const mask = ((1n << BigInt(range.prefixLength)) - 1n) << BigInt(bits - range.prefixLength);
  return range.family === 4 ? formatIpv4(mask) : formatIpv6Groups(mask);
}

/** Eight groups without abbreviation. */
export function formatIpv6Groups(value: bigint): string {
  const hex = value.toString(16).padStart(32, '0');
  return (hex.match(/.{4}/g) ?? []).join(':');
}

export function formatIpv4(value: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 255n)).join('.');
}

function parseIpv4(text: string): IpAddress | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let value = 0n;
  for (const part of parts) {
    if (!/^(?:0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return undefined;
    value = (value << 8n) | BigInt(part);
  }
  return { family: 4, value };
}

function parseIpv6(text: string): IpAddress | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const [head = '', tail] = halves;
  const left = parseGroups(head, tail === undefined);
  const right = tail === undefined ? [] : parseGroups(tail, true);
  if (left === undefined || right === undefined) return undefined;
  const missing = 8 - left.length - right.length;
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined;
  const groups = [...left, ...new Array<bigint>(missing).fill(0n), ...right];
  return { family: 6, value: groups.reduce((value, group) => (value << 16n) | group, 0n) };
}

/** `mayEndInIpv4`: only the last part of an address may be written in dotted form. */
function parseGroups(text: string, mayEndInIpv4: boolean): bigint[] | undefined {
  if (text === '') return [];
  const groups: bigint[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    if (part.includes('.')) {
      const address = mayEndInIpv4 && index === parts.length - 1 ? parseIpv4(part) : undefined;
      if (address === undefined) return undefined;
      groups.push(address.value >> 16n, address.value & 0xffffn);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      groups.push(BigInt(`0x${part}`));
    } else {
      return undefined;
    }
  }
  return groups;
}
