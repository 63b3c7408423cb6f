import { readFile } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { importOriginal, parseOriginalDump } from '@microbosh/registry-server';
import type { ImportReport, Registry } from '@microbosh/registry-server';
import type { Streams } from '../cli.ts';
import { openStore } from '../compose.ts';
import { loadConfig } from '../config/load.ts';
import { ConfigRefused } from '../config/problems.ts';
import { fileArgument, optional, withRegistry } from './configured.ts';
import { loadFile } from './restore.ts';

type OriginalRows = AsyncIterable<{ readonly instanceId: string; readonly settings: Uint8Array }>;

export async function run(
  streams: Streams,
  options: Readonly<Record<string, unknown>>,
  args: readonly string[],
): Promise<number> {
  return withRegistry(options, async (registry) => {
    const rows = originalRows(registry, options);
    if (rows) return report(streams, await importOriginal(registry, rows));
    const count = await loadFile(registry, fileArgument(args), optional(options, 'keyFile'), 'merge');
    streams.stdout.write(`imported ${count} instances\n`);
    return 0;
  });
}

function originalRows(
  registry: Registry,
  options: Readonly<Record<string, unknown>>,
): OriginalRows | undefined {
  const sqlite = optional(options, 'originalSqlite');
  const config = optional(options, 'originalConfig');
  const dump = optional(options, 'originalDump');
  if ([sqlite, config, dump, options['original']].filter((one) => one !== undefined).length > 1) {
    throw new ConfigRefused(['Give one source of original rows.']);
  }
  if (options['original'] === true) return registry.store.originalRows();
  if (sqlite !== undefined) return sqliteRows(sqlite);
  if (config !== undefined) return databaseRows(config);
  return dump === undefined ? undefined : dumpRows(dump);
}

async function* sqliteRows(file: string): OriginalRows {
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    const rows = database
      .prepare('SELECT instance_id, CAST(settings AS BLOB) AS settings FROM registry_instances')
      .iterate();
    for (const { instance_id: instanceId, settings } of rows) {
      if (typeof instanceId === 'string' && settings instanceof Uint8Array) yield { instanceId, settings };
    }
  } finally {
    database.close();
  }
}

async function* databaseRows(configFile: string): OriginalRows {
  const { config } = await loadConfig(configFile);
  if (config.db.adapter === 'sqlite') {
    yield* sqliteRows(config.db.file);
    return;
  }
  const store = await openStore(config.db);
  try {
    yield* store.originalRows();
  } finally {
    await store.close();
  }
}

async function* dumpRows(file: string): OriginalRows {
  for (const row of parseOriginalDump(await readFile(file, 'utf8'))) {
    yield { instanceId: row.instanceId, settings: Buffer.from(row.settings) };
  }
}

function report(streams: Streams, { imported, kept, refused }: ImportReport): number {
  streams.stdout.write(`imported ${imported} instances\n`);
  if (kept.length > 0) streams.stdout.write(`kept ${kept.length} that were here already\n`);
  for (const { instanceId, reason } of refused) {
    streams.stderr.write(`refused ${JSON.stringify(instanceId)}: ${reason}\n`);
  }
  return refused.length > 0 ? 3 : 0;
}
