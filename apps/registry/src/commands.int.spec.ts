import { execFileSync, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { PostgresServer, TestCa, postgresMissing } from '@microbosh/registry-server/testing';
import { ADMIN, RegistryProcess, baseConfig, freePort } from './testing/registry-process.ts';
import { MixedWrites } from './testing/mixed-writes.ts';

let directory = '';
let registry: RegistryProcess;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'microbosh-commands-'));
});
afterEach(async () => {
  await registry.destroy();
  rmSync(directory, { recursive: true, force: true });
});

const put = (id: string, body: string) =>
  registry.call('PUT', `/instances/${id}/settings`, { auth: ADMIN, body });
const settingsOf = async (id: string) =>
  (await registry.call('GET', `/instances/${id}/settings`, { auth: ADMIN })).json?.['settings'];

const missing = postgresMissing();
let postgres: PostgresServer | undefined;
beforeAll(async () => {
  if (missing === undefined) postgres = await PostgresServer.start(['fsync=off']);
});
afterAll(() => postgres?.destroy());

const STORES: readonly { name: string; db: () => Promise<object> }[] = [
  { name: 'SQLite', db: async () => ({ adapter: 'sqlite', database: join(directory, 'r.db') }) },
  {
    name: 'PostgreSQL',
    db: async () => ({ adapter: 'postgres', ...(await postgres?.newDatabase()) }),
  },
];

async function make(db: object, extra: object = {}): Promise<RegistryProcess> {
  const port = await freePort();
  return new RegistryProcess(
    { ...baseConfig(port, db), encryption: { key_file: join(directory, 'registry.key') }, ...extra },
    { port, directory },
  );
}

