import { createHash } from 'node:crypto';
import { chmod, lstat, mkdtemp, readFile, readdir, readlink, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errorCode } from '@microbosh/errors';
import { childOf, parseJobManifest, parseYaml, toJson, type YamlNode } from '@microbosh/spec';
import { ReleaseSourceInvalid } from './errors.ts';
import { matchesGlob } from './match-glob.ts';
import { readVendoredPackage } from './vendored-package.ts';
import { packTarGz, type PackedArchive, type PackedFile, type PackedLink } from './pack-archive.ts';

export interface CreateReleaseOptions {
  /** Default: `name` or `final_name` of `config/final.yml`, else the name of the directory. */
  readonly name?: string;
  /** Default `0+dev.1`. */
  readonly version?: string;
  readonly commitHash?: string;
  readonly uncommittedChanges?: boolean;
  /** Where archives of vendored packages are kept when they are downloaded; absent: not kept. */
  readonly cacheDir?: string;
  readonly signal?: AbortSignal;
}

export interface CreatedPart {
  readonly name: string;
  readonly fingerprint: string;
  /** Digest string of its archive: `sha256:<hex>`, or that of the index for a vendored package. */
  readonly digest: string;
  /** Packages that it needs. */
  readonly packages: readonly string[];
}

export interface CreatedRelease extends PackedArchive {
  readonly name: string;
  readonly version: string;
  readonly jobs: readonly CreatedPart[];
  readonly packages: readonly CreatedPart[];
}

/** A file that goes into an archive, and how it counts in the fingerprint. */
interface SourceFile {
  /** Path in the archive. */
  readonly path: string;
  /** Path that the fingerprint sees. */
  readonly countedAs: string;
  readonly source: string;
  readonly hasMode: boolean;
}

const specFileName = 'spec';

/**
 * Builds a release tarball from its source directory (`jobs/`, `packages/`, `src/`, `blobs/`), in the original layout
 * and with the original fingerprints (create-env reference, section 6.6). Same sources, same bytes.
 * Throws ReleaseSourceInvalid and ArtifactManifestInvalid.
 */
