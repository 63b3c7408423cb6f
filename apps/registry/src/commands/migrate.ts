import type { Streams } from '../cli.ts';
import { openStore } from '../compose.ts';
import { configOf } from './configured.ts';

export async function run(streams: Streams, options: Readonly<Record<string, unknown>>): Promise<number> {
  const { config } = await configOf(options);
  const store = await openStore(config.db);
  try {
    const applied = await store.migrate();
    streams.stdout.write(
      applied.length === 0 ? 'the database is up to date\n' : `applied migrations: ${applied.join(', ')}\n`,
    );
    return 0;
  } finally {
    await store.close();
  }
}