describe.each(STORES)('$name', ({ name, db }) => {
  const unavailable = name === 'PostgreSQL' ? missing : undefined;

  it.skipIf(unavailable !== undefined)(
    `is backed up and restored while it serves ${unavailable ?? ''}`,
    async () => {
      registry = await make(await db());
      await registry.start();
      await put('vm-1', '{"v":"before"}');
      const minted = await registry.call('POST', '/instances/vm-1/tokens', { auth: ADMIN });
      const writes = new MixedWrites({ url: registry.url, workers: 4 });
      let over = false;
      const running = writes.run(100_000, () => over);
      const file = join(directory, 'backup');

      const backup = await registry.command('backup', file);
      await put('vm-1', '{"v":"after"}');
      await put('vm-new', '{}');
      const restore = await registry.command('restore', file);
      over = true;
      await running;
      await writes.close();

      expect([backup.exitCode, restore.exitCode]).toEqual([0, 0]);
      expect([...writes.outcomes.keys()]).toEqual(['200']);
      expect(await settingsOf('vm-1')).toBe('{"v":"before"}');
      expect((await registry.call('GET', '/instances/vm-new/settings', { auth: ADMIN })).status).toBe(404);
      const token = await registry.call('GET', '/instances/vm-1/settings', {
        auth: `vm-1:${String(minted.json?.['token'])}`,
      });
      expect(token.status).toBe(200);
      expect(statSync(file).mode & 0o077).toBe(0);
      expect(readFileSync(file, 'utf8')).not.toContain('before');
    },
  );

  it.skipIf(unavailable !== undefined)(
    `moves to a new key while it serves ${unavailable ?? ''}`,
    async () => {
      registry = await make(await db());
      await registry.start();
      const keyFile = join(directory, 'registry.key');
      const oldKey = (JSON.parse(readFileSync(keyFile, 'utf8')) as { active: string }).active;
      for (let index = 0; index < 450; index += 1) await put(`vm-${index}`, `{"n":${index}}`);
      const writes = new MixedWrites({ url: registry.url, workers: 4 });
      let over = false;
      const running = writes.run(100_000, () => over);

      const rotated = await registry.command('rotate-key', '--retire');
      over = true;
      await running;

      expect([rotated.exitCode, rotated.output]).toEqual([0, expect.stringContaining(`retired ${oldKey}`)]);
      expect([...writes.outcomes.keys()]).toEqual(['200']);
      expect(await writes.problems()).toEqual([]);
      await writes.close();
      const list = await registry.call('GET', '/instances?limit=1000', { auth: ADMIN });
      expect(list.text).not.toContain(`"key_id":"${oldKey}"`);
      expect(await settingsOf('vm-449')).toBe('{"n":449}');
      expect(readFileSync(keyFile, 'utf8')).not.toContain(oldKey);
      expect(readFileSync(`${keyFile}.retired`, 'utf8')).toContain(oldKey);
      await registry.stop();
      await registry.start();
      expect(await settingsOf('vm-7')).toBe('{"n":7}');
    },
  );

  it.skipIf(unavailable !== undefined)(
    `moves to the key that a command prints while it serves ${unavailable ?? ''}`,
    async () => {
      const printed = join(directory, 'printed.json');
      const print = (active: string, ...ids: string[]) =>
        writeFileSync(
          printed,
          JSON.stringify({
            version: 1,
            active,
            keys: Object.fromEntries(
              ids.map((id) => [id, Buffer.alloc(32, Number(id.slice(1))).toString('base64')]),
            ),
          }),
          { mode: 0o600 },
        );
      const reload = async () => {
        const before = registry.output.split('registry reloaded').length;
        registry.signal('SIGHUP');
        while (registry.output.split('registry reloaded').length === before)
          await new Promise((resolve) => setTimeout(resolve, 10));
      };
      print('k1', 'k1');
      registry = await make(await db(), { encryption: { key_command: ['cat', printed] }, loglevel: 'info' });
      await registry.start();
      for (let index = 0; index < 50; index += 1) await put(`vm-${index}`, `{"n":${index}}`);
      const writes = new MixedWrites({ url: registry.url, workers: 2 });
      let over = false;
      const running = writes.run(100_000, () => over);

      const refused = await registry.command('rotate-key', '--prepare');
      print('k2', 'k1', 'k2');
      await reload();
      const moved = await registry.command('rotate-key', '--reseal');
      print('k2', 'k2');
      await reload();
      over = true;
      await running;

      expect([refused.exitCode, refused.output]).toEqual([1, expect.stringContaining('come from a command')]);
      expect([moved.exitCode, moved.output]).toEqual([0, expect.stringContaining('moved to the key k2')]);
      expect([...writes.outcomes.keys()]).toEqual(['200']);
      expect(await writes.problems()).toEqual([]);
      await writes.close();
      await registry.stop();
      await registry.start();
      expect(await settingsOf('vm-49')).toBe('{"n":49}');
      const list = await registry.call('GET', '/instances?limit=1000', { auth: ADMIN });
      expect(list.text).not.toContain('"key_id":"k1"');
    },
  );

  it.skipIf(unavailable !== undefined)(
    `refuses a wrong key, clearly, and a missing one ${unavailable ?? ''}`,
    async () => {
      registry = await make(await db());
      await registry.start();
      await put('vm-1', '{}');
      await registry.stop();
      const keyFile = join(directory, 'registry.key');
      const good = readFileSync(keyFile, 'utf8');
      const { active } = JSON.parse(good) as { active: string };
      const other = Buffer.alloc(32, 7).toString('base64');

      writeFileSync(keyFile, JSON.stringify({ version: 1, active, keys: { [active]: other } }));
      const wrong = await registry.command('serve');
      writeFileSync(keyFile, JSON.stringify({ version: 1, active: 'k2', keys: { k2: other } }));
      const absent = await registry.command('serve');
      writeFileSync(keyFile, good);

      expect([wrong.exitCode, wrong.output]).toEqual([1, expect.stringContaining('E_REGISTRY_WRONG_KEY')]);
      expect([absent.exitCode, absent.output]).toEqual([
        1,
        expect.stringContaining('E_REGISTRY_KEY_MISSING'),
      ]);
      expect(wrong.output + absent.output).not.toContain(other);
      await registry.start();
      expect(await settingsOf('vm-1')).toBe('{}');
    },
  );
});

it.skipIf(missing !== undefined)(
  `moves everything from SQLite to PostgreSQL and back ${missing ?? ''}`,
  async () => {
    registry = await make({ adapter: 'sqlite', database: join(directory, 'a.db') });
    await registry.start();
    await put('vm-1', '{"n":1}');
    const minted = await registry.call('POST', '/instances/vm-1/tokens', {
      auth: ADMIN,
      body: '{"max_reads":5}',
    });
    const auth = `vm-1:${String(minted.json?.['token'])}`;

    for (const db of [
      { adapter: 'postgres', ...(await postgres?.newDatabase()) },
      { adapter: 'sqlite', database: join(directory, 'b.db') },
    ]) {
      expect((await registry.command('export', join(directory, 'export'))).exitCode).toBe(0);
      await registry.stop();
      registry = await make(db);
      expect((await registry.command('import', join(directory, 'export'))).output).toContain(
        'imported 1 instances',
      );
      await registry.start();
      expect((await registry.call('GET', '/instances/vm-1/settings', { auth })).json?.['settings']).toBe(
        '{"n":1}',
      );
    }
  },
);

