import { RegistryClient } from '@microbosh/registry-client';
import type { CpiConfig } from './contract.ts';

/** The registry of a CPI that delivers settings through it. */
export interface RegistryAccess {
  readonly client: RegistryClient;
  /** PEM trust anchor, told to the agents. */
  readonly ca?: string;
}

/** Undefined when the configuration names none: settings travel as user data. */
export function registryAccess(config: CpiConfig): RegistryAccess | undefined {
  const { registry } = config.cloud.properties;
  if (registry === undefined) return undefined;
  return {
    client: new RegistryClient(registry),
    ...(registry.ca === undefined ? {} : { ca: registry.ca }),
  };
}

/** Null counts as absent, at every depth: job templates render absent properties as null. */
export function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, inner]) => inner !== null && inner !== undefined)
      .map(([key, inner]) => [key, withoutNulls(inner)]),
  );
}
