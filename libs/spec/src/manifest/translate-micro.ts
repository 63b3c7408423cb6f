import { createHash } from 'node:crypto';
import { isJsonObject, type Json, type JsonObject } from '@microbosh/errors';
import { microOverrides } from '../adapt-micro-spec.ts';
import type { ArtifactRef, DeploymentModel, MicroModel, SshTunnel } from '../deployment-model.ts';
import type { NetworkSpec, NetworksSpec } from '../networks.ts';
import { emitYaml } from '../yaml/emit-yaml.ts';
import { parseYaml } from '../yaml/parse-yaml.ts';
import { childOf, isNull, type YamlNode } from '../yaml/yaml-node.ts';
import { checkStructure } from './check-structure.ts';
import { DocumentCursor } from './document-cursor.ts';
import { propertyLocator } from './locate-property.ts';
import { ManifestInvalid, type ManifestProblem } from './manifest-problem.ts';
import { isMicroPlugin, microPlugins, withMicroDefaults, type MicroPlugin } from './micro-defaults.ts';
import { microManifestSchema } from './micro-schema.ts';
import { readLimits } from './read-limits.ts';
import { readReadiness } from './read-readiness.ts';
import { resolvePath, type PathContext } from './resolve-url.ts';
import { suggest } from './suggest.ts';

export interface TranslateMicroOptions extends PathContext {
  readonly file: string;
  /** What the command names; absent: the image of `resources.cloud_properties.image_id`. */
  readonly stemcell?: ArtifactRef;
  /** Image in the cloud that the command names; wins over that of the manifest. */
  readonly image?: string;
  /** The deployment is not made now: it need not name a stemcell. Default false. */
  readonly stemcellOptional?: boolean;
  /** Contents of the files that `microReferencedFiles` named, by absolute path. */
  readonly files?: ReadonlyMap<string, string>;
  readonly strict?: boolean;
}

/** Parses `micro_bosh.yml` (after its ERB tags are evaluated): Ruby's YAML, no duplicate keys. */
export function parseMicroManifest(text: string, file: string): YamlNode {
  return parseYaml(text, { file, dialect: 'psych' });
}

/** Absolute paths of the private keys that the manifest names. */
export function microReferencedFiles(root: YamlNode, context: PathContext): string[] {
  const properties = childOf(childOf(root, 'cloud'), 'properties');
  const keys = [
    childOf(childOf(properties, 'aws'), 'ec2_private_key'),
    childOf(childOf(properties, 'openstack'), 'private_key'),
  ];
  return keys.flatMap((key) =>
    key?.kind === 'scalar' && !isNull(key) ? [resolvePath(String(key.value), context)] : [],
  );
}

/**
 * Checks `micro_bosh.yml`, puts it over its plug-in's defaults and translates it (reference micro-deployer §3).
 * Throws `ManifestInvalid` with all problems.
 */