describe('what an original registry has', () => {
  const ROWS = [
    ['vm-1', '{"agent_id":"a","quote":"it\'s \\"x\\" \\\\ tab\\t","u":"é"}'],
    ['i-2', '{"agent_id":"b"}'],
  ] as const;
  const expectImported = async () => {
    await registry.start();
    for (const [id, settings] of ROWS) expect(await settingsOf(id)).toBe(settings);
  };
  const originalSqlite = () => {
    const file = join(directory, 'original.db');
    const database = new DatabaseSync(file);
    database.exec(
      'CREATE TABLE registry_instances (id integer PRIMARY KEY AUTOINCREMENT, instance_id varchar(255) NOT NULL UNIQUE, settings text NOT NULL)',
    );
    for (const row of ROWS) {
      database.prepare('INSERT INTO registry_instances (instance_id, settings) VALUES (?, ?)').run(...row);
    }
    database.close();
    return file;
  };
  beforeEach(async () => {
    registry = await make({ adapter: 'sqlite', database: join(directory, 'r.db') });
  });

  it('is imported from its SQLite file, and again without harm', async () => {
    const file = originalSqlite();

    const first = await registry.command('import', '--original-sqlite', file);
    const second = await registry.command('import', '--original-sqlite', file);

    expect(first.output).toContain('imported 2 instances');
    expect(second.output).toContain('imported 0 instances');
    expect(second.output).toContain('kept 2');
    await expectImported();
  });

  it('is imported from the same file that ours is configured to use', async () => {
    const file = originalSqlite();
    renameSync(file, join(directory, 'r.db'));

    expect((await registry.command('import', '--original')).output).toContain('imported 2 instances');
    await expectImported();
  });

  it('is imported from the database of its own configuration file', async () => {
    const config = join(directory, 'original.yml');
    writeFileSync(
      config,
      `http: {port: 1, user: a, password: b}\ndb: {adapter: sqlite, database: ${originalSqlite()}}\n`,
    );

    expect((await registry.command('import', '--original-config', config)).output).toContain(
      'imported 2 instances',
    );
    await expectImported();
  });

  it.skipIf(missing !== undefined)(
    `is imported from PostgreSQL, and from both forms of its dump ${missing ?? ''}`,
    async () => {
      if (!postgres) throw new Error('started above');
      const connection = await postgres.newDatabase();
      const database = String(connection.database);
      await postgres.run(
        database,
        'CREATE TABLE registry_instances (id serial PRIMARY KEY, instance_id text NOT NULL UNIQUE, settings text NOT NULL)',
      );
      for (const [id, settings] of ROWS) {
        await postgres.run(
          database,
          `INSERT INTO registry_instances (instance_id, settings) VALUES ('${id}', '${settings.replaceAll("'", "''")}')`,
        );
      }
      const config = join(directory, 'original.yml');
      writeFileSync(
        config,
        JSON.stringify({
          http: { port: 1 },
          db: { adapter: 'postgres', host: postgres.directory, user: 'postgres', database },
        }),
      );
      const dump = (...options: string[]) =>
        execFileSync('pg_dump', ['-h', String(connection.host), '-U', 'postgres', ...options, database], {
          encoding: 'utf8',
        });
      writeFileSync(join(directory, 'copy.sql'), dump());
      writeFileSync(join(directory, 'insert.sql'), dump('--inserts'));

      for (const source of [
        ['--original-config', config],
        ['--original-dump', join(directory, 'copy.sql')],
        ['--original-dump', join(directory, 'insert.sql')],
      ]) {
        expect((await registry.command('import', ...source)).output).toContain('imported 2 instances');
        await expectImported();
        for (const [id] of ROWS) await registry.call('DELETE', `/instances/${id}/settings`, { auth: ADMIN });
        await registry.stop();
      }
    },
  );

  it('is refused row by row, without its values, when no agent could use it', async () => {
    const file = originalSqlite();
    const database = new DatabaseSync(file);
    database.exec(
      "INSERT INTO registry_instances (instance_id, settings) VALUES ('bad', CAST(x'ff00' AS TEXT))",
    );
    database.close();

    const result = await registry.command('import', '--original-sqlite', file);

    expect(result.exitCode).toBe(3);
    expect(result.output).toContain('refused "bad": The settings are not UTF-8.');
    await expectImported();
  });
});

