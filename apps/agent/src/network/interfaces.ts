import { isJsonObject, type Json, type JsonObject } from '@microbosh/errors';
import type { CommandRunner } from '@microbosh/host';
import { access } from 'node:fs/promises';

export interface NetworkInterface {
  readonly name: string;
  readonly mac: string;
  readonly up: boolean;
  readonly addresses: readonly {
    readonly ip: string;
    readonly prefixLength: number;
    readonly label?: string;
  }[];
}

/** Reads `ip -json address`: Ethernet links only. */
export function parseInterfaces(json: string): readonly NetworkInterface[] {
  const links: unknown = JSON.parse(json === '' ? '[]' : json);
  if (!Array.isArray(links)) return [];
  return (links as Json[]).filter(isJsonObject).flatMap((link) => {
    const name = link['ifname'];
    const mac = link['address'];
    if (link['link_type'] !== 'ether' || typeof name !== 'string' || typeof mac !== 'string') return [];
    const flags = Array.isArray(link['flags']) ? (link['flags'] as Json[]) : [];
    return [{ name, mac, up: flags.includes('UP'), addresses: addressesOf(link) }];
  });
}

function addressesOf(link: JsonObject): NetworkInterface['addresses'] {
  const infos = Array.isArray(link['addr_info']) ? (link['addr_info'] as Json[]) : [];
  return infos.filter(isJsonObject).flatMap((info) => {
    const { local, prefixlen, scope, label } = info;
    if (typeof local !== 'string' || typeof prefixlen !== 'number' || scope === 'link') return [];
    return [{ ip: local, prefixLength: prefixlen, ...(typeof label === 'string' ? { label } : {}) }];
  });
}

/** Gateways of the default routes, from `ip -json route show default`. */
export function parseDefaultRoutes(json: string): readonly { gateway: string; device: string }[] {
  const routes: unknown = JSON.parse(json === '' ? '[]' : json);
  if (!Array.isArray(routes)) return [];
  return (routes as Json[]).filter(isJsonObject).flatMap((route) => {
    const { gateway, dev } = route;
    return typeof gateway === 'string' && typeof dev === 'string' ? [{ gateway, device: dev }] : [];
  });
}

/**
 * The interfaces that settings can mean. On a machine with real devices only those count (bridges and tunnels of jobs
 * do not); a namespace VM has a virtual one only.
 */
export async function listInterfaces(
  runner: CommandRunner,
  signal?: AbortSignal,
): Promise<readonly NetworkInterface[]> {
  const answer = await runner.run(['ip', '-json', 'address', 'show'], {
    timeoutMs: 10_000,
    ...(signal ? { signal } : {}),
  });
  const all = parseInterfaces(answer.stdout);
  const physical = await Promise.all(
    all.map((nic) =>
      access(`/sys/class/net/${nic.name}/device`).then(
        () => true,
        () => false,
      ),
    ),
  );
  const found = all.filter((_, index) => physical[index] === true);
  return found.length > 0 ? found : all;
}
