import { createPrivateKey } from 'node:crypto';
import type { JsonObject } from '@microbosh/errors';
import { messageOf } from '@microbosh/errors';
import { DigestInvalid, parseDigest } from '../digest.ts';
import type {
  ArtifactRef,
  BuiltInCloud,
  DeploymentModel,
  DiskStrategy,
  JobRef,
  PersistentDiskModel,
  ReleaseCloud,
  ReleaseRef,
  SshTunnel,
  VmStrategy,
} from '../deployment-model.ts';
import type { EvaluatedManifest } from '../evaluate-manifest.ts';
import { childOf, isNull, type YamlNode } from '../yaml/yaml-node.ts';
import { checkStructure } from './check-structure.ts';
import { createEnvManifestSchema } from './create-env-schema.ts';
import { DocumentCursor } from './document-cursor.ts';
import { ManifestInvalid, type ManifestProblem } from './manifest-problem.ts';
import { isArtifactUrl, isHttpUrl, resolvePath, resolveUrl, type PathContext } from './resolve-url.ts';
import { propertyLocator, type LocateProperty } from './locate-property.ts';
import { readJobLinks } from './read-job-links.ts';
import { readLimits } from './read-limits.ts';
import { readPem } from './read-pem.ts';
import { readReadiness } from './read-readiness.ts';
import { suggest } from './suggest.ts';
import { readGroupNetworks, readNetworks } from './translate-networks.ts';

export const builtInPlugins = ['local', 'qemu', 'openstack', 'aws', 'vsphere', 'vcloud'] as const;

export interface TranslateOptions extends PathContext {
  /** Manifest path as the operator gave it, for messages. */
  readonly file: string;
  /** Contents of the files that `referencedFiles` named, by absolute path. */
  readonly files?: ReadonlyMap<string, string>;
  /** Unknown keys are errors too. Default false: the original ignores them. */
  readonly strict?: boolean;
}

export interface TranslatedManifest {
  readonly model: DeploymentModel;
  readonly warnings: readonly ManifestProblem[];
}

/** Absolute paths of files that the manifest refers to and that translation needs the content of. */
export function referencedFiles(root: YamlNode, context: PathContext): string[] {
  const key = childOf(childOf(childOf(root, 'cloud_provider'), 'ssh_tunnel'), 'private_key');
  if (key?.kind !== 'scalar' || isNull(key)) return [];
  const text = String(key.value);
  return text === '' || text.startsWith('----') ? [] : [resolvePath(text, context)];
}

/**
 * Checks an evaluated create-env manifest and translates it (reference create-env §5). Throws `ManifestInvalid` with
 * all problems of all parts of the document.
 */
export function translateCreateEnvManifest(
  manifest: Pick<EvaluatedManifest, 'root' | 'manifestSha'>,
  options: TranslateOptions,
): TranslatedManifest {
  const problems = checkStructure(manifest.root, createEnvManifestSchema);
  const root = DocumentCursor.atRoot(manifest.root, problems);
  const releases = readReleases(root, options);
  const releaseNames = releases.map(({ name }) => name);
  const locate = propertyLocator(manifest.root);
  const cloud = readCloud(root.get('cloud_provider'), releases, locate, options);
  const name = root.get('name').text();
  if (name === '') root.get('name').fail('name must be provided');
  const networks = readNetworks(root.get('networks'));
  const pools = readResourcePools(root.get('resource_pools'), networks, options);
  const diskPools = readDiskPools(root.get('disk_pools'));
  const group = readGroup(root);
  const groupCursor = group.cursor;
  const jobs = readJobs(groupCursor, releaseNames);
  const disk = readPersistentDisk(groupCursor, diskPools);
  const pool = readPoolOfGroup(groupCursor, pools);
  const model: DeploymentModel = {
    name,
    source: 'create-env',
    releases,
    cloud,
    stemcell: pool?.stemcell ?? { url: '' },
    networks: readGroupNetworks(groupCursor, 0, networks),
    vm: { cloudProperties: pool?.cloudProperties ?? {}, env: pool?.env ?? {} },
    ...(disk === undefined ? {} : { persistentDisk: disk }),
    group: { name: groupCursor.get('name').text(), jobs, properties: groupCursor.get('properties').map() },
    properties: root.get('properties').map(),
    tags: readTags(root.get('tags')),
    updateWatchTimeMs: readWatchTime(root.get('update').get('update_watch_time')),
    readiness: readReadiness(root.get('readiness')),
    ...readOwnKeys(root),
    manifestSha: manifest.manifestSha,
    locate,
  };
  const fatal = options.strict === true ? problems : problems.filter(({ severity }) => severity === 'error');
  if (fatal.length > 0) throw new ManifestInvalid(`Validating manifest '${options.file}'`, fatal);
  return { model, warnings: problems };
}

