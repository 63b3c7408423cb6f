import { mkdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { basename, join } from 'node:path';
import {
  parseJobManifest,
  parseReleaseManifest,
  type ReleaseJob,
  type ReleaseJobEntry,
  type ReleaseManifest,
} from '@microbosh/spec';
import { Digester } from './digester.ts';
import { ArtifactIncomplete } from './errors.ts';
import { forEachBounded } from './for-each-bounded.ts';
import {
  archiveBytes,
  archiveFile,
  readArchive,
  type ArchiveEntry,
  type ArchiveLimits,
} from './read-archive.ts';
import { writeContent } from './unpack-archive.ts';

export interface OpenOptions {
  /** Where parts are unpacked to; made when it is not there. The caller removes it. */
  readonly workDir: string;
  /** Digest string of the tarball, verified in the same pass. */
  readonly sha1?: string;
  readonly signal?: AbortSignal;
  readonly limits?: ArchiveLimits;
}

export interface PackageArchive {
  readonly path: string;
  /** Digest string: as the release states it, or sha256 when it states none. */
  readonly digest: string;
  readonly sizeBytes: number;
}

export interface OpenedRelease {
  readonly manifest: ReleaseManifest;
  /** `sha256:<hex>` of the tarball. */
  readonly digest: string;
  /** By name. */
  readonly jobs: ReadonlyMap<string, ReleaseJob>;
  /** Archives of source packages, by name. */
  readonly packages: ReadonlyMap<string, PackageArchive>;
  /** Archives of compiled packages, by name. */
  readonly compiledPackages: ReadonlyMap<string, PackageArchive>;
}

interface StoredPart {
  readonly path: string;
  readonly digester: Digester;
}

const maxManifestBytes = 32 << 20;
const jobLimits: ArchiveLimits = { maxEntries: 20_000, maxBytes: 256 << 20, maxRatio: 250 };

/**
 * Reads a release tarball in one pass: its manifest, its jobs with their templates, its packages as files. Every part
 * is verified against the digest that the release states. `expectedName`: the name in the deployment manifest.
 * Throws DigestMismatch, ArtifactIncomplete, ArtifactManifestInvalid, and the errors of `readArchive`.
 */
export async function openRelease(
  path: string,
  options: OpenOptions & { readonly expectedName?: string },
): Promise<OpenedRelease> {
  const file = basename(path);
  await mkdir(options.workDir, { recursive: true, mode: 0o700 });
  const whole = Digester.for(options.sha1);
  let manifest: ReleaseManifest | undefined;
  const parts = new Map<string, StoredPart>();
  for await (const entry of readArchive(archiveFile(path), {
    ...options,
    onPackedChunk: (chunk) => whole.update(chunk),
  })) {
    if (entry.kind !== 'file') continue;
    if (entry.path === 'release.MF') {
      manifest = parseReleaseManifest(await readText(entry), `${file}/release.MF`);
    } else if (entry.path === 'license.tgz') {
      const stated = manifest?.license?.sha1;
      parts.set(entry.path, await storePart(entry, options.workDir, stated === '' ? undefined : stated));
    } else if (/^(?:jobs|packages|compiled_packages)\/[^/]+\.tgz$/.test(entry.path)) {
      parts.set(entry.path, await storePart(entry, options.workDir, statedDigest(manifest, entry.path)));
    }
  }
  if (options.sha1 !== undefined && options.sha1 !== '')
    whole.verify(options.sha1, `Release ${file}`, digestAdvice);
  if (manifest === undefined)
    throw new ArtifactIncomplete(`${file} holds no release.MF: it is not a release.`, {
      advice: 'Give the tarball of a release.',
    });
  checkName(manifest, file, options.expectedName);
  verifyLicense(manifest, parts.get('license.tgz'), file);

  return {
    manifest,
    digest: whole.sha256,
    jobs: await openJobs(manifest.jobs, parts, file, options.signal),
    packages: packageArchives(manifest.packages, 'packages', parts, file),
    compiledPackages: packageArchives(manifest.compiledPackages, 'compiled_packages', parts, file),
  };
}

const digestAdvice =
  'The file is damaged or not the one that was meant: download it again, or correct the digest in the manifest.';

function checkName(manifest: ReleaseManifest, file: string, expected: string | undefined): void {
  if (expected === undefined || expected === manifest.name) return;
  throw new ArtifactIncomplete(
    `${file} is the release '${manifest.name}', and the manifest expects '${expected}' there.`,
    { advice: `Correct the 'name' or the 'url' of the release '${expected}' in the manifest.` },
  );
}

export async function readText(entry: ArchiveEntry): Promise<string> {
  return (await readAll(entry)).toString('utf8');
}

async function readAll(entry: ArchiveEntry): Promise<Buffer> {
  if (entry.sizeBytes > maxManifestBytes)
    throw new ArtifactIncomplete(`'${entry.path}' is too large (${entry.sizeBytes} bytes).`, {
      advice: 'The archive was not built correctly.',
    });
  const chunks: Buffer[] = [];
  for await (const chunk of entry.content) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** undefined: not known (yet). */
function statedDigest(manifest: ReleaseManifest | undefined, path: string): string | undefined {
  if (manifest === undefined) return undefined;
  const [directory = '', name = ''] = path.replace(/\.tgz$/, '').split('/');
  const list = {
    jobs: manifest.jobs,
    packages: manifest.packages,
    compiled_packages: manifest.compiledPackages,
  }[directory];
  return list?.find((entry) => entry.name === name)?.sha1;
}

async function storePart(
  entry: ArchiveEntry,
  workDir: string,
  stated: string | undefined,
): Promise<StoredPart> {
  const path = join(workDir, entry.path);
  await mkdir(join(path, '..'), { recursive: true, mode: 0o700 });
  // Before release.MF was seen it is unknown which digest will be asked for.
  const digester = stated === undefined ? new Digester(['sha1', 'sha256', 'sha512']) : Digester.for(stated);
  await writeContent(entry.content, path, 0o600, (chunk) => digester.update(chunk));
  return { path, digester };
}

function verifiedPart(
  entry: ReleaseJobEntry,
  directory: string,
  parts: ReadonlyMap<string, StoredPart>,
  file: string,
): StoredPart {
  const path = `${directory}/${entry.name}.tgz`;
  const part = parts.get(path);
  if (part === undefined)
    throw new ArtifactIncomplete(`${file} lists '${entry.name}' in its release.MF, but holds no '${path}'.`, {
      advice: 'The release is incomplete; download or build it again.',
    });
  if (entry.sha1 !== '')
    part.digester.verify(
      entry.sha1,
      `${file}, entry '${path}'`,
      'The release is damaged; download or build it again.',
    );
  return part;
}

/** A release without the archive that it lists is usable all the same: nothing is made of it. */
function verifyLicense(manifest: ReleaseManifest, part: StoredPart | undefined, file: string): void {
  if (part === undefined || manifest.license === undefined || manifest.license.sha1 === '') return;
  part.digester.verify(
    manifest.license.sha1,
    `${file}, entry 'license.tgz'`,
    'The release is damaged; download or build it again.',
  );
}

function packageArchives(
  entries: readonly ReleaseJobEntry[],
  directory: string,
  parts: ReadonlyMap<string, StoredPart>,
  file: string,
): Map<string, PackageArchive> {
  return new Map(
    entries.map((entry) => {
      const { path, digester } = verifiedPart(entry, directory, parts, file);
      const digest = entry.sha1 === '' ? digester.sha256 : entry.sha1;
      return [entry.name, { path, digest, sizeBytes: digester.sizeBytes }];
    }),
  );
}

async function openJobs(
  entries: readonly ReleaseJobEntry[],
  parts: ReadonlyMap<string, StoredPart>,
  file: string,
  signal: AbortSignal | undefined,
): Promise<Map<string, ReleaseJob>> {
  const jobs = new Map<string, ReleaseJob>();
  await forEachBounded(entries, availableParallelism(), async (entry) => {
    const { path } = verifiedPart(entry, 'jobs', parts, file);
    jobs.set(entry.name, await openJob(entry, path, `${file}/jobs/${entry.name}.tgz`, signal));
  });
  return new Map(entries.flatMap(({ name }) => [...jobs].filter(([found]) => found === name)));
}

async function openJob(
  entry: ReleaseJobEntry,
  path: string,
  name: string,
  signal: AbortSignal | undefined,
): Promise<ReleaseJob> {
  const job = await readJobArchive({ ...archiveFile(path), name }, signal);
  return { entry, ...job };
}

/** A job archive that is in memory: micro deployments fetch them from the agent. */
export async function openJobArchive(name: string, bytes: Uint8Array): Promise<Omit<ReleaseJob, 'entry'>> {
  return readJobArchive(archiveBytes(name, bytes), undefined);
}

async function readJobArchive(
  source: ReturnType<typeof archiveFile>,
  signal: AbortSignal | undefined,
): Promise<Omit<ReleaseJob, 'entry'>> {
  const texts = new Map<string, string>();
  for await (const entry of readArchive(source, {
    limits: jobLimits,
    ...(signal === undefined ? {} : { signal }),
  })) {
    if (entry.kind === 'file') texts.set(entry.path, await readText(entry));
  }
  const manifestText = texts.get('job.MF');
  if (manifestText === undefined)
    throw new ArtifactIncomplete(`${source.name} holds no job.MF.`, {
      advice: 'The release was not built correctly.',
    });
  const manifest = parseJobManifest(manifestText, `${source.name}/job.MF`);
  const templates = new Map<string, string>();
  for (const template of Object.keys(manifest.templates)) {
    const text = texts.get(
      `templates/${template
        .split('/')
        .filter((piece) => piece !== '.')
        .join('/')}`,
    );
    if (text === undefined)
      throw new ArtifactIncomplete(
        `${source.name} lists the template '${template}' in its job.MF, but does not hold it.`,
        {
          advice: 'The release was not built correctly.',
        },
      );
    templates.set(template, text);
  }
  const monit = texts.get('monit');
  return { manifest, templates, ...(monit === undefined ? {} : { monit }) };
}
