/** An IPv4 subnet; `base` is the network address as a number. */
export interface Subnet {
  readonly base: number;
  readonly prefix: number;
}

/** Undefined when the text is not a dotted address. */
export function parseAddress(text: string): number | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let value = 0;
  for (const part of parts) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    value = value * 256 + Number(part);
  }
  return value;
}

export function formatAddress(value: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');
}

/** `255.255.255.0` → 24; undefined when the ones are not contiguous. */
export function parseNetmask(text: string): number | undefined {
  const value = parseAddress(text);
  if (value === undefined) return undefined;
  const inverse = 2 ** 32 - 1 - value;
  const hostBits = Math.log2(inverse + 1);
  return Number.isInteger(hostBits) ? 32 - hostBits : undefined;
}

export function formatNetmask(prefix: number): string {
  return formatAddress(2 ** 32 - 2 ** (32 - prefix));
}

export function subnetOf(address: number, prefix: number): Subnet {
  const size = 2 ** (32 - prefix);
  return { base: Math.floor(address / size) * size, prefix };
}

/** `10.0.0.0/24`, a bare address (= /32), or undefined. */
export function parseSubnet(text: string): Subnet | undefined {
  const [addressText = '', prefixText = '32', ...rest] = text.split('/');
  const address = parseAddress(addressText);
  if (address === undefined || rest.length > 0 || !/^\d{1,2}$/.test(prefixText)) return undefined;
  const prefix = Number(prefixText);
  return prefix > 32 ? undefined : subnetOf(address, prefix);
}

export function formatSubnet(subnet: Subnet): string {
  return `${formatAddress(subnet.base)}/${subnet.prefix}`;
}

export function subnetContains(subnet: Subnet, address: number): boolean {
  return address >= subnet.base && address < subnet.base + 2 ** (32 - subnet.prefix);
}

export function subnetsOverlap(a: Subnet, b: Subnet): boolean {
  return subnetContains(a, b.base) || subnetContains(b, a.base);
}
