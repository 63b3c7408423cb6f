import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fetchArtifact, openRelease, openStemcell } from '@microbosh/artifacts';
import type { OpenedRelease, OpenedStemcell as UnpackedStemcell } from '@microbosh/artifacts';
import { isJsonObject } from '@microbosh/errors';
import type { ArtifactRef, DeploymentModel, MicroModel } from '@microbosh/spec';
import type { StageScope, StepScope } from '../events/event-bus.ts';
import type { DeployerDependencies, OpenedArtifacts } from '../ports/deployer-dependencies.ts';
import type { OpenedStemcell } from '../ports/instance-content.ts';
import type { ArtifactRecord } from '../state/environment-state.ts';
import { microContent, parseApplySpec } from './micro-content.ts';
import { releaseContent } from './release-content.ts';
import { TemplateBoot } from './template-boot.ts';

/** Releases and stemcell from their tarballs; what is downloaded is kept in `cacheDir`. */
export function artifactOpener(cacheDir: string): DeployerDependencies['openArtifacts'] {
  return async (model, instanceId, stage, signal) => {
    // The interpreter of the templates boots while archives are read.
    const templates = new TemplateBoot();
    const workDir = await mkdtemp(join(tmpdir(), 'microbosh-'));
    const close = async () => {
      await templates.close();
      await rm(workDir, { recursive: true, force: true });
    };
    try {
      return { ...(await open(model, instanceId, stage, signal, { cacheDir, workDir, templates })), close };
    } catch (error) {
      await close();
      throw error;
    }
  };
}

interface Workplace {
  readonly cacheDir: string;
  readonly workDir: string;
  readonly templates: TemplateBoot;
}

async function open(
  model: DeploymentModel,
  instanceId: string,
  stage: StageScope,
  signal: AbortSignal,
  place: Workplace,
): Promise<Omit<OpenedArtifacts, 'close'>> {
  if (model.micro !== undefined) return openMicro(model, model.micro, stage, signal, place);
  const files: ArtifactRecord[] = [];
  const opened = new Map<string, OpenedRelease>();
  for (const [index, ref] of model.releases.entries()) {
    const fetched = await fetchWithStep(
      ref,
      `Downloading release '${ref.name}'`,
      stage,
      signal,
      place.cacheDir,
    );
    const release = await stage.step(`Validating release '${ref.name}'`, () =>
      openRelease(fetched.path, {
        workDir: join(place.workDir, `release-${index}`),
        expectedName: ref.name,
        signal,
        ...(fetched.unverified === undefined ? {} : { sha1: fetched.unverified }),
      }),
    );
    opened.set(ref.name, release);
    files.push(await recordOf(ref, fetched.path, release.digest));
  }
  const { source, record } = await fetchStemcell(model.stemcell, stage, signal, place);
  files.push(record);
  const { manifest } = source;
  const stemcell = stemcellOf(source);
  const content = releaseContent({
    model,
    releases: opened,
    instanceId,
    templates: place.templates,
    workDir: place.workDir,
    stemcell: {
      // Compiled packages fit one stemcell only; without its system's name nothing can be compared.
      name:
        manifest.operatingSystem === undefined
          ? undefined
          : `${manifest.operatingSystem}/${manifest.version}`,
      digest: source.digest,
    },
    signal,
  });
  const releases = [...opened.values()].map(({ manifest: release, digest }) => ({
    name: release.name,
    version: release.version,
    digest,
  }));
  return { stemcell, releases, content, files };
}

/** A stemcell tarball with jobs and packages baked in, or an image that is in the cloud already. */
async function openMicro(
  model: DeploymentModel,
  micro: MicroModel,
  stage: StageScope,
  signal: AbortSignal,
  place: Workplace,
): Promise<Omit<OpenedArtifacts, 'close'>> {
  const common = { model, micro, templates: place.templates, workDir: place.workDir };
  if (model.stemcell.url === '') {
    const image = micro.imageId ?? '';
    const digest = createHash('sha256').update(`image:${image}`).digest('hex');
    const stemcell: OpenedStemcell = {
      name: image,
      version: '',
      apiVersion: 1,
      digest,
      cloudProperties: null,
      existing: image,
      imagePath: () => Promise.reject(new Error('an image in the cloud has no file')),
    };
    const content = microContent({ ...common, applySpec: undefined, stemcellDigest: digest });
    return { stemcell, releases: [], content, files: [] };
  }
  const { source, record } = await fetchStemcell(model.stemcell, stage, signal, place);
  const own = micro.cloudProperties['stemcell'];
  const stemcell = stemcellOf(source);
  const content = microContent({
    ...common,
    applySpec: parseApplySpec(source.applySpec, basename(record.path)),
    stemcellDigest: source.digest,
  });
  return {
    stemcell: {
      ...stemcell,
      cloudProperties: {
        ...stemcell.cloudProperties,
        ...(own !== undefined && isJsonObject(own) ? own : {}),
      },
    },
    releases: [],
    content,
    files: [record],
  };
}

async function fetchStemcell(
  ref: ArtifactRef,
  stage: StageScope,
  signal: AbortSignal,
  place: Workplace,
): Promise<{ readonly source: UnpackedStemcell; readonly record: ArtifactRecord }> {
  const fetched = await fetchWithStep(ref, 'Downloading stemcell', stage, signal, place.cacheDir);
  const source = await stage.step('Validating stemcell', async () => {
    await mkdir(join(place.workDir, 'stemcell'), { mode: 0o700 });
    return openStemcell(fetched.path, {
      workDir: join(place.workDir, 'stemcell'),
      signal,
      ...(fetched.unverified === undefined ? {} : { sha1: fetched.unverified }),
    });
  });
  return { source, record: await recordOf(ref, fetched.path, source.digest) };
}

function stemcellOf(source: UnpackedStemcell): OpenedStemcell {
  const { manifest } = source;
  return {
    name: manifest.name,
    version: manifest.version,
    apiVersion: manifest.apiVersion,
    digest: source.digest,
    cloudProperties: manifest.cloudProperties,
    imagePath: async () => source.imagePath,
  };
}

/** A step of its own for what is downloaded; a file that is there already is just opened. */
export async function fetchWithStep(
  ref: ArtifactRef,
  name: string,
  stage: StageScope,
  signal: AbortSignal,
  cacheDir: string,
) {
  const fetch = (step?: StepScope) =>
    fetchArtifact(ref, {
      cacheDir,
      signal,
      onProgress: (done, total) =>
        step?.progress({ done, unit: 'bytes', ...(total === undefined ? {} : { total }) }),
    });
  if (!/^https?:/.test(ref.url)) return fetch();
  return stage.step(name, async (step) => {
    const fetched = await fetch(step);
    if (fetched.fromCache) step.skip('Found in local cache');
    return fetched;
  });
}

/** Identifies the file, so that an unchanged one need not be read again. */
async function recordOf(ref: ArtifactRef, path: string, digest: string): Promise<ArtifactRecord> {
  const found = await stat(path, { bigint: true });
  return {
    url: createHash('sha256').update(ref.url).digest('hex'),
    sha1: ref.sha1 ?? '',
    path,
    size: Number(found.size),
    modified_ns: String(found.mtimeNs),
    inode: String(found.ino),
    digest,
  };
}