export function translateMicroManifest(
  root: YamlNode,
  options: TranslateMicroOptions,
): { readonly model: DeploymentModel; readonly warnings: readonly ManifestProblem[] } {
  const problems = checkStructure(root, microManifestSchema);
  const cursor = DocumentCursor.atRoot(root, problems);
  const plugin = readPlugin(cursor);
  const merged = withMicroDefaults(cursor.map(), plugin);
  const name = cursor.get('name').text();
  if (name === '') cursor.get('name').fail('name must be provided');
  if ('network' in merged && !isJsonObject(merged['network']))
    cursor.get('network').fail('network must be a map');
  checkOverrides(cursor.get('apply_spec').get('properties'), plugin);
  const network = mapAt(merged, 'network');
  const resources = mapAt(merged, 'resources');
  const cloudProperties = mapAt(mapAt(merged, 'cloud'), 'properties');
  const micro = {
    ...readMicroModel(merged, plugin, network, cloudProperties),
    ...(options.image === undefined ? {} : { imageId: options.image }),
  };
  const sshTunnel = readTunnel(cursor, plugin, cloudProperties, micro.clientServicesIp, options);
  const executable = textAt(mapAt(mapAt(merged, 'cloud'), 'provider'), 'path');
  const mbus = readMbus(cursor, cloudProperties, micro.clientServicesIp);
  const disk = resources['persistent_disk'];
  if (typeof disk !== 'number' || disk <= 0) {
    cursor.get('resources').get('persistent_disk').fail('resources.persistent_disk must be > 0');
  }
  const model: DeploymentModel = {
    name,
    source: 'micro',
    releases: [],
    cloud: {
      kind: 'built-in',
      plugin,
      ...(executable === undefined ? {} : { executable: resolvePath(executable, options) }),
      properties: withoutOwnRegistry(cloudProperties),
      ...(mbus === undefined ? {} : { mbus }),
      ...(sshTunnel === undefined ? {} : { sshTunnel }),
    },
    stemcell: options.stemcell ?? { url: '' },
    networks: readNetworks(cursor, network, merged['deployment_network']),
    vm: { cloudProperties: mapAt(resources, 'cloud_properties'), env: withoutNulls(mapAt(merged, 'env')) },
    persistentDisk: {
      sizeMiB: typeof disk === 'number' ? disk : 0,
      cloudProperties: mapAt(resources, 'persistent_disk_cloud_properties'),
    },
    group: { name: 'micro', jobs: [], properties: {} },
    properties: {},
    tags: {},
    updateWatchTimeMs: { min: 0, max: 300_000 },
    readiness: readReadiness(cursor.get('readiness')),
    ...(cursor.get('limits').present ? { limits: readLimits(cursor.get('limits')) } : {}),
    manifestSha: createHash('sha512').update(emitYaml(root)).digest('hex'),
    locate: propertyLocator(root),
    micro,
  };
  if (options.stemcell === undefined && micro.imageId === undefined && options.stemcellOptional !== true) {
    cursor
      .get('resources')
      .get('cloud_properties')
      .fail('No stemcell is given, and resources.cloud_properties.image_id names no image');
  }
  const fatal = options.strict === true ? problems : problems.filter(({ severity }) => severity === 'error');
  if (fatal.length > 0) throw new ManifestInvalid(`Validating manifest '${options.file}'`, fatal);
  return { model, warnings: problems };
}

function readPlugin(root: DocumentCursor): MicroPlugin {
  const cursor = root.get('cloud').get('plugin');
  const plugin = cursor.text();
  if (isMicroPlugin(plugin)) return plugin;
  if (plugin === '') cursor.fail('cloud.plugin must be provided');
  else
    cursor.fail(
      `Could not find Provider Plugin: ${plugin} (cloud.plugin must be one of ${microPlugins.join(', ')})`,
      suggest(plugin, microPlugins),
    );
  return 'local';
}

function readMicroModel(
  merged: JsonObject,
  plugin: MicroPlugin,
  network: JsonObject,
  cloudProperties: JsonObject,
): MicroModel {
  const vip = textAt(network, 'vip');
  const ip = textAt(network, 'ip');
  const deploymentIp = textAt(mapAt(merged, 'deployment_network'), 'ip');
  const clientServicesIp = vip ?? ip;
  const agentServicesIp = network['type'] === 'dynamic' ? vip : (deploymentIp ?? ip);
  const imageId = textAt(mapAt(mapAt(merged, 'resources'), 'cloud_properties'), 'image_id');
  const applySpec = mapAt(merged, 'apply_spec');
  return {
    plugin,
    applySpec: { agent: mapAt(applySpec, 'agent'), properties: mapAt(applySpec, 'properties') },
    cloudProperties,
    ...(clientServicesIp === undefined ? {} : { clientServicesIp }),
    ...(agentServicesIp === undefined ? {} : { agentServicesIp }),
    ...(imageId === undefined ? {} : { imageId }),
  };
}

function readNetworks(
  root: DocumentCursor,
  network: JsonObject,
  deploymentNetwork: Json | undefined,
): NetworksSpec {
  const ip = textAt(network, 'ip');
  const stated = textAt(network, 'type');
  if (stated !== undefined && stated !== 'dynamic' && stated !== 'manual') {
    root
      .get('network')
      .get('type')
      .fail("network.type must be 'dynamic' or 'manual'", suggest(stated, ['dynamic', 'manual']));
  }
  const type = stated === 'dynamic' || (stated === undefined && ip === undefined) ? 'dynamic' : 'manual';
  const vip = textAt(network, 'vip');
  const cloudProperties = mapAt(network, 'cloud_properties');
  const bosh: NetworkSpec = {
    type,
    ...pick(network, ['ip', 'netmask', 'gateway']),
    ...(Array.isArray(network['dns']) ? { dns: network['dns'].map(String) } : {}),
    cloud_properties: cloudProperties,
    default: ['dns', 'gateway'],
  };
  return {
    bosh,
    ...(vip === undefined
      ? {}
      : { vip: { type: 'vip' as const, ip: vip, cloud_properties: cloudProperties } }),
    ...(isJsonObject(deploymentNetwork) ? { deployment: passedThrough(deploymentNetwork) } : {}),
  };
}

