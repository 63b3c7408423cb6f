import { join } from 'node:path';
import { openRelease } from '@microbosh/artifacts';
import type { OpenedRelease } from '@microbosh/artifacts';
import { ProcessCpi } from '@microbosh/cpi';
import type { Cpi, CpiExtensions } from '@microbosh/cpi';
import { isJsonObject } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import { NodeCommandRunner, processFolder } from '@microbosh/host';
import type { ReleaseCloud } from '@microbosh/spec';
import { ReadAhead, showSteps } from '../content/read-ahead.ts';
import type { DeployerCaches } from '../content/deployer-caches.ts';
import { Templates } from '../content/templates.ts';
import { installCpi } from '../cpi-install/install-cpi.ts';
import type { InstalledCpi } from '../cpi-install/install-cpi.ts';
import type { EngineContext } from '../engine/deploy.ts';
import { ManifestUnsupported } from '../errors.ts';
import type { CloudAccess } from '../ports/deployer-dependencies.ts';
import { boundedLog } from '../state/bounded-log.ts';
import type { StateStore } from '../state/state-store.ts';
import { plainJson } from '../state/state-document.ts';
import { callGraceMs, graceAfterAbort } from './grace.ts';

/** Where this machine keeps what environments share. */
export type CpiCaches = Pick<DeployerCaches, 'downloads' | 'cpi' | 'rendered'>;

/** Installs the CPI release on this machine and drives its `bin/cpi`, one process per call. */
export async function openReleaseCloud(
  cloud: ReleaseCloud,
  access: CloudAccess,
  store: StateStore,
  context: EngineContext,
  caches: CpiCaches,
): Promise<Cpi & CpiExtensions> {
  const installed = await install(cloud, access, store, context, caches);
  const log = boundedLog(store.paths.cpiLog);
  const grace = graceAfterAbort(context.signal, callGraceMs);
  const cpi = new ProcessCpi({
    executable: installed.executable,
    env: installed.env,
    secrets: context.secrets,
    signal: grace.signal,
    log: (line) => log(`${new Date().toISOString()} ${line}`),
  });
  const dispose = async () => {
    grace.dispose();
    await context.events.step('Cleaning up rendered CPI jobs', () => installed.cleanUp());
  };
  try {
    await refuseOldVersion(cpi, cloud, store);
  } catch (error) {
    await dispose();
    throw error;
  }
  return Object.assign(cpi, { dispose });
}

async function install(
  cloud: ReleaseCloud,
  access: CloudAccess,
  store: StateStore,
  context: EngineContext,
  caches: CpiCaches,
): Promise<InstalledCpi> {
  const templates = new Templates({
    cacheDir: caches.rendered,
    bootNow: false,
    onWarning: (text) => context.events.message(text, { level: 'warning' }),
  });
  const folder = await processFolder('cpi');
  const ahead = new ReadAhead(caches.downloads, context.signal);
  try {
    return await context.events.stage('installing CPI', async (stage) => {
      const releases = new Map<string, OpenedRelease>();
      const coming = cloud.releases.map((ref, index) => ({
        ref,
        archive: ahead.start(ref, (fetched, signal) =>
          openRelease(fetched.path, {
            workDir: join(folder.path, String(index)),
            expectedName: ref.name,
            signal,
            ...(fetched.unverified === undefined ? {} : { sha1: fetched.unverified }),
          }),
        ),
      }));
      for (const { ref, archive } of coming) {
        const download = `Downloading release '${ref.name}'`;
        releases.set(ref.name, (await showSteps(archive, stage, { download })).opened);
      }
      const { current } = store;
      return installCpi(
        {
          deployment: current.own.deployment ?? '',
          installationId: current.installation_id,
          cloud: { ...cloud, properties: propertiesOf(cloud, access) },
          releases,
        },
        {
          cacheDirectory: caches.cpi,
          runner: new NodeCommandRunner(),
          renderer: templates,
          secrets: context.secrets,
          signal: context.signal,
          stage: (name, work) => stage.step(name, work),
        },
      );
    });
  } finally {
    await ahead.stop();
    await templates.close();
    await folder.remove();
  }
}

/** As the manifest gives them; the agents' bus is filled in when the manifest leaves it to us. */
function propertiesOf({ properties }: ReleaseCloud, access: CloudAccess): JsonObject {
  const given = isJsonObject(properties['agent']) ? properties['agent'] : {};
  const mbus = given['mbus'] ?? access.agent['mbus'];
  return {
    ...plainJson(properties),
    agent: { ...given, ...(mbus === undefined ? {} : { mbus }) },
    ...(access.registry === undefined ? {} : { registry: { ...access.registry } }),
  };
}

/** A CPI of API v1 tells its VMs their settings through a registry only. */
async function refuseOldVersion(cpi: Cpi, cloud: ReleaseCloud, store: StateStore): Promise<void> {
  const info = await cpi.info({
    directorUuid: store.current.director_id,
    requestId: '',
    stemcellApiVersion: 1,
  });
  if (info.api_version >= 2 || isJsonObject(cloud.properties['registry'])) return;
  throw new ManifestUnsupported(
    `The CPI speaks API version ${info.api_version}; version 2 or a registry is needed`,
    {
      advice:
        'Use a later version of the CPI release, or name a registry that the VM reaches in cloud_provider.properties.registry.',
    },
  );
}
