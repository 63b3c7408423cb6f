import { Keyring, adoptRecords, readKeyFile, readSnapshotFile } from '@microbosh/registry-server';
import type { Registry } from '@microbosh/registry-server';
import type { Streams } from '../cli.ts';
import { fileArgument, optional, withRegistry } from './configured.ts';

export async function run(
  streams: Streams,
  options: Readonly<Record<string, unknown>>,
  args: readonly string[],
): Promise<number> {
  const file = fileArgument(args);
  const count = await withRegistry(options, (registry) =>
    loadFile(registry, file, optional(options, 'keyFile'), 'replace'),
  );
  streams.stdout.write(`restored ${count} instances\n`);
  return 0;
}

/** Loads a snapshot file, after every row of it was opened with the keys at hand. */
export async function loadFile(
  registry: Registry,
  file: string,
  keyFile: string | undefined,
  mode: 'replace' | 'merge',
): Promise<number> {
  const source = keyFile === undefined ? registry.keyring : new Keyring(await readKeyFile(keyFile));
  return registry.store.load(adoptRecords(readSnapshotFile(file), source, registry.keyring), mode);
}