/** Passed on verbatim; only a missing type is filled in, because CPIs look at it. */
function passedThrough(network: JsonObject): NetworkSpec {
  const type = network['type'];
  return {
    ...network,
    type: type === 'dynamic' || type === 'vip' || type === 'manual' ? type : 'manual',
  };
}

/** The message bus as it is called: 0.0.0.0 is where the agent listens, on whatever address the VM has. */
function readMbus(
  root: DocumentCursor,
  cloudProperties: JsonObject,
  ip: string | undefined,
): string | undefined {
  const text = textAt(mapAt(cloudProperties, 'agent'), 'mbus');
  if (text === undefined) return undefined;
  const cursor = root.get('cloud').get('properties').get('agent').get('mbus');
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    cursor.fail('cloud.properties.agent.mbus must be a URL');
    return undefined;
  }
  if (url.username === '' || url.password === '') {
    cursor.fail('cloud.properties.agent.mbus must contain user and password');
  }
  if (ip !== undefined && url.hostname === '0.0.0.0') url.hostname = ip.includes(':') ? `[${ip}]` : ip;
  return url.href.replace(/\/$/, '');
}

/** SSH to the VM, over which the original brings its registry there (aws, openstack). */
function readTunnel(
  root: DocumentCursor,
  plugin: MicroPlugin,
  cloudProperties: JsonObject,
  host: string | undefined,
  options: TranslateMicroOptions,
): SshTunnel | undefined {
  if (plugin !== 'aws' && plugin !== 'openstack') return undefined;
  const keyName = plugin === 'aws' ? 'ec2_private_key' : 'private_key';
  const iaas = mapAt(cloudProperties, plugin);
  const keyPath = textAt(iaas, keyName);
  if (keyPath === undefined) return undefined;
  const path = resolvePath(keyPath, options);
  const privateKey = options.files?.get(path);
  if (privateKey === undefined) {
    root.get('cloud').get('properties').get(plugin).get(keyName).fail(`Reading private key from ${path}`);
    return undefined;
  }
  const port = iaas['ssh_port'];
  return {
    host: host ?? '',
    port: typeof port === 'number' ? port : 22,
    user: textAt(iaas, 'ssh_user') ?? 'vcap',
    privateKey,
  };
}

/** A registry on this machine is the deployer's own, not one to use. */
function withoutOwnRegistry(cloudProperties: JsonObject): JsonObject {
  const endpoint = textAt(mapAt(cloudProperties, 'registry'), 'endpoint');
  if (
    endpoint !== undefined &&
    !/^https?:\/\/(?:[^@/]*@)?(?:localhost|127\.0\.0\.1|\[::1\])(?::|\/|$)/.test(endpoint)
  ) {
    return cloudProperties;
  }
  return Object.fromEntries(Object.entries(cloudProperties).filter(([key]) => key !== 'registry'));
}

/** The original ignores other keys silently. */
function checkOverrides(properties: DocumentCursor, plugin: MicroPlugin): void {
  const known = microOverrides(plugin);
  for (const key of Object.keys(properties.map())) {
    if (known.includes(key)) continue;
    properties.get(key).warn(`apply_spec.properties.${key} is not used`, suggest(key, known));
  }
}

function mapAt(map: JsonObject, key: string): JsonObject {
  const value = Object.hasOwn(map, key) ? map[key] : undefined;
  return isJsonObject(value) ? value : {};
}

/** undefined for null, absent and empty. */
function textAt(map: JsonObject, key: string): string | undefined {
  const value = Object.hasOwn(map, key) ? map[key] : undefined;
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function pick(map: JsonObject, keys: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    keys.flatMap((key) => {
      const value = textAt(map, key);
      return value === undefined ? [] : [[key, value] as const];
    }),
  );
}

function withoutNulls(map: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(map).flatMap(([key, value]) => {
      if (value === null) return [];
      return [[key, isJsonObject(value) ? withoutNulls(value) : value] as const];
    }),
  );
}
