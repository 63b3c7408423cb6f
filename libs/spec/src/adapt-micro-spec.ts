import { isJsonObject, type Json, type JsonObject } from '@microbosh/errors';
import type { MicroModel } from './deployment-model.ts';

const iaasKeys: Readonly<Record<string, string>> = {
  aws: 'aws',
  openstack: 'openstack',
  vcloud: 'vcd',
  vsphere: 'vcenter',
};

/** The key of `properties` that tells a micro deployment about its IaaS; undefined for our own clouds. */
export function microIaasKey(plugin: string): string | undefined {
  return Object.hasOwn(iaasKeys, plugin) ? iaasKeys[plugin] : undefined;
}

/** Keys of `apply_spec.properties` that count. */
export function microOverrides(plugin: string): readonly string[] {
  const iaasKey = microIaasKey(plugin);
  const services = ['blobstore', 'nats', 'registry', 'dns', 'director', 'redis', 'hm'];
  return [...services, 'ntp', 'compiled_package_cache', ...(iaasKey === undefined ? [] : [iaasKey])];
}

const INTERNAL_IP = '127.0.0.1';

/**
 * Changes the apply spec that a micro stemcell carries for this deployment (reference micro-deployer §8.3, §8.4):
 * properties of the IaaS, addresses, and the manifest's overrides, which are merged one level deep.
 */
export function adaptMicroApplySpec(
  spec: JsonObject,
  input: { readonly name: string; readonly micro: MicroModel; readonly agentServicesIp: string },
): JsonObject {
  const { micro, agentServicesIp } = input;
  const overrides = micro.applySpec.properties;
  const properties: Record<string, Json> = { ...mapAt(spec, 'properties') };
  addIaasProperties(properties, micro);
  properties['director'] = { ...mapAt(properties, 'director'), name: input.name };
  const agent: Record<string, Json> = { ...mapAt(properties, 'agent') };
  for (const service of ['blobstore', 'nats']) {
    agent[service] = {
      ...mapAt(agent, service),
      address: agentServicesIp,
      ...mapAt(micro.applySpec.agent, service),
    };
  }
  properties['agent'] = agent;
  const addressed: readonly (readonly [string, string])[] = [
    ['blobstore', INTERNAL_IP],
    ['nats', INTERNAL_IP],
    ['registry', agentServicesIp],
    ['dns', agentServicesIp],
    ['director', INTERNAL_IP],
    ['redis', INTERNAL_IP],
  ];
  for (const [service, address] of addressed) {
    if (properties[service] === undefined) continue;
    properties[service] = { ...mapAt(properties, service), address, ...mapAt(overrides, service) };
  }
  if (isJsonObject(overrides['hm'])) properties['hm'] = { ...mapAt(properties, 'hm'), ...overrides['hm'] };
  for (const name of ['ntp', 'compiled_package_cache']) {
    const value = overrides[name];
    if (value !== undefined && value !== null) properties[name] = value;
  }
  const result: Record<string, Json> = { ...spec, properties };
  if (micro.plugin === 'aws' || micro.plugin === 'openstack') delete result['networks'];
  return result;
}

function addIaasProperties(properties: Record<string, Json>, micro: MicroModel): void {
  const overrides = micro.applySpec.properties;
  const cloud = micro.cloudProperties;
  switch (micro.plugin) {
    case 'aws':
    case 'openstack':
      properties[micro.plugin] = {
        ...(isJsonObject(overrides[micro.plugin])
          ? mapAt(overrides, micro.plugin)
          : mapAt(cloud, micro.plugin)),
        registry: cloud['registry'] ?? null,
        stemcell: cloud['stemcell'] ?? null,
      };
      break;
    case 'vcloud':
      properties['vcd'] = withAddress(overrides['vcd'] ?? firstOf(cloud['vcds']), 'url');
      break;
    case 'vsphere':
      properties['vcenter'] = withAddress(overrides['vcenter'] ?? firstOf(cloud['vcenters']), 'host');
      break;
    default:
  }
}

function withAddress(value: Json | undefined, source: string): JsonObject {
  const map = isJsonObject(value) ? value : {};
  const address = map['address'] ?? map[source];
  return address === undefined ? map : { ...map, address };
}

function firstOf(value: Json | undefined): Json | undefined {
  return Array.isArray(value) ? (value as readonly Json[])[0] : undefined;
}

function mapAt(map: JsonObject, key: string): JsonObject {
  const value = Object.hasOwn(map, key) ? map[key] : undefined;
  return isJsonObject(value) ? value : {};
}
