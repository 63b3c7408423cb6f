import { readFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { POSTGRES_MIGRATIONS } from './adapters/postgres/postgres-schema.ts';
import { SQLITE_MIGRATIONS } from './adapters/sqlite/sqlite-schema.ts';
import { SqliteStore } from './index.ts';
import type { RegistryStore } from './index.ts';
import { PostgresStore } from './postgres.ts';
import { postgresFixture } from './testing/postgres-fixture.ts';
import { postgresMissing } from './testing/postgres-server.ts';
import { ADMIN, startRegistry } from './testing/running-registry.ts';
import type { RunningRegistry } from './testing/running-registry.ts';
import { sqliteFixture } from './testing/sqlite-fixture.ts';

const recorded = (name: string) =>
  readFileSync(join(import.meta.dirname, 'testing/testdata', `schema-1.${name}.sql`), 'utf8');

const sqlite = sqliteFixture();
const postgres = postgresFixture();
const STORES = [
  {
    name: 'SQLite',
    missing: undefined,
    fixture: sqlite,
    migrations: SQLITE_MIGRATIONS,
    execute: async (place: string, sql: string) => {
      const database = new DatabaseSync(place);
      database.exec(sql);
      database.close();
    },
    record: recorded('sqlite'),
    open: (place: string, migrations?: readonly string[]): RegistryStore =>
      new SqliteStore({ path: place, ...(migrations ? { migrations } : {}) }),
  },
  {
    name: 'PostgreSQL',
    missing: postgresMissing(),
    fixture: postgres,
    migrations: POSTGRES_MIGRATIONS,
    execute: async (place: string, sql: string) => {
      await postgres.server().run(place, sql);
    },
    record: recorded('postgres'),
    open: (place: string, migrations?: readonly string[]): RegistryStore =>
      new PostgresStore({
        connection: postgres.server().connection(place),
        ...(migrations ? { migrations } : {}),
      }),
  },
];

describe.each(STORES)('$name', ({ missing, fixture, migrations, execute, record, open }) => {
  if (missing !== undefined) {
    it.skip(`cannot run here: ${missing}`);
    return;
  }
  const cleanups: (() => Promise<void>)[] = [];
  beforeAll(() => fixture.setUp());
  afterAll(() => fixture.tearDown());
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0)) await cleanup();
  });
  const start = async (options: Parameters<typeof startRegistry>[0]): Promise<RunningRegistry> => {
    const registry = await startRegistry({ drainMs: 0, tls: false, ...options });
    cleanups.push(() => registry.stop());
    return registry;
  };

  describe('a database of schema version 1', () => {
    /** As its SQL file says. */
    const key = { active: 'k1', keys: new Map([['k1', Buffer.alloc(32, 1)]]) };
    const auth = `x:mbt_${'A'.repeat(43)}`;
    const next = [
      ...migrations,
      "ALTER TABLE microbosh_settings ADD COLUMN note TEXT NOT NULL DEFAULT 'of version 2'",
    ];
    const place = async () => {
      const made = await fixture.newPlace();
      await execute(made, record);
      return made;
    };

    it('serves its settings, tokens, counters and leases', async () => {
      const registry = await start({ store: open(await place()), encryption: { load: async () => key } });
      const read = () => registry.call('GET', '/instances/vm-1/settings', { auth });

      expect((await read()).json?.['settings']).toBe('{"agent_id":"vm-1","note":"recorded"}');
      const put = await registry.call('PUT', '/instances/vm-2/settings', { auth: ADMIN, body: '{}' });
      // The lease that was held is over by now; the token has one read left.
      expect(put.status).toBe(200);
      await registry.call('POST', '/instances/vm-1/settings/confirm', { auth });
      expect((await read()).status).toBe(401);
    });

    it('is brought to the next version by two processes at once, with everything that it holds', async () => {
      const made = await place();
      const stores = [open(made, next), open(made, next)];

      const applied = await Promise.all(stores.map((store) => store.migrate()));

      expect(applied.flat()).toEqual([migrations.length + 1]);
      await stores[1]?.close();
      const registry = await start({
        ...(stores[0] ? { store: stores[0] } : {}),
        encryption: { load: async () => key },
      });
      const answer = await registry.call('GET', '/instances/vm-1/settings', { auth });
      expect(answer.json?.['settings']).toBe('{"agent_id":"vm-1","note":"recorded"}');
      await execute(made, "UPDATE microbosh_settings SET note = 'can be written'");
    });

    it('is refused by the program of before once it was brought further', async () => {
      const made = await place();
      const newer = open(made, next);
      await newer.migrate();
      await newer.close();
      const older = open(made);

      await expect(older.migrate()).rejects.toMatchObject({ code: 'E_REGISTRY_SCHEMA_TOO_NEW' });

      await older.close();
    });

    it('stays as it was when a migration fails half way', async () => {
      const made = await place();
      const broken = open(made, [...migrations, 'CREATE TABLE half_done (a INTEGER); SELECT nothing_of_it']);
      await expect(broken.migrate()).rejects.toThrow(/nothing_of_it/);
      await broken.close();

      const store = open(made);
      expect(await store.migrate()).toEqual([]);
      await expect(execute(made, 'SELECT * FROM half_done')).rejects.toThrow(/half_done/);
      expect((await store.read('vm-1'))?.keyId).toBe('k1');
      await store.close();
    });
  });

  describe('rows that nobody touches', () => {
    it('are removed in the background after their time, and only they; the audit names them', async () => {
      let nowMs = 1_000_000;
      const lines: string[] = [];
      const registry = await start({
        store: open(await fixture.newPlace()),
        clock: () => nowMs,
        expireUntouchedAfterMs: 60_000,
        sweepIntervalMs: 50,
        audit: pino({}, { write: (line: string) => void lines.push(line) }),
      });
      const put = (id: string) =>
        registry.call('PUT', `/instances/${id}/settings`, { auth: ADMIN, body: '{}' });
      const ids = async () => {
        const list = await registry.call('GET', '/instances', { auth: ADMIN });
        return (list.json?.['instances'] as { id: string }[]).map(({ id }) => id).sort();
      };
      for (const id of ['vm-old', 'vm-read', 'vm-written']) await put(id);
      nowMs += 59_000;
      await registry.call('GET', '/instances/vm-read/settings', { auth: ADMIN });
      await put('vm-written');
      await sleep(200);
      expect(await ids()).toEqual(['vm-old', 'vm-read', 'vm-written']);

      nowMs += 2_000;
      for (let attempt = 0; attempt < 100 && (await ids()).includes('vm-old'); attempt += 1) await sleep(50);

      expect(await ids()).toEqual(['vm-read', 'vm-written']);
      await sleep(100);
      const expired = lines.filter((line) => line.includes('"event":"expired"'));
      expect(expired.map((line) => (JSON.parse(line) as { instanceIds: string[] }).instanceIds)).toEqual([
        ['vm-old'],
      ]);
    });
  });
});
