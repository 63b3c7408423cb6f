import { openRecords, writeSnapshotFile } from '@microbosh/registry-server';
import type { Streams } from '../cli.ts';
import { fileArgument, withRegistry } from './configured.ts';

export async function run(
  streams: Streams,
  options: Readonly<Record<string, unknown>>,
  args: readonly string[],
): Promise<number> {
  const file = fileArgument(args);
  const inClear = options['plaintext'] === true;
  const records = await withRegistry(options, ({ store, keyring }) =>
    writeSnapshotFile(file, inClear ? openRecords(store.snapshot(), keyring) : store.snapshot()),
  );
  streams.stdout.write(`wrote ${records} records to ${file}\n`);
  if (inClear) streams.stderr.write(`${file} holds every secret in clear: remove it when it has served.\n`);
  return 0;
}
