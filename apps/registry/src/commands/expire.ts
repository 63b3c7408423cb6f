import type { Streams } from '../cli.ts';
import { ConfigRefused } from '../config/problems.ts';
import { withRegistry } from './configured.ts';

const DAY_MS = 86_400_000;

export async function run(streams: Streams, options: Readonly<Record<string, unknown>>): Promise<number> {
  const days = Number(options['olderThan']);
  if (!(days > 0)) throw new ConfigRefused(['--older-than takes a number of days.']);
  const dryRun = options['dryRun'] === true;
  const expired = await withRegistry(options, (registry) =>
    registry.expireUntouched(days * DAY_MS, { dryRun }),
  );
  for (const instanceId of expired)
    streams.stdout.write(`${dryRun ? 'would expire' : 'expired'} ${instanceId}\n`);
  streams.stdout.write(`${expired.length} instances\n`);
  return 0;
}
