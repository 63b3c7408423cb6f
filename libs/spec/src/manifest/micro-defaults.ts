import { isJsonObject, type Json, type JsonObject } from '@microbosh/errors';

/** Plug-ins of the original, and ours that take the same manifest. */
export const microPlugins = ['aws', 'openstack', 'vcloud', 'vsphere', 'local', 'qemu'] as const;
export type MicroPlugin = (typeof microPlugins)[number];

const agent: JsonObject = {
  ntp: [],
  blobstore: { provider: 'local', options: { blobstore_path: '/var/vcap/micro_bosh/data/cache' } },
  mbus: null,
};

const common: JsonObject = {
  name: null,
  dir: null,
  logging: { level: 'INFO' },
  env: { bosh: { password: null } },
  apply_spec: { properties: {}, agent: { blobstore: {}, nats: {} } },
};

const smallFlavor: JsonObject = {
  persistent_disk: 4096,
  cloud_properties: { instance_type: 'm1.small', availability_zone: null },
};
const smallMachine: JsonObject = {
  persistent_disk: 4096,
  cloud_properties: { ram: 1024, disk: 4096, cpu: 1 },
};
const dynamicNetwork: JsonObject = { type: 'dynamic', cloud_properties: {} };

/** Defaults per plug-in, reference micro-deployer §3.3. */
const defaults: Readonly<Record<MicroPlugin, JsonObject>> = {
  aws: {
    ...common,
    network: dynamicNetwork,
    resources: smallFlavor,
    cloud: {
      plugin: 'aws',
      properties: {
        aws: {
          access_key_id: null,
          secret_access_key: null,
          ec2_endpoint: null,
          max_retries: 2,
          http_read_timeout: 60,
          http_wire_trace: false,
          default_key_name: null,
          default_security_groups: [],
          ssh_user: 'vcap',
        },
        registry: { endpoint: 'http://admin:admin@localhost:25888', user: 'admin', password: 'admin' },
        stemcell: { kernel_id: null, disk: 4096 },
        agent,
      },
    },
  },
  openstack: {
    ...common,
    network: dynamicNetwork,
    resources: smallFlavor,
    cloud: {
      plugin: 'openstack',
      properties: {
        openstack: {
          auth_url: null,
          username: null,
          api_key: null,
          tenant: null,
          region: null,
          endpoint_type: 'publicURL',
          wait_resource_poll_interval: 5,
          default_key_name: null,
          default_security_groups: [],
          ssh_user: 'vcap',
          config_drive: null,
        },
        registry: { endpoint: 'http://admin:admin@localhost:25889', user: 'admin', password: 'admin' },
        agent,
      },
    },
  },
  vcloud: {
    ...common,
    network: { dns: [], cloud_properties: { name: null } },
    resources: smallMachine,
    cloud: { plugin: 'vcloud', properties: { vcds: [], agent } },
  },
  vsphere: {
    ...common,
    network: { ip: null, netmask: null, gateway: null, dns: [], cloud_properties: { name: null } },
    resources: smallMachine,
    cloud: { plugin: 'vsphere', properties: { vcenters: [], agent } },
  },
  local: {
    ...common,
    network: { dns: [], cloud_properties: {} },
    resources: { persistent_disk: 4096, cloud_properties: {} },
    cloud: { plugin: 'local', properties: { agent } },
  },
  qemu: {
    ...common,
    network: { dns: [], cloud_properties: {} },
    resources: { persistent_disk: 4096, cloud_properties: {} },
    cloud: { plugin: 'qemu', properties: { agent } },
  },
};

export function isMicroPlugin(name: string): name is MicroPlugin {
  return microPlugins.some((plugin) => plugin === name);
}

/**
 * The manifest over its plug-in's defaults: maps merge key by key, lists are joined without repetition, anything else,
 * null too, replaces the default.
 */
export function withMicroDefaults(manifest: JsonObject, plugin: MicroPlugin): JsonObject {
  return mergeMaps(defaults[plugin], manifest);
}

function mergeMaps(base: JsonObject, over: JsonObject): JsonObject {
  const result: Record<string, Json> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const below = Object.hasOwn(base, key) ? base[key] : undefined;
    result[key] = below === undefined ? value : merge(below, value);
  }
  return result;
}

function merge(base: Json, over: Json): Json {
  if (isJsonObject(base) && isJsonObject(over)) return mergeMaps(base, over);
  if (isList(base) && isList(over)) return unique([...base, ...over]);
  return over;
}

function unique(items: readonly Json[]): Json[] {
  const seen = new Set<string>();
  return items.filter((item) => {
    const text = JSON.stringify(item);
    if (seen.has(text)) return false;
    seen.add(text);
    return true;
  });
}

function isList(value: Json): value is readonly Json[] {
  return Array.isArray(value);
}