function readOwnKeys(root: DocumentCursor): Pick<DeploymentModel, 'limits' | 'vmStrategy' | 'diskStrategy'> {
  const vmStrategy = readStrategy(root, 'vm_strategy', vmStrategies);
  const diskStrategy = readStrategy(root, 'disk_strategy', diskStrategies);
  return {
    ...(root.get('limits').present ? { limits: readLimits(root.get('limits')) } : {}),
    ...(vmStrategy === undefined ? {} : { vmStrategy }),
    ...(diskStrategy === undefined ? {} : { diskStrategy }),
  };
}

const vmStrategies: readonly VmStrategy[] = ['create-swap-delete', 'delete-create'];
const diskStrategies: readonly DiskStrategy[] = ['copy', 'resize'];

function readStrategy<T extends string>(
  root: DocumentCursor,
  key: string,
  strategies: readonly T[],
): T | undefined {
  const given = root.get('update').get(key);
  const strategy = strategies.find((known) => known === given.text());
  if (given.present && strategy === undefined) {
    given.fail(`update.${key} must be one of ${strategies.join(', ')}`);
  }
  return strategy;
}

function readReleases(root: DocumentCursor, options: TranslateOptions): ReleaseRef[] {
  const list = root.get('releases');
  const items = list.items();
  const seen = new Set<string>();
  // A built-in CPI with a stemcell that has everything inside needs no release.
  const builtIn = root.get('cloud_provider').get('plugin').present;
  if (items.length === 0 && !builtIn) list.fail('releases must contain at least 1 release');
  return items.map((release, index) => {
    const name = release.get('name').text();
    if (name === '') release.fail(`releases[${index}].name must be provided`);
    else if (seen.has(name)) release.get('name').fail(`releases[${index}].name '${name}' must be unique`);
    seen.add(name);
    return { name, ...readArtifact(release, `releases[${index}]`, options) };
  });
}

function readArtifact(cursor: DocumentCursor, prefix: string, options: TranslateOptions): ArtifactRef {
  const url = resolveUrl(cursor.get('url').text(), options);
  const sha1 = cursor.get('sha1').text();
  if (!isArtifactUrl(url))
    cursor.get('url').fail(`${prefix}.url must be a valid URL (file:// or http(s)://)`);
  else if (isHttpUrl(url) && sha1 === '') cursor.fail(`${prefix}.sha1 must be provided for http URL`);
  if (sha1 === '') return { url };
  try {
    parseDigest(sha1);
  } catch (error) {
    if (!(error instanceof DigestInvalid)) throw error;
    cursor.get('sha1').fail(`${prefix}.sha1 must be a digest: ${messageOf(error)}`);
  }
  return { url, sha1 };
}

function readCloud(
  cloud: DocumentCursor,
  releases: readonly ReleaseRef[],
  locate: LocateProperty,
  options: TranslateOptions,
): BuiltInCloud | ReleaseCloud {
  const mbus = cloud.get('mbus').text();
  const mbusCa = readPem(cloud.get('cert').get('ca'), 'Invalid CA cert');
  const sshTunnel = readSshTunnel(cloud.get('ssh_tunnel'), options);
  const common = {
    properties: cloud.get('properties').map(),
    ...(mbus === '' ? {} : { mbus }),
    ...(mbusCa === undefined ? {} : { mbusCa }),
    ...(sshTunnel === undefined ? {} : { sshTunnel }),
  };
  const plugin = cloud.get('plugin').text();
  if (plugin === '') {
    const templates = readTemplates(
      cloud,
      releases.map(({ name }) => name),
    );
    const named = releases.filter(({ name }) => templates.some(({ release }) => release === name));
    return { kind: 'release', templates, releases: named, ...common, locate };
  }
  if (!builtInPlugins.some((known) => known === plugin)) {
    cloud
      .get('plugin')
      .fail(
        `cloud_provider.plugin '${plugin}' must be one of ${builtInPlugins.join(', ')}`,
        suggest(plugin, builtInPlugins),
      );
  }
  return { kind: 'built-in', plugin, ...common };
}