export async function createRelease(
  directory: string,
  tarball: string,
  options: CreateReleaseOptions = {},
): Promise<CreatedRelease> {
  const work = await mkdtemp(join(dirname(tarball), '.release-'));
  try {
    const candidates = await listSources(directory);
    const packages: (CreatedPart & { readonly archive: PackedArchive })[] = [];
    for (const name of await subdirectories(join(directory, 'packages')))
      packages.push(
        (await vendoredPackage(directory, name, options, work)) ??
          (await buildPackage(directory, name, candidates, work, options.signal)),
      );
    const jobs: (CreatedPart & { readonly archive: PackedArchive })[] = [];
    for (const name of await subdirectories(join(directory, 'jobs')))
      jobs.push(await buildJob(directory, name, work, options.signal));
    if (jobs.length === 0)
      throw invalid(
        `${directory} has no jobs: it is not the source of a release.`,
        'Give a directory with jobs/<name>/spec.',
      );
    checkReferences(jobs, packages);
    const licence = await buildLicence(directory, work);

    const name = options.name ?? (await nameOf(directory));
    const version = options.version ?? '0+dev.1';
    const manifest = describeRelease({ name, version, jobs, packages, licence, options });
    const parts = [
      ...jobs.map((job) => archived(`jobs/${job.name}.tgz`, job.archive)),
      ...packages.map((part) => archived(`packages/${part.name}.tgz`, part.archive)),
      ...(licence === undefined ? [] : [archived('license.tgz', licence.archive), ...licence.files]),
    ];
    const packed = await packTarGz(
      [{ path: 'release.MF', content: manifest }, ...parts],
      tarball,
      options.signal === undefined ? {} : { signal: options.signal },
    );
    // A release holds no secret: other users deploy it too.
    await chmod(tarball, 0o644);
    return { ...packed, name, version, jobs: jobs.map(publicPart), packages: packages.map(publicPart) };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

const publicPart = ({ name, fingerprint, digest, packages }: CreatedPart): CreatedPart => ({
  name,
  fingerprint,
  digest,
  packages,
});

const archived = (path: string, archive: PackedArchive): PackedFile => ({
  path,
  content: { file: archive.path, sizeBytes: archive.sizeBytes },
});

async function vendoredPackage(
  directory: string,
  name: string,
  options: CreateReleaseOptions,
  work: string,
): Promise<(CreatedPart & { readonly archive: PackedArchive }) | undefined> {
  const found = await readVendoredPackage(directory, name, {
    cacheDir: options.cacheDir ?? work,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  if (found === undefined) return undefined;
  const { fingerprint, digest, dependencies, path, sizeBytes } = found;
  return { name, fingerprint, digest, packages: dependencies, archive: { path, digest, sizeBytes } };
}

async function buildPackage(
  directory: string,
  name: string,
  candidates: ReadonlyMap<string, string>,
  work: string,
  signal: AbortSignal | undefined,
): Promise<CreatedPart & { readonly archive: PackedArchive }> {
  const folder = join(directory, 'packages', name);
  const shown = `packages/${name}/spec`;
  const spec = parseYaml(await readSource(join(folder, specFileName), shown), { file: shown });
  const dependencies = textList(spec, 'dependencies', shown);
  const excluded = textList(spec, 'excluded_files', shown);
  const chosen = new Map<string, string>();
  for (const pattern of textList(spec, 'files', shown)) {
    const matching = [...candidates].filter(([path]) => matchesGlob(path, pattern));
    if (matching.length === 0)
      throw invalid(
        `Package '${name}': nothing in src/ or blobs/ matches '${pattern}'.`,
        `Correct 'files' in ${shown}, or bring the file: blobs are downloaded into blobs/ first.`,
      );
    for (const [path, source] of matching)
      if (!excluded.some((exclusion) => matchesGlob(path, exclusion))) chosen.set(path, source);
  }
  const files: SourceFile[] = [...chosen].map(([path, source]) => ({
    path,
    countedAs: path,
    source,
    hasMode: true,
  }));
  for (const script of ['packaging', 'pre_packaging']) {
    const source = join(folder, script);
    if (await exists(source)) {
      if (chosen.has(script))
        throw invalid(
          `Package '${name}' has a file '${script}' among its 'files', and that name is taken.`,
          `Rename it in src/.`,
        );
      files.push({ path: script, countedAs: script, source, hasMode: false });
    } else if (script === 'packaging')
      throw invalid(
        `Package '${name}' has no script packages/${name}/packaging.`,
        'Add the script that compiles it.',
      );
  }
  const fingerprint = await fingerprintOf(files, dependencies);
  const shipped = files.filter((file) => file.path !== 'pre_packaging');
  const archive = await packFiles(shipped, join(work, `package-${name}.tgz`), signal);
  return { name, fingerprint, digest: archive.digest, packages: dependencies, archive };
}

async function buildJob(
  directory: string,
  name: string,
  work: string,
  signal: AbortSignal | undefined,
): Promise<CreatedPart & { readonly archive: PackedArchive }> {
  const folder = join(directory, 'jobs', name);
  const shown = `jobs/${name}/spec`;
  const manifest = parseJobManifest(await readSource(join(folder, specFileName), shown), shown);
  if (manifest.name !== name)
    throw invalid(
      `${shown} says that the job is called '${manifest.name}'.`,
      'Make the name and the directory the same.',
    );
  const files: SourceFile[] = [
    { path: 'job.MF', countedAs: 'job.MF', source: join(folder, specFileName), hasMode: true },
  ];
  for (const optional of ['monit', 'properties_schema.json']) {
    const source = join(folder, optional);
    if (await exists(source)) files.push({ path: optional, countedAs: optional, source, hasMode: true });
  }
  for (const template of Object.keys(manifest.templates)) {
    const path = `templates/${template}`;
    if (!(await exists(join(folder, path))))
      throw invalid(
        `Job '${name}' lists the template '${template}', and jobs/${name}/${path} is not there.`,
        `Correct 'templates' in ${shown}.`,
      );
    files.push({ path, countedAs: path, source: join(folder, path), hasMode: true });
  }
  const archive = await packFiles(files, join(work, `job-${name}.tgz`), signal);
  return {
    name,
    fingerprint: await fingerprintOf(files, []),
    digest: archive.digest,
    packages: manifest.packages,
    archive,
  };
}

interface Licence {
  readonly fingerprint: string;
  readonly archive: PackedArchive;
  readonly files: readonly (PackedFile | PackedLink)[];
}

async function buildLicence(directory: string, work: string): Promise<Licence | undefined> {
  const names = (await readdir(directory)).filter((name) => /^(?:LICENSE|NOTICE)/.test(name)).sort();
  if (names.length === 0) return undefined;
  const files = names.map((name) => ({
    path: name,
    countedAs: name,
    source: join(directory, name),
    hasMode: false,
  }));
  return {
    fingerprint: await fingerprintOf(files, []),
    archive: await packFiles(files, join(work, 'license.tgz'), undefined),
    files: await Promise.all(files.map(toPacked)),
  };
}

/** create-env reference, section 6.6. */
async function fingerprintOf(files: readonly SourceFile[], extraChunks: readonly string[]): Promise<string> {
  const hash = createHash('sha256').update('v2');
  const byPath = [...files].sort((left, right) => compareBytes(left.countedAs, right.countedAs));
  for (const file of byPath) {
    const found = await lstat(file.source);
    const content = found.isSymbolicLink()
      ? Buffer.from(await readlink(file.source))
      : await readFile(file.source);
    const mode = found.isSymbolicLink() ? 'symlink' : (found.mode & 0o111) === 0 ? '100644' : '100755';
    hash.update(file.countedAs);
    hash.update(`sha256:${createHash('sha256').update(content).digest('hex')}`);
    if (file.hasMode) hash.update(mode);
  }
  return hash.update([...extraChunks].sort(compareBytes).join(',')).digest('hex');
}

const compareBytes = (left: string, right: string) => Buffer.compare(Buffer.from(left), Buffer.from(right));

async function packFiles(
  files: readonly SourceFile[],
  path: string,
  signal: AbortSignal | undefined,
): Promise<PackedArchive> {
  return packTarGz(await Promise.all(files.map(toPacked)), path, signal === undefined ? {} : { signal });
}

async function toPacked({ path, source }: SourceFile): Promise<PackedFile | PackedLink> {
  const found = await lstat(source);
  if (found.isSymbolicLink()) return { path, linkTarget: await readlink(source) };
  return {
    path,
    mode: (found.mode & 0o111) === 0 ? 0o644 : 0o755,
    content: { file: source, sizeBytes: found.size },
  };
}

/** Files of `src/` and `blobs/` by their path below; what both have comes from `src/`. */
async function listSources(directory: string): Promise<Map<string, string>> {
  const sources = new Map<string, string>();
  for (const root of ['blobs', 'src']) {
    const base = join(directory, root);
    for (const path of await walk(base, '')) sources.set(path, join(base, path));
  }
  return new Map([...sources].sort(([left], [right]) => compareBytes(left, right)));
}

async function walk(base: string, below: string): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(join(base, below), { withFileTypes: true }).catch(ignoreAbsent)) {
    const path = below === '' ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory()) found.push(...(await walk(base, path)));
    else if (entry.isFile() || entry.isSymbolicLink()) found.push(path);
  }
  return found;
}

async function subdirectories(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch(ignoreAbsent);
  return entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();
}

function ignoreAbsent(error: unknown): [] {
  if (errorCode(error) === 'ENOENT') return [];
  throw error;
}

const exists = async (path: string) => (await lstat(path).catch(() => undefined)) !== undefined;

async function readSource(path: string, shown: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT')
      throw invalid(`${shown} is not there.`, 'Every job and package has a spec.');
    throw error;
  });
}