describe('files of backups', () => {
  it('that are cut short or changed are refused before anything is replaced', async () => {
    registry = await make({ adapter: 'sqlite', database: join(directory, 'r.db') });
    await registry.start();
    for (const id of ['vm-1', 'vm-2']) await put(id, '{}');
    const file = join(directory, 'backup');
    await registry.command('backup', file);
    const text = readFileSync(file, 'utf8');
    const damaged = {
      cut: text.slice(0, text.lastIndexOf('{')),
      changed: text.replace('vm-1', 'vm-3'),
      longer: `${text}{}\n`,
      foreign: '{"a":1}\n',
      empty: '',
    };
    await put('vm-9', '{}');

    for (const [kind, content] of Object.entries(damaged)) {
      writeFileSync(file, content);
      expect([kind, (await registry.command('restore', file)).exitCode]).toEqual([kind, 1]);
    }

    expect(await settingsOf('vm-9')).toBe('{}');
  });

  it('move to a registry with other keys, with the keys of the file or in clear', async () => {
    registry = await make({ adapter: 'sqlite', database: join(directory, 'a.db') });
    await registry.start();
    await put('vm-1', '{"n":1}');
    await registry.command('export', join(directory, 'sealed'));
    const clear = await registry.command('export', join(directory, 'clear'), '--plaintext');
    await registry.stop();
    const oldKeys = join(directory, 'registry.key');
    const target = { encryption: { key_file: join(directory, 'other.key') } };
    registry = await make({ adapter: 'sqlite', database: join(directory, 'b.db') }, target);

    const without = await registry.command('import', join(directory, 'sealed'));
    const withKeys = await registry.command('import', join(directory, 'sealed'), '--key-file', oldKeys);
    await registry.start();
    expect(await settingsOf('vm-1')).toBe('{"n":1}');
    await registry.call('DELETE', '/instances/vm-1/settings', { auth: ADMIN });
    const inClear = await registry.command('import', join(directory, 'clear'));

    expect([without.exitCode, withKeys.exitCode, inClear.exitCode]).toEqual([1, 0, 0]);
    expect(without.output).toContain('E_REGISTRY_KEY_MISSING');
    expect(clear.output).toContain('in clear');
    expect(await settingsOf('vm-1')).toBe('{"n":1}');
  });
});

describe('a serving process', () => {
  it('takes new credentials and certificates on SIGHUP, and keeps the old ones when the file is bad', async () => {
    const ca = await TestCa.create();
    const files = { certificate: join(directory, 's.crt'), private_key: join(directory, 's.key') };
    const install = async (name: string) => {
      const issued = await ca.issue(name);
      writeFileSync(files.certificate, issued.certificate);
      writeFileSync(files.private_key, issued.privateKey, { mode: 0o600 });
    };
    await install('first');
    const port = await freePort();
    const config = (password: string) => ({
      loglevel: 'info',
      http: { address: '127.0.0.1', port, user: 'admin', password, tls: files },
      db: { adapter: 'sqlite', database: join(directory, 'r.db') },
    });
    registry = new RegistryProcess(config('one-password'), { port, directory, ca: ca.certificate });
    await registry.start();
    const status = async (password: string) =>
      (await registry.call('GET', '/instances', { auth: `admin:${password}` })).status;
    const reload = async (mark: string) => {
      const before = registry.output.split(mark).length;
      registry.signal('SIGHUP');
      while (registry.output.split(mark).length === before)
        await new Promise((resolve) => setTimeout(resolve, 10));
    };

    expect(await status('one-password')).toBe(200);
    await install('second');
    registry.configure(config('two-password'));
    await reload('registry reloaded');
    expect([await status('one-password'), await status('two-password')]).toEqual([401, 200]);

    appendFileSync(registry.configFile, '\n{');
    await reload('the reload was refused');
    expect(await status('two-password')).toBe(200);
    const shown = spawnSync('openssl', ['s_client', '-connect', `127.0.0.1:${port}`], {
      input: '',
      encoding: 'utf8',
    });
    expect(shown.stdout).toContain('CN = second');
    expect(registry.output).not.toContain('one-password');
  });

  it('serves old clients on a plain listener beside the one with TLS, only when asked', async () => {
    const ca = await TestCa.create();
    const issued = await ca.issue('registry');
    const files = { certificate: join(directory, 's.crt'), private_key: join(directory, 's.key') };
    writeFileSync(files.certificate, issued.certificate);
    writeFileSync(files.private_key, issued.privateKey, { mode: 0o600 });
    const [port, plainPort] = [await freePort(), await freePort()];
    registry = new RegistryProcess(
      {
        http: {
          address: '127.0.0.1',
          port,
          user: 'admin',
          password: 's3cret',
          tls: files,
          plain: { port: plainPort },
        },
        db: { adapter: 'sqlite', database: join(directory, 'r.db') },
        encryption: { key_command: ['cat', join(directory, 'k')] },
      },
      { port, directory, ca: ca.certificate },
    );
    writeFileSync(
      join(directory, 'k'),
      JSON.stringify({ version: 1, active: 'k1', keys: { k1: Buffer.alloc(32, 1).toString('base64') } }),
    );
    await registry.start();

    await put('vm-1', '{}');
    const plain = await fetch(`http://127.0.0.1:${plainPort}/instances/vm-1/settings`, {
      headers: { authorization: `Basic ${Buffer.from(ADMIN).toString('base64')}` },
    });

    expect(await plain.json()).toEqual({ status: 'ok', settings: '{}' });
  });
});
