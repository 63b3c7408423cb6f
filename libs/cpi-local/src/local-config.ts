import { isAbsolute, normalize } from 'node:path';
import { isJsonObject, type JsonObject } from '@microbosh/errors';
import { GenericCpiError, type CpiConfig } from '@microbosh/cpi';

export const defaultRootDir = '/var/lib/microbosh/local';

/** `cloud.properties.local` and what all CPIs share. */
export interface LocalConfig {
  /** Everything that belongs to this CPI's VMs, disks and stemcells. */
  readonly rootDir: string;
  /** Subnet for networks of type dynamic. */
  readonly dynamicSubnet: string;
  readonly agent: JsonObject;
  readonly registry: CpiConfig['cloud']['properties']['registry'];
}

const knownKeys = ['root_dir', 'dynamic_subnet'];

export function readLocalConfig(config: CpiConfig): LocalConfig {
  const properties = config.cloud.properties;
  const local = properties['local'] ?? {};
  if (!isJsonObject(local)) throw new GenericCpiError("'cloud.properties.local' must be a map");
  for (const key of Object.keys(local)) {
    if (!knownKeys.includes(key)) {
      throw new GenericCpiError(`Unknown key 'cloud.properties.local.${key}'`, {
        advice: `Known keys are ${knownKeys.join(', ')}.`,
      });
    }
  }
  const rootDir = local['root_dir'] ?? defaultRootDir;
  // The path stands in mount options of overlayfs, which give , and : a meaning.
  if (typeof rootDir !== 'string' || !isAbsolute(rootDir) || /[,:\\\s"]/.test(rootDir)) {
    throw new GenericCpiError(
      "'cloud.properties.local.root_dir' must be an absolute path without spaces, commas, colons, quotes and backslashes",
    );
  }
  const dynamicSubnet = local['dynamic_subnet'] ?? '10.253.0.0/24';
  if (typeof dynamicSubnet !== 'string') {
    throw new GenericCpiError("'cloud.properties.local.dynamic_subnet' must be a string");
  }
  return {
    rootDir: normalize(rootDir).replace(/(?<=.)\/$/, ''),
    dynamicSubnet,
    agent: properties.agent ?? {},
    registry: properties.registry,
  };
}
