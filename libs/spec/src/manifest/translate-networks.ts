import type { JsonObject } from '@microbosh/errors';
import {
  formatIpv4,
  formatIpv6Groups,
  netmaskOf,
  parseIp,
  parseIpRange,
  rangeContains,
  type IpRange,
} from '../ip-address.ts';
import type { NetworkSpec, NetworksSpec } from '../networks.ts';
import type { DocumentCursor } from './document-cursor.ts';
import { suggest } from './suggest.ts';

interface NetworkDefinition {
  readonly name: string;
  readonly type: NetworkSpec['type'];
  readonly range: IpRange | undefined;
  readonly gateway: string;
  readonly dns: readonly string[];
  readonly cloudProperties: JsonObject;
}

/** Checks `networks` (reference create-env §5.4) and gives them by name. */
export function readNetworks(networks: DocumentCursor): ReadonlyMap<string, NetworkDefinition> {
  const result = new Map<string, NetworkDefinition>();
  networks.items().forEach((network, index) => {
    const name = network.get('name').text();
    if (name === '') network.fail(`networks[${index}].name must be provided`);
    const type = readType(network, index);
    if (type === undefined) return;
    if (type === 'manual') {
      result.set(name, { name, type, ...readSubnet(network, index) });
      return;
    }
    result.set(name, {
      name,
      type,
      range: undefined,
      gateway: '',
      dns: network.get('dns').texts(),
      cloudProperties: network.get('cloud_properties').map(),
    });
  });
  return result;
}

function readType(network: DocumentCursor, index: number): NetworkSpec['type'] | undefined {
  const type = network.get('type');
  const text = type.text();
  if (text === 'manual' || text === 'dynamic' || text === 'vip') return text;
  type.fail(
    `networks[${index}].type must be 'manual', 'dynamic', or 'vip'`,
    suggest(text, ['manual', 'dynamic', 'vip']),
  );
  return undefined;
}

function readSubnet(network: DocumentCursor, index: number): Omit<NetworkDefinition, 'name' | 'type'> {
  const subnets = network.get('subnets');
  const [subnet, second] = subnets.items();
  const empty = { range: undefined, gateway: '', dns: [], cloudProperties: {} };
  if (subnet === undefined || second !== undefined) {
    subnets.fail(`networks[${index}].subnets must be of size 1`);
    return empty;
  }
  const prefix = `networks[${index}].subnets[0]`;
  const rangeText = subnet.get('range').text();
  const range = parseIpRange(rangeText);
  if (rangeText === '') subnet.get('range').fail(`${prefix}.range must be provided`);
  else if (range === undefined) subnet.get('range').fail(`${prefix}.range must be an ip range`);
  const gateway = subnet.get('gateway').text();
  checkGateway(subnet.get('gateway'), gateway, range, rangeText, prefix);
  return {
    range,
    gateway,
    dns: subnet.get('dns').texts(),
    cloudProperties: subnet.get('cloud_properties').map(),
  };
}

function checkGateway(
  cursor: DocumentCursor,
  gateway: string,
  range: IpRange | undefined,
  rangeText: string,
  prefix: string,
): void {
  if (gateway === '') {
    cursor.fail(`${prefix}.gateway must be provided`);
    return;
  }
  const address = parseIp(gateway);
  if (address === undefined) cursor.fail(`${prefix}.gateway must be an ip`);
  else if (range === undefined) return;
  else if (!rangeContains(range, address)) {
    cursor.fail(
      `subnet gateway '${gateway}' must be within the specified range '${canonicalRange(range, rangeText)}'`,
    );
  } else if (address.value === range.first) {
    cursor.fail(`subnet gateway can't be the network address '${gateway}'`);
  } else if (address.value === range.last) {
    cursor.fail(`subnet gateway can't be the broadcast address '${gateway}'`);
  }
}