function readTemplates(
  cloud: DocumentCursor,
  releases: readonly string[],
): { name: string; release: string }[] {
  const several = cloud.get('templates').items();
  const cursors = several.length > 0 ? several : [cloud.get('template')];
  const names = new Map<string, number>();
  const templates = cursors.map((cursor) => {
    const name = cursor.get('name').text();
    const release = cursor.get('release').text();
    names.set(name, (names.get(name) ?? 0) + 1);
    if (name === '') cursor.get('name').fail('cloud_provider.template.name must be provided');
    if (release === '') cursor.get('release').fail('cloud_provider.template.release must be provided');
    if (!releases.includes(release)) {
      cursor
        .get('release')
        .fail(
          `cloud_provider.template.release '${release}' must refer to a release in releases`,
          suggest(release, releases),
        );
    }
    return { name, release };
  });
  const twice = [...names].filter(([, count]) => count > 1).map(([name]) => `'${name}'`);
  if (twice.length > 0) {
    cloud
      .get('templates')
      .fail(`Duplicate templates names are illegal. Duplicate template names found: ${twice.join(', ')}`);
  }
  return templates;
}

function readSshTunnel(tunnel: DocumentCursor, options: TranslateOptions): SshTunnel | undefined {
  if (!tunnel.present) return undefined;
  const password = tunnel.get('password').text();
  const privateKey = readPrivateKey(tunnel.get('private_key'), options);
  return {
    host: tunnel.get('host').text(),
    port: tunnel.get('port').integer(),
    user: tunnel.get('user').text(),
    ...(password === '' ? {} : { password }),
    ...(privateKey === undefined ? {} : { privateKey }),
  };
}

function readPrivateKey(cursor: DocumentCursor, options: TranslateOptions): string | undefined {
  const text = cursor.text();
  if (text === '') return undefined;
  const inline = text.startsWith('----');
  if (inline && !/^-----BEGIN (?:RSA|OPENSSH) PRIVATE KEY-----/.test(text)) {
    cursor.fail('Unsupported private key format for ssh tunnel');
    return undefined;
  }
  const path = resolvePath(text, options);
  const pem = inline ? text : options.files?.get(path);
  if (pem === undefined) {
    cursor.fail(`Reading private key from ${path}`);
    return undefined;
  }
  if (!isPrivateKey(pem)) cursor.fail('Invalid private key for ssh tunnel');
  return pem;
}

function isPrivateKey(pem: string): boolean {
  if (pem.startsWith('-----BEGIN OPENSSH PRIVATE KEY-----'))
    return pem.includes('-----END OPENSSH PRIVATE KEY-----');
  try {
    createPrivateKey(pem);
    return true;
  } catch {
    return false;
  }
}

interface ResourcePool {
  readonly stemcell: ArtifactRef;
  readonly cloudProperties: JsonObject;
  readonly env: JsonObject;
}

function readResourcePools(
  list: DocumentCursor,
  networks: ReadonlyMap<string, unknown>,
  options: TranslateOptions,
): ReadonlyMap<string, ResourcePool> {
  const pools = new Map<string, ResourcePool>();
  list.items().forEach((pool, index) => {
    const prefix = `resource_pools[${index}]`;
    const name = pool.get('name').text();
    const network = pool.get('network').text();
    if (name === '') pool.fail(`${prefix}.name must be provided`);
    if (network === '') pool.fail(`${prefix}.network must be provided`);
    else if (!networks.has(network)) {
      pool
        .get('network')
        .fail(`${prefix}.network must be the name of a network`, suggest(network, networks.keys()));
    }
    const env = pool.get('env').map();
    checkBoshEnv(pool.get('env').get('bosh'), env, prefix);
    pools.set(name, {
      stemcell: readArtifact(pool.get('stemcell'), `${prefix}.stemcell`, options),
      cloudProperties: pool.get('cloud_properties').map(),
      env,
    });
  });
  return pools;
}

/** The original crashes on this after the VM exists. */
function checkBoshEnv(bosh: DocumentCursor, env: JsonObject, prefix: string): void {
  const value = env['bosh'];
  if (bosh.present && (typeof value !== 'object' || Array.isArray(value)))
    bosh.fail(`${prefix}.env.bosh must be a map`);
}

function readPoolOfGroup(
  group: DocumentCursor,
  pools: ReadonlyMap<string, ResourcePool>,
): ResourcePool | undefined {
  const name = group.get('resource_pool').text();
  if (name === '') group.fail('jobs[0].resource_pool must be provided');
  else if (!pools.has(name)) {
    group
      .get('resource_pool')
      .fail('jobs[0].resource_pool must be the name of a resource pool', suggest(name, pools.keys()));
  }
  return pools.get(name);
}

function readDiskPools(list: DocumentCursor): ReadonlyMap<string, PersistentDiskModel> {
  const pools = new Map<string, PersistentDiskModel>();
  list.items().forEach((pool, index) => {
    const name = pool.get('name').text();
    const sizeMiB = pool.get('disk_size').integer();
    if (name === '') pool.fail(`disk_pools[${index}].name must be provided`);
    if (sizeMiB <= 0) pool.get('disk_size').fail(`disk_pools[${index}].disk_size must be > 0`);
    pools.set(name, { sizeMiB, cloudProperties: pool.get('cloud_properties').map() });
  });
  return pools;
}

