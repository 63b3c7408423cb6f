import type { CpiFactory } from '@microbosh/cpi';
import { messageOf } from '@microbosh/errors';
import type { Cloud } from '../engine/effects.ts';
import { namesRegistry } from '../access/registry-use.ts';
import { UnknownProvider } from '../errors.ts';
import type { CloudAccess, DeployerDependencies } from '../ports/deployer-dependencies.ts';
import { plainJson } from '../state/state-document.ts';
import type { StateStore } from '../state/state-store.ts';
import type { CpiCaches } from './release-cloud.ts';

/** The CPIs that ship with this program; each is loaded only when it is used. */
const builtIn: Readonly<Record<string, () => Promise<CpiFactory>>> = {
  local: async () => (await import('@microbosh/cpi-local')).createLocalCpi,
  qemu: async () => (await import('@microbosh/cpi-qemu')).createQemuCpi,
  openstack: async () => (await import('@microbosh/cpi-openstack')).createOpenstackCpi,
  aws: async () => (await import('@microbosh/cpi-aws')).createAwsCpi,
  vsphere: async () => (await import('@microbosh/cpi-vsphere')).createVsphereCpi,
  vcloud: async () => (await import('@microbosh/cpi-vcloud')).createVcloudCpi,
};

/** Whoever needs them hears of what cannot be loaded. */
export const warmUp: DeployerDependencies['warmUp'] = (cloud) => {
  if (cloud.kind !== 'built-in') return;
  builtIn[cloud.plugin]?.().catch(() => undefined);
  if (!namesRegistry(cloud)) import('@microbosh/registry-server').catch(() => undefined);
};

export const checkCloud: DeployerDependencies['checkCloud'] = async (cloud) => {
  if (cloud.kind === 'built-in' && cloud.executable !== undefined) {
    await requireExecutable(cloud.executable);
    return;
  }
  // A CPI release is opened, compiled and asked for its version before anything is touched.
  if (cloud.kind === 'release' || Object.hasOwn(builtIn, cloud.plugin)) return;
  throw new UnknownProvider(`Could not find Provider Plugin: ${cloud.plugin}`, {
    details: { plugin: cloud.plugin },
    advice: `There are: ${Object.keys(builtIn).join(', ')}.`,
  });
};

/** Opens a CPI of this program in this process, and one of a release as an executable. */
export function cloudOpener(caches: CpiCaches): DeployerDependencies['openCloud'] {
  return async (cloud, access, store, context) => {
    await checkCloud(cloud);
    if (cloud.kind === 'release') {
      const { openReleaseCloud } = await import('./release-cloud.ts');
      return openReleaseCloud(cloud, access, store, context, caches);
    }
    if (cloud.executable !== undefined) return openExecutable(cloud.executable, store, context);
    const load = builtIn[cloud.plugin];
    if (load === undefined) throw new Error('checked before');
    const create = await load();
    return create({ cloud: { plugin: cloud.plugin, properties: propertiesOf(cloud.properties, access) } });
  };
}

async function requireExecutable(path: string): Promise<void> {
  const { access, constants } = await import('node:fs/promises');
  try {
    await access(path, constants.X_OK);
  } catch (error) {
    throw new UnknownProvider(`The CPI at cloud.provider.path cannot be run: ${messageOf(error)}`, {
      details: { path },
      advice: 'Check the path and the mode of the file.',
      cause: error,
    });
  }
}

/** One process per call. It has its configuration itself: nothing but the call is handed to it. */
async function openExecutable(
  executable: string,
  store: StateStore,
  context: Parameters<DeployerDependencies['openCloud']>[3],
): Promise<Cloud> {
  const { ProcessCpi } = await import('@microbosh/cpi');
  const { callGraceMs, graceAfterAbort } = await import('./grace.ts');
  const { boundedLog } = await import('../state/bounded-log.ts');
  const log = boundedLog(store.paths.cpiLog);
  const grace = graceAfterAbort(context.signal, callGraceMs);
  const cpi = new ProcessCpi({
    executable,
    secrets: context.secrets,
    signal: grace.signal,
    log: (line) => log(`${new Date().toISOString()} ${line}`),
  });
  return Object.assign(cpi, { dispose: async () => grace.dispose() });
}

function propertiesOf(given: Parameters<typeof plainJson>[0], access: CloudAccess) {
  return {
    ...plainJson(given),
    agent: access.agent,
    ...(access.registry === undefined ? {} : { registry: { ...access.registry } }),
  };
}