function textList(node: YamlNode, key: string, shown: string): string[] {
  const field = node.kind === 'mapping' ? childOf(node, key) : undefined;
  const value = field === undefined ? null : toJson(field);
  if (value === null) return [];
  if (!Array.isArray(value)) throw invalid(`${shown}: '${key}' must be a list.`, `Correct ${shown}.`);
  return value.map(String);
}

async function nameOf(directory: string): Promise<string> {
  const shown = 'config/final.yml';
  const text = await readFile(join(directory, shown), 'utf8').catch(() => '');
  const document = parseYaml(text, { file: shown });
  for (const key of ['name', 'final_name']) {
    const field = document.kind === 'mapping' ? childOf(document, key) : undefined;
    const value = field === undefined ? undefined : toJson(field);
    if (typeof value === 'string' && value !== '') return value;
  }
  return basename(directory);
}

function checkReferences(jobs: readonly CreatedPart[], packages: readonly CreatedPart[]): void {
  const known = new Set(packages.map(({ name }) => name));
  const check = (part: CreatedPart, kind: string) => {
    for (const name of part.packages)
      if (!known.has(name))
        throw invalid(
          `${kind} '${part.name}' needs the package '${name}', and there is no packages/${name}.`,
          'Add the package, or correct the spec.',
        );
  };
  for (const job of jobs) check(job, 'Job');
  for (const part of packages) check(part, 'Package');
}

function describeRelease(release: {
  readonly name: string;
  readonly version: string;
  readonly jobs: readonly CreatedPart[];
  readonly packages: readonly CreatedPart[];
  readonly licence: Licence | undefined;
  readonly options: CreateReleaseOptions;
}): string {
  const quoted = (text: string) => JSON.stringify(text);
  const part = ({ name, fingerprint, digest }: CreatedPart) => [
    `- name: ${quoted(name)}`,
    `  version: ${quoted(fingerprint)}`,
    `  fingerprint: ${quoted(fingerprint)}`,
    `  sha1: ${quoted(digest)}`,
  ];
  const list = (key: string, texts: readonly string[]) =>
    texts.length === 0 ? [`  ${key}: []`] : [`  ${key}:`, ...texts.map((text) => `  - ${quoted(text)}`)];
  const section = (key: string, lines: readonly string[]) =>
    lines.length === 0 ? [`${key}: []`] : [`${key}:`, ...lines];
  return [
    '---',
    `name: ${quoted(release.name)}`,
    `version: ${quoted(release.version)}`,
    `commit_hash: ${quoted(release.options.commitHash ?? 'non-git')}`,
    `uncommitted_changes: ${release.options.uncommittedChanges ?? false}`,
    ...section(
      'jobs',
      release.jobs.flatMap((job) => [...part(job), ...list('packages', job.packages)]),
    ),
    ...section(
      'packages',
      release.packages.flatMap((one) => [...part(one), ...list('dependencies', one.packages)]),
    ),
    ...(release.licence === undefined
      ? []
      : [
          'license:',
          `  version: ${quoted(release.licence.fingerprint)}`,
          `  fingerprint: ${quoted(release.licence.fingerprint)}`,
          `  sha1: ${quoted(release.licence.archive.digest)}`,
        ]),
    '',
  ].join('\n');
}

function invalid(message: string, advice: string): ReleaseSourceInvalid {
  return new ReleaseSourceInvalid(message, { advice });
}