/** The range with its host bits cleared. */
function canonicalRange(range: IpRange, text: string): string {
  if (range.family === 6 && parseIp(text.split('/')[0] ?? '')?.value === range.first) return text;
  const first = range.family === 4 ? formatIpv4(range.first) : formatIpv6Groups(range.first);
  return `${first}/${range.prefixLength}`;
}

/** Checks the networks of the one group and gives what CPI and agent get, keyed by network name. */
export function readGroupNetworks(
  group: DocumentCursor,
  groupIndex: number,
  networks: ReadonlyMap<string, NetworkDefinition>,
): NetworksSpec {
  const list = group.get('networks');
  const entries = list.items();
  if (entries.length === 0) list.fail(`jobs[${groupIndex}].networks must be a non-empty array`);
  const result: Record<string, NetworkSpec> = {};
  const defaults = new Map<string, number>([
    ['dns', 0],
    ['gateway', 0],
  ]);
  entries.forEach((entry, index) => {
    const spec = readGroupNetwork(
      entry,
      `jobs[${groupIndex}].networks[${index}]`,
      networks,
      entries.length === 1,
    );
    for (const name of entry.get('default').texts()) defaults.set(name, (defaults.get(name) ?? 0) + 1);
    if (spec !== undefined) result[entry.get('name').text()] = spec;
  });
  if (entries.length > 1) checkDefaults(list, defaults);
  return result;
}

function checkDefaults(list: DocumentCursor, defaults: ReadonlyMap<string, number>): void {
  for (const name of ['dns', 'gateway']) {
    const count = defaults.get(name) ?? 0;
    if (count === 0) list.fail(`with multiple networks, a default for '${name}' must be specified`);
    if (count > 1) list.fail(`only one network can be the default for '${name}'`);
  }
}

function readGroupNetwork(
  entry: DocumentCursor,
  prefix: string,
  networks: ReadonlyMap<string, NetworkDefinition>,
  single: boolean,
): NetworkSpec | undefined {
  const name = entry.get('name').text();
  const network = networks.get(name);
  if (name === '') entry.fail(`${prefix}.name must be provided`);
  else if (network === undefined)
    entry.get('name').fail(`${prefix} not found in networks`, suggest(name, networks.keys()));
  const ips = checkStaticIps(entry, prefix, network);
  const stated = readDefaults(entry, prefix);
  if (network === undefined) return undefined;
  const ip = ips[0];
  if (network.type === 'manual' && ip === undefined) {
    entry.fail(`${prefix} must have a static ip because network '${name}' is manual`);
  }
  return {
    type: network.type,
    ...(ip === undefined ? {} : { ip }),
    ...(network.type === 'manual' && network.range !== undefined
      ? { netmask: netmaskOf(network.range), gateway: network.gateway }
      : {}),
    ...(network.dns.length === 0 || network.type === 'vip' ? {} : { dns: network.dns }),
    cloud_properties: network.cloudProperties,
    ...(single ? { default: ['dns', 'gateway'] as const } : stated.length === 0 ? {} : { default: stated }),
  };
}

function checkStaticIps(
  entry: DocumentCursor,
  prefix: string,
  network: NetworkDefinition | undefined,
): string[] {
  return entry
    .get('static_ips')
    .items()
    .map((item, index) => {
      const text = item.text();
      const address = parseIp(text);
      if (address === undefined) item.fail(`${prefix}.static_ips[${index}] must be a valid IP`);
      else if (network?.range !== undefined && !rangeContains(network.range, address)) {
        item.fail(`${prefix} static ip '${text}' must be within subnet range`);
      }
      return text;
    });
}

function readDefaults(entry: DocumentCursor, prefix: string): ('dns' | 'gateway')[] {
  return entry
    .get('default')
    .items()
    .flatMap((item, index) => {
      const text = item.text();
      if (text === 'dns' || text === 'gateway') return [text];
      item.fail(`${prefix}.default[${index}] must be 'dns' or 'gateway'`, suggest(text, ['dns', 'gateway']));
      return [];
    });
}
