import { BlockList, isIP } from 'node:net';
import { RegistryMisconfigured } from '../errors.ts';

export interface ClientAddress {
  /** The address to judge and to log. */
  readonly address: string;
  /** The peer itself is this machine, and nothing hints that it speaks for somebody else. */
  readonly isLoopback: boolean;
}

/** `::ffff:10.0.0.1` is 10.0.0.1; a zone (`fe80::1%eth0`) is dropped. */
export function normalizeAddress(address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '');
  const zone = plain.indexOf('%');
  return zone < 0 ? plain : plain.slice(0, zone);
}

/** Addresses and networks (`10.0.0.0/8`, `fd00::/8`, `192.0.2.7`) whose forwarded headers are believed. */
export class TrustedProxies {
  /** Absent when nobody is trusted: a look into the list costs more than all else that is judged here. */
  readonly #list: BlockList | undefined;

  constructor(networks: readonly string[]) {
    if (networks.length > 0) this.#list = new BlockList();
    for (const network of networks) {
      const [address = '', prefix, ...rest] = network.split('/');
      const family = isIP(address);
      const bits = prefix === undefined ? (family === 6 ? 128 : 32) : Number(prefix);
      if (
        family === 0 ||
        rest.length > 0 ||
        !Number.isInteger(bits) ||
        bits < 0 ||
        bits > (family === 6 ? 128 : 32)
      ) {
        throw new RegistryMisconfigured(`'${network}' is neither an address nor a network.`);
      }
      this.#list?.addSubnet(address, bits, family === 6 ? 'ipv6' : 'ipv4');
    }
  }

  includes(address: string): boolean {
    if (!this.#list) return false;
    const family = isIP(address);
    return family !== 0 && this.#list.check(address, family === 6 ? 'ipv6' : 'ipv4');
  }
}

/** Of a normalized address as the kernel writes it. */
function isLoopbackAddress(address: string): boolean {
  return address === '::1' || address.startsWith('127.');
}

/**
 * Who asks. The socket decides; a forwarded header is read only when the peer is a configured proxy, from the right
 * end, as far as proxies are trusted. A forwarded value never counts as loopback: it is a text that somebody sent.
 */
export function clientAddress(
  peer: string,
  headers: Readonly<Record<string, string | readonly string[] | undefined>>,
  proxies: TrustedProxies,
): ClientAddress {
  const socketAddress = normalizeAddress(peer);
  const forwarded = headers['x-forwarded-for'];
  const speaksForOthers =
    forwarded !== undefined ||
    headers['forwarded'] !== undefined ||
    headers['x-real-ip'] !== undefined ||
    headers['client-ip'] !== undefined;
  if (!proxies.includes(socketAddress)) {
    return { address: socketAddress, isLoopback: isLoopbackAddress(socketAddress) && !speaksForOthers };
  }
  const hops = [forwarded ?? []]
    .flat()
    .join(',')
    .split(',')
    .map((hop) => normalizeAddress(hop.trim()))
    .filter((hop) => hop !== '');
  let address = socketAddress;
  for (const hop of hops.reverse()) {
    if (isIP(hop) === 0) break;
    address = hop;
    if (!proxies.includes(hop)) break;
  }
  return { address, isLoopback: false };
}