function readPersistentDisk(
  group: DocumentCursor,
  pools: ReadonlyMap<string, PersistentDiskModel>,
): PersistentDiskModel | undefined {
  const sizeMiB = group.get('persistent_disk').integer();
  if (sizeMiB < 0) group.get('persistent_disk').fail('jobs[0].persistent_disk must be >= 0');
  const name = group.get('persistent_disk_pool').text();
  if (name === '') return sizeMiB > 0 ? { sizeMiB, cloudProperties: {} } : undefined;
  if (!pools.has(name)) {
    group
      .get('persistent_disk_pool')
      .fail('jobs[0].persistent_disk_pool must be the name of a disk pool', suggest(name, pools.keys()));
  }
  return pools.get(name);
}

function readGroup(root: DocumentCursor): { cursor: DocumentCursor } {
  if (root.get('jobs').present && root.get('instance_groups').present) {
    root.get('jobs').fail('Deployment specifies both jobs and instance_groups keys, only one is allowed');
  }
  const list = root.get('instance_groups').present ? root.get('instance_groups') : root.get('jobs');
  const [first, second] = list.items();
  if (first === undefined || second !== undefined) list.fail('jobs must be of size 1');
  const cursor = first ?? list;
  if (first !== undefined) checkGroup(cursor);
  return { cursor };
}

function checkGroup(group: DocumentCursor): void {
  const name = group.get('name').text();
  if (name === '') group.fail('jobs[0].name must be provided');
  const instances = group.get('instances').integer();
  if (instances < 0) group.get('instances').fail('jobs[0].instances must be >= 0');
  else if (instances !== 1) {
    group.get('instances').fail(`Job '${name}' must have only one instance, found ${instances}`);
  }
  const lifecycle = group.get('lifecycle').text();
  if (lifecycle !== '' && lifecycle !== 'service') {
    group.get('lifecycle').fail("jobs[0].lifecycle must be 'service' ('errand' not supported)");
  }
  if (group.get('jobs').present && group.get('templates').present) {
    group
      .get('templates')
      .fail(
        `Deployment specifies both templates and jobs keys for instance_group ${name}, only one is allowed`,
      );
  }
}

function readJobs(group: DocumentCursor, releases: readonly string[]): JobRef[] {
  const list = group.get('jobs').present ? group.get('jobs') : group.get('templates');
  const seen = new Set<string>();
  return list.items().map((job, index) => {
    const prefix = `jobs[0].templates[${index}]`;
    const name = job.get('name').text();
    const release = job.get('release').text();
    if (name === '') job.fail(`${prefix}.name must be provided`);
    else if (seen.has(name)) job.get('name').fail(`${prefix}.name '${name}' must be unique`);
    seen.add(name);
    if (release === '') job.fail(`${prefix}.release must be provided`);
    else if (!releases.includes(release)) {
      job
        .get('release')
        .fail(`${prefix}.release '${release}' must refer to release in releases`, suggest(release, releases));
    }
    const properties = job.get('properties');
    const hasLinks = ['consumes', 'provides', 'custom_provider_definitions'].some(
      (key) => job.get(key).present,
    );
    return {
      name,
      release,
      ...(properties.present ? { properties: properties.map() } : {}),
      ...(hasLinks ? { links: readJobLinks(job, name, group.get('name').text()) } : {}),
    };
  });
}

function readTags(tags: DocumentCursor): Record<string, string> {
  const result: Record<string, string> = {};
  for (const name of Object.keys(tags.map())) {
    result[name] = tags.get(name).text();
  }
  return result;
}

/** create-env takes a range only; a single number means to a Director what it means here. */
function readWatchTime(cursor: DocumentCursor): { min: number; max: number } {
  const text = cursor.text();
  if (text === '') return { min: 0, max: 300_000 };
  if (/^\s*\d+\s*$/.test(text)) return { min: Number(text), max: Number(text) };
  const [minText, maxText, more] = text.split('-');
  if (minText === undefined || maxText === undefined || more !== undefined) {
    cursor.fail(`Invalid watch time range '${text}'`);
    return { min: 0, max: 0 };
  }
  const min = Number(minText.trim());
  const max = Number(maxText.trim());
  if (!/^\s*\d+\s*$/.test(minText)) cursor.fail(`Non-positive number as watch time minimum ${minText}`);
  else if (!/^\s*\d+\s*$/.test(maxText)) cursor.fail(`Non-positive number as watch time maximum ${maxText}`);
  else if (max < min) cursor.fail(`Watch time must have maximum greater than or equal minimum ${text}`);
  return { min, max };
}
