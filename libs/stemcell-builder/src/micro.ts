import { createHash } from 'node:crypto';
import { copyFile, mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Json, JsonObject } from '@microbosh/errors';
import { isJsonObject } from '@microbosh/errors';
import type { CommandRunner } from '@microbosh/host';
import {
  parseJobManifest,
  parseReleaseManifest,
  planCompilation,
  type CompilePlan,
  type JobManifest,
  type PlannedPackage,
  type ReleaseManifest,
} from '@microbosh/spec';
import { MicroReleaseInvalid, StemcellRequestInvalid } from './errors.ts';
import type { Iaas } from './flavour.ts';

const longMs = 60 * 60_000;
/** The agent's own blobstore on a micro stemcell. */
const blobstore = 'var/vcap/micro_bosh/data/cache';

export interface MicroRequest {
  readonly release: string;
  /** In the order in which they run. */
  readonly jobs: readonly string[];
}

interface Blob {
  readonly blobstore_id: string;
  readonly sha1: string;
}

interface BakedJob extends Blob {
  readonly name: string;
  readonly version: string;
  readonly manifest: JobManifest;
}

/**
 * Compiles a release's packages inside of the root file system, puts them and the jobs into the blobstore that the agent
 * will have there, and writes the apply spec of a micro stemcell (`/var/vcap/micro/apply_spec.yml`). Answers its text.
 */
export async function bakeMicro(
  runner: CommandRunner,
  tree: string,
  work: string,
  iaas: Iaas,
  request: MicroRequest,
  onProgress: (message: string) => void,
): Promise<string> {
  const opened = join(work, 'release');
  await mkdir(opened);
  await runner.run(['tar', '-C', opened, '-xzf', request.release], { timeoutMs: longMs });
  const manifest = parseReleaseManifest(await readFile(join(opened, 'release.MF'), 'utf8'), 'release.MF');
  const jobs: BakedJob[] = [];
  for (const name of request.jobs) jobs.push(await bakeJob(runner, tree, opened, manifest, name));
  const plan = planCompilation({
    releases: [manifest],
    jobs: jobs.map((job) => ({
      name: job.name,
      release: manifest.name,
      packages: job.manifest.packages,
    })),
  });
  const compiled = new Map<string, Blob>();
  for (const key of plan.levels.flat()) {
    const entry = plan.packages.get(key);
    if (entry === undefined) continue;
    onProgress(`compiling ${entry.name}`);
    compiled.set(key, await bakePackage(runner, tree, opened, entry, dependenciesOf(entry, plan, compiled)));
  }
  const packages: Record<string, JsonObject> = {};
  for (const [name, key] of plan.installed) {
    const blob = compiled.get(key);
    const version = plan.packages.get(key)?.fingerprint ?? '';
    if (blob !== undefined) packages[name] = { name, version, ...blob };
  }
  const spec = `${JSON.stringify(applySpec(manifest, jobs, packages, iaas), null, 2)}\n`;
  await mkdir(join(tree, 'var/vcap/micro'), { recursive: true });
  // The Ruby agent reads the one name, the Go agent the other; JSON is YAML.
  await writeFile(join(tree, 'var/vcap/micro/apply_spec.yml'), spec);
  await writeFile(join(tree, 'var/vcap/micro/apply_spec.json'), spec);
  await rm(opened, { recursive: true });
  return spec;
}

export function applySpec(
  release: Pick<ReleaseManifest, 'name' | 'version'>,
  jobs: readonly BakedJob[],
  packages: JsonObject,
  iaas: Iaas,
): JsonObject {
  const [first] = jobs;
  if (first === undefined) throw new StemcellRequestInvalid('A micro stemcell needs at least one job');
  const refOf = ({ name, version, sha1, blobstore_id }: BakedJob) => ({ name, version, sha1, blobstore_id });
  return {
    deployment: 'micro',
    release: { name: release.name, version: release.version },
    index: 0,
    networks: iaas === 'vsphere' || iaas === 'vcloud' ? { local: { ip: '127.0.0.1' } } : { type: 'dynamic' },
    properties: defaultsOf(jobs.map((job) => job.manifest)),
    packages,
    configuration_hash: {},
    job: { ...refOf(first), template: first.name, templates: jobs.map(refOf) },
  };
}

/** `a.b: {default: 1}` of all jobs → `{a: {b: 1}}`. */
export function defaultsOf(jobs: readonly Pick<JobManifest, 'properties'>[]): JsonObject {
  const root: Record<string, Json> = {};
  for (const job of jobs) {
    for (const [name, { default: value }] of Object.entries(job.properties)) {
      if (value !== undefined) setAt(root, name.split('.'), value);
    }
  }
  return root;
}

function setAt(map: Record<string, Json>, path: readonly string[], value: Json): void {
  const [key, ...rest] = path;
  if (key === undefined) return;
  if (rest.length === 0) {
    map[key] ??= value;
    return;
  }
  const inner: Record<string, Json> = isJsonObject(map[key]) ? { ...map[key] } : {};
  setAt(inner, rest, value);
  map[key] = inner;
}

