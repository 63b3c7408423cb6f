import { createHash } from 'node:crypto';
import { mkdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { openRelease, openStemcell } from '@microbosh/artifacts';
import type { OpenedRelease, OpenedStemcell as UnpackedStemcell } from '@microbosh/artifacts';
import { isJsonObject } from '@microbosh/errors';
import { processFolder } from '@microbosh/host';
import type { ArtifactRef, DeploymentModel, MicroModel } from '@microbosh/spec';
import type { MakeConnector } from '../access/routed-connector.ts';
import type { StageScope } from '../events/event-bus.ts';
import type { DeployerDependencies, OpenedArtifacts } from '../ports/deployer-dependencies.ts';
import type { OpenedStemcell } from '../ports/instance-content.ts';
import type { ArtifactRecord } from '../state/environment-state.ts';
import type { DeployerCaches } from './deployer-caches.ts';
import { microContent, parseApplySpec } from './micro-content.ts';
import { ReadAhead, showSteps } from './read-ahead.ts';
import type { ComingArchive } from './read-ahead.ts';
import { releaseContent } from './release-content.ts';
import { Templates } from './templates.ts';

/** Releases and stemcell from their tarballs. */
export function artifactOpener(
  caches: Pick<DeployerCaches, 'downloads' | 'rendered'>,
  connector?: MakeConnector,
): DeployerDependencies['openArtifacts'] {
  return async (model, instanceId, options) => {
    const { stage, signal } = options;
    const templates = new Templates({
      cacheDir: caches.rendered,
      // While archives are read. What was deployed last is in the cache.
      bootNow: !options.wasDeployed,
      onWarning: options.onWarning,
    });
    const folder = await processFolder('deploy');
    const ahead = new ReadAhead(caches.downloads, signal, connector);
    const close = async () => {
      await ahead.stop();
      await Promise.all([templates.close(), folder.remove()]);
    };
    const place = { ahead, workDir: folder.path, templates };
    try {
      return { ...(await open(model, instanceId, stage, signal, place)), close };
    } catch (error) {
      await close();
      throw error;
    }
  };
}

interface Workplace {
  readonly ahead: ReadAhead;
  readonly workDir: string;
  readonly templates: Templates;
}

async function open(
  model: DeploymentModel,
  instanceId: string,
  stage: StageScope,
  signal: AbortSignal,
  place: Workplace,
): Promise<Omit<OpenedArtifacts, 'close'>> {
  if (model.micro !== undefined) return openMicro(model, model.micro, stage, place);
  const files: ArtifactRecord[] = [];
  const opened = new Map<string, OpenedRelease>();
  const coming = model.releases.map((ref, index) => ({
    ref,
    archive: place.ahead.start(ref, (fetched, aborted) =>
      openRelease(fetched.path, {
        workDir: join(place.workDir, `release-${index}`),
        expectedName: ref.name,
        signal: aborted,
        ...(fetched.unverified === undefined ? {} : { sha1: fetched.unverified }),
      }),
    ),
  }));
  const comingStemcell = startStemcell(model.stemcell, place);
  for (const { ref, archive } of coming) {
    const { fetched, opened: release } = await showSteps(archive, stage, {
      download: `Downloading release '${ref.name}'`,
      read: `Validating release '${ref.name}'`,
    });
    opened.set(ref.name, release);
    files.push(await recordOf(ref, fetched.path, release.digest));
  }
  const { source, record } = await awaitStemcell(comingStemcell, stage);
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
  const { source, record } = await awaitStemcell(startStemcell(model.stemcell, place), stage);
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

function startStemcell(ref: ArtifactRef, place: Workplace): ComingArchive<UnpackedStemcell> {
  return place.ahead.start(ref, async (fetched, signal) => {
    const workDir = join(place.workDir, 'stemcell');
    await mkdir(workDir, { mode: 0o700 });
    return openStemcell(fetched.path, {
      workDir,
      signal,
      ...(fetched.unverified === undefined ? {} : { sha1: fetched.unverified }),
    });
  });
}

async function awaitStemcell(
  archive: ComingArchive<UnpackedStemcell>,
  stage: StageScope,
): Promise<{ readonly source: UnpackedStemcell; readonly record: ArtifactRecord }> {
  const { fetched, opened: source } = await showSteps(archive, stage, {
    download: 'Downloading stemcell',
    read: 'Validating stemcell',
  });
  return { source, record: await recordOf(archive.ref, fetched.path, source.digest) };
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
