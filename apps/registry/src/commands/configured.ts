import { loadConfig } from '../config/load.ts';
import type { LoadedConfig } from '../config/load.ts';
import { ConfigRefused } from '../config/problems.ts';
import type { Registry } from '@microbosh/registry-server';
import { openRegistry } from '../compose.ts';

/** The configuration that `-c` names. */
export async function configOf(options: Readonly<Record<string, unknown>>): Promise<LoadedConfig> {
  const path = options['config'];
  if (typeof path !== 'string') throw new ConfigRefused(['Give the configuration file: -c FILE']);
  return loadConfig(path);
}

/** Runs `work` on the configured database, which others may serve meanwhile. */
export async function withRegistry<T>(
  options: Readonly<Record<string, unknown>>,
  work: (registry: Registry, loaded: LoadedConfig) => Promise<T>,
): Promise<T> {
  const loaded = await configOf(options);
  const registry = await openRegistry(loaded.config);
  try {
    return await work(registry, loaded);
  } finally {
    await registry.store.close();
  }
}

export function optional(options: Readonly<Record<string, unknown>>, name: string): string | undefined {
  const value = options[name];
  return typeof value === 'string' ? value : undefined;
}

export function fileArgument(args: readonly string[]): string {
  const [file] = args;
  if (file === undefined) throw new ConfigRefused(['Give a file.']);
  return file;
}
