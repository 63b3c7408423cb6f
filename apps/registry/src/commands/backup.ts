import { writeSnapshotFile } from '@microbosh/registry-server';
import type { Streams } from '../cli.ts';
import { fileArgument, withRegistry } from './configured.ts';

export async function run(
  streams: Streams,
  options: Readonly<Record<string, unknown>>,
  args: readonly string[],
): Promise<number> {
  const file = fileArgument(args);
  const records = await withRegistry(options, ({ store }) => writeSnapshotFile(file, store.snapshot()));
  streams.stdout.write(`wrote ${records} records to ${file}; restoring them needs the key file too\n`);
  return 0;
}
