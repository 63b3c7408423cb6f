import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { root, succeed } from '../../support/commands.ts';
import { buildStemcell, flavouredStemcell, stemcellCache } from '../../support/full-stemcell.ts';
import type { DeployedParts } from './deploy.ts';

const limit = { timeoutMs: 20 * 60_000 };

/** Builds what the journeys deploy, as far as it is older than what it is made of. */
export async function buildParts(): Promise<DeployedParts> {
  if (await hasNewerSources(join(root, 'dist/agent/microbosh-agent.mjs'))) {
    await succeed([process.execPath, 'scripts/bundle.ts'], limit);
  }
  const stemcell = await flavouredStemcell('openstack');
  const release = join(root, 'dist/releases/microbosh-registry-with-runtime.tgz');
  const program = join(root, 'dist/registry/program/microbosh-registry.mjs');
  if ((await changedAt(release)) < (await changedAt(program))) {
    await succeed(
      ['packaging/releases/microbosh-registry/build', '--with-runtime', '--file', release],
      limit,
    );
  }
  return { stemcell, release };
}

/** The stemcell with the release baked in. */
export async function buildMicroStemcell({ stemcell, release }: DeployedParts): Promise<string> {
  const out = join(root, 'dist/stemcells/micro');
  const built = join(out, basename(stemcell));
  if ((await changedAt(built)) > Math.max(await changedAt(stemcell), await changedAt(release))) return built;
  return buildStemcell('openstack', { out, cache: stemcellCache, micro: { release, job: 'registry' } });
}

/** Of what is inside the guest. */
async function hasNewerSources(bundle: string): Promise<boolean> {
  const sources = ['apps/agent', 'apps/registry', 'libs'].map((folder) => join(root, folder));
  const left = ['*/node_modules/*', '*/libs/cpi*', '*.spec.ts'].flatMap((path) => ['-not', '-path', path]);
  const newer = (await changedAt(bundle)) === 0 ? [] : ['-newer', bundle];
  const { stdout } = await succeed(
    ['find', ...sources, '-name', '*.ts', ...left, ...newer, '-print', '-quit'],
    {},
  );
  return stdout !== '';
}

/** Milliseconds; 0 for what is not there. */
async function changedAt(path: string): Promise<number> {
  return stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
}
