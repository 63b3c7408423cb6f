import type { Streams } from '../cli.ts';
import { ConfigDocument } from '../config/schema.ts';

export async function run(streams: Streams): Promise<number> {
  const schema = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'microbosh-registry',
    ...ConfigDocument,
  };
  streams.stdout.write(`${JSON.stringify(schema, null, 2)}\n`);
  return 0;
}
