import { isJsonObject } from '@microbosh/errors';
import type { DeploymentModel } from '@microbosh/spec';
import { ManifestUnsupported } from '../errors.ts';
import type { ExternalRegistry } from './registry-witness.ts';

/** `--registry`, `--no-registry`, or neither. */
export type RegistryChoice = 'wanted' | 'unwanted' | 'unsaid';

/** From this version on an agent finds its settings in the user data, and a CPI knows to put them there. */
const settingsInUserData = 2;

/**
 * Whether VMs get their settings from a registry. They do with the CPIs of this program, unless the operator says otherwise.
 * With a CPI release, as manifests of create-env name one, they do when the manifest configures a registry, or when one side
 * cannot do without; that is what create-env itself does.
 */
export function usesRegistry(about: {
  readonly choice: RegistryChoice;
  readonly cloud: DeploymentModel['cloud'];
  readonly stemcellApiVersion: number;
  readonly cpiApiVersion: number;
}): boolean {
  const { choice, cloud, stemcellApiVersion, cpiApiVersion } = about;
  const canDoWithout = Math.min(stemcellApiVersion, cpiApiVersion) >= settingsInUserData;
  if (choice === 'unwanted') {
    if (canDoWithout) return false;
    throw new ManifestUnsupported(
      `--no-registry needs a CPI and a stemcell of API version ${settingsInUserData}; here they are of ${cpiApiVersion} and ${stemcellApiVersion}`,
      {
        details: { cpiApiVersion, stemcellApiVersion },
        advice: 'Leave the option out, or use a newer stemcell.',
      },
    );
  }
  if (choice === 'wanted' || cloud.kind === 'built-in' || !canDoWithout) return true;
  return cloud.sshTunnel !== undefined || namesRegistry(cloud);
}

/**
 * The cloud does not say where a VM reaches this machine, and the manifest has no tunnel: settings become user data, unless
 * the operator asks for a registry. What else cannot do without one, the CPI says.
 */
export function checkUnreachable(choice: RegistryChoice): void {
  if (choice !== 'wanted') return;
  throw new ManifestUnsupported(
    '--registry: a VM of this cloud would not reach a registry in this process, for the cloud does not say at which address this machine is',
    {
      advice:
        "Leave the option out, give a tunnel ('cloud_provider.ssh_tunnel'; 'private_key' of the plug-in in micro_bosh.yml), or name a registry that the VM reaches in 'cloud_provider.properties.registry'.",
    },
  );
}

/** `cloud_provider.properties.registry` names one that is already there. */
export function namesRegistry({ properties }: Pick<DeploymentModel['cloud'], 'properties'>): boolean {
  const registry = properties['registry'];
  return isJsonObject(registry) && typeof registry['endpoint'] === 'string';
}

/** That one, when the manifest says how to ask it. */
export function namedRegistry({
  properties,
}: Pick<DeploymentModel['cloud'], 'properties'>): ExternalRegistry | undefined {
  const registry = properties['registry'];
  if (!isJsonObject(registry)) return undefined;
  const { endpoint, user, password, ca } = registry;
  if (typeof endpoint !== 'string' || !URL.canParse(endpoint)) return undefined;
  const url = new URL(endpoint);
  return {
    endpoint: url.origin,
    user: typeof user === 'string' ? user : decodeURIComponent(url.username),
    password: typeof password === 'string' ? password : decodeURIComponent(url.password),
    ...(typeof ca === 'string' ? { ca } : {}),
  };
}

/** The cloud as a CPI without a registry is to see it. */
export function withoutRegistry<C extends DeploymentModel['cloud']>(cloud: C): C {
  const properties = Object.fromEntries(
    Object.entries(cloud.properties).filter(([name]) => name !== 'registry'),
  );
  return { ...cloud, properties };
}
