import type { CpiFactory } from '@microbosh/cpi';

import { ManifestUnsupported, UnknownProvider } from '../errors.ts';
import type { CloudAccess, DeployerDependencies } from '../ports/deployer-dependencies.ts';
import { plainJson } from '../state/state-document.ts';

/** The CPIs that ship with this program; each is loaded only when it is used. */
const builtIn: Readonly<Record<string, () => Promise<CpiFactory>>> = {
  local: async () => (await import('@microbosh/cpi-local')).createLocalCpi,
  qemu: async () => (await import('@microbosh/cpi-qemu')).createQemuCpi,
  openstack: async () => (await import('@microbosh/cpi-openstack')).createOpenstackCpi,
  aws: async () => (await import('@microbosh/cpi-aws')).createAwsCpi,
};

export const checkCloud: DeployerDependencies['checkCloud'] = async (cloud) => {
  if (cloud.kind === 'release') {
    throw new ManifestUnsupported('A CPI release (cloud_provider.template) is not supported', {
      advice: `Use a CPI that ships with this program: cloud_provider.plugin, one of ${Object.keys(builtIn).join(', ')}.`,
    });
  }
  if (builtIn[cloud.plugin] === undefined) {
    throw new UnknownProvider(`Could not find Provider Plugin: ${cloud.plugin}`, {
      details: { plugin: cloud.plugin },
      advice: `There are: ${Object.keys(builtIn).join(', ')}.`,
    });
  }
};

export const openCloud: DeployerDependencies['openCloud'] = async (cloud, access) => {
  await checkCloud(cloud);
  const load = cloud.kind === 'built-in' ? builtIn[cloud.plugin] : undefined;
  if (cloud.kind !== 'built-in' || load === undefined) throw new Error('checked before');
  const create = await load();
  return create({ cloud: { plugin: cloud.plugin, properties: propertiesOf(cloud.properties, access) } });
};

function propertiesOf(given: Parameters<typeof plainJson>[0], access: CloudAccess) {
  return {
    ...plainJson(given),
    agent: access.agent,
    ...(access.registry === undefined ? {} : { registry: { ...access.registry } }),
  };
}