async function bakeJob(
  runner: CommandRunner,
  tree: string,
  opened: string,
  release: ReleaseManifest,
  name: string,
): Promise<BakedJob> {
  const entry = release.jobs.find((job) => job.name === name);
  if (entry === undefined) {
    throw new MicroReleaseInvalid(`Release '${release.name}' has no job '${name}'`, {
      advice: `It has: ${release.jobs.map((job) => job.name).join(', ')}.`,
    });
  }
  const archive = join(opened, 'jobs', `${name}.tgz`);
  // Members begin with ./ or not, as the tool liked that made the archive.
  const { stdout } = await runner.run(['tar', '-xzOf', archive, '--wildcards', '*job.MF'], {
    timeoutMs: longMs,
  });
  const manifest = parseJobManifest(stdout, `${name}/job.MF`);
  return { name, version: entry.version, manifest, ...(await addBlob(tree, archive)) };
}

async function bakePackage(
  runner: CommandRunner,
  tree: string,
  opened: string,
  entry: PlannedPackage,
  dependencies: ReadonlyMap<string, Blob>,
): Promise<Blob> {
  if (entry.compiled) return addBlob(tree, join(opened, 'compiled_packages', `${entry.name}.tgz`));
  if (process.getuid?.() !== 0) {
    throw new StemcellRequestInvalid(`Package '${entry.name}' has to be compiled, which takes root`, {
      advice: 'Run as root, or give a release that was exported compiled.',
    });
  }
  try {
    for (const [name, blob] of dependencies) {
      await install(runner, tree, name, join(tree, blobstore, blob.blobstore_id));
    }
    const build = `var/vcap/data/compile/${entry.name}`;
    await mkdir(join(tree, build), { recursive: true });
    await runner.run(
      [
        'tar',
        '-C',
        join(tree, build),
        '--no-same-owner',
        '-xzf',
        join(opened, 'packages', `${entry.name}.tgz`),
      ],
      { timeoutMs: longMs },
    );
    await install(runner, tree, entry.name);
    await runner.run(['chroot', tree, 'sh', '-c', 'cd "$BOSH_COMPILE_TARGET" && exec bash -x packaging'], {
      timeoutMs: longMs,
      env: {
        PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        HOME: '/root',
        BOSH_COMPILE_TARGET: `/${build}`,
        BOSH_INSTALL_TARGET: `/var/vcap/packages/${entry.name}`,
        BOSH_PACKAGE_NAME: entry.name,
        BOSH_PACKAGE_VERSION: entry.fingerprint,
      },
    });
    const archive = join(opened, `${entry.name}.compiled.tgz`);
    await runner.run(
      [
        'tar',
        ...['-C', join(tree, 'var/vcap/data/packages', entry.name)],
        ...['--sort=name', '--owner=0', '--group=0', '--numeric-owner', '--mtime=@0'],
        ...['--use-compress-program=gzip -n', '-cf', archive, '.'],
      ],
      { timeoutMs: longMs },
    );
    return await addBlob(tree, archive);
  } finally {
    for (const name of ['data/compile', 'data/packages', 'packages']) {
      await rm(join(tree, 'var/vcap', name), { recursive: true, force: true });
    }
  }
}

/** Everything that the package is built on, nearest or not, by name. */
function dependenciesOf(
  entry: PlannedPackage,
  plan: CompilePlan,
  compiled: ReadonlyMap<string, Blob>,
): ReadonlyMap<string, Blob> {
  const found = new Map<string, Blob>();
  const visit = (key: string) => {
    const dependency = plan.packages.get(key);
    const blob = compiled.get(key);
    if (dependency === undefined || blob === undefined || found.has(dependency.name)) return;
    found.set(dependency.name, blob);
    dependency.dependencies.forEach(visit);
  };
  entry.dependencies.forEach(visit);
  return found;
}

async function install(runner: CommandRunner, tree: string, name: string, archive?: string): Promise<void> {
  const place = join(tree, 'var/vcap/data/packages', name);
  const link = join(tree, 'var/vcap/packages', name);
  await mkdir(place, { recursive: true });
  await mkdir(dirname(link), { recursive: true });
  await symlink(`/var/vcap/data/packages/${name}`, link);
  if (archive !== undefined) {
    await runner.run(['tar', '-C', place, '--no-same-owner', '-xzf', archive], { timeoutMs: longMs });
  }
}

/** The id follows from the content: the same release makes the same stemcell. */
async function addBlob(tree: string, file: string): Promise<Blob> {
  const directory = join(tree, blobstore);
  await mkdir(directory, { recursive: true });
  const content = await readFile(file);
  const digits = createHash('sha256').update(content).digest('hex');
  const id = [8, 4, 4, 4, 12].reduce<{ parts: string[]; rest: string }>(
    ({ parts, rest }, length) => ({ parts: [...parts, rest.slice(0, length)], rest: rest.slice(length) }),
    { parts: [], rest: digits },
  );
  const target = join(directory, id.parts.join('-'));
  await copyFile(file, `${target}.part`);
  await rename(`${target}.part`, target);
  return { blobstore_id: id.parts.join('-'), sha1: createHash('sha1').update(content).digest('hex') };
}
