import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statfsSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { PostgresServer, postgresMissing } from '@microbosh/registry-server/testing';
import { MixedWrites } from './testing/mixed-writes.ts';
import { RegistryProcess, baseConfig, freePort } from './testing/registry-process.ts';

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startRegistry(db: object, extra: object = {}, directory?: string): Promise<RegistryProcess> {
  const port = await freePort();
  const registry = new RegistryProcess(
    { ...baseConfig(port, db), ...extra },
    { port, ...(directory === undefined ? {} : { directory }) },
  );
  cleanups.push(() => registry.destroy());
  await registry.start();
  return registry;
}

function startWrites(registry: RegistryProcess, workers: number): MixedWrites {
  const writes = new MixedWrites({ url: registry.url, workers });
  cleanups.push(() => writes.close());
  return writes;
}

/** Kills the process in the middle of running writes, again and again; answers how many were acknowledged. */
async function killDuringWrites(
  registry: RegistryProcess,
  goal: { readonly writes: number; readonly kills: number },
): Promise<number> {
  const writes = startWrites(registry, 32);
  const step = Math.ceil(goal.writes / (goal.kills - 0.5));
  for (let kill = 1; kill <= goal.kills; kill += 1) {
    const target = Math.min(kill * step, goal.writes);
    const running = writes.run(target);
    while (writes.acknowledged < target - step / 2) await sleep(5);
    await registry.stop('SIGKILL');
    await registry.start();
    await running;
    expect(await writes.problems()).toEqual([]);
  }
  expect([...writes.outcomes.keys()].sort()).toEqual(['200', 'broken']);
  return writes.acknowledged;
}

/** Thousands of durable writes: on a busy machine they take minutes. */
const patient = { timeout: 600_000 };

describe('a registry that is killed', () => {
  it('has every acknowledged write of 10,000 after kill -9, and none half done', patient, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'microbosh-crash-'));
    const registry = await startRegistry(
      { adapter: 'sqlite', database: join(directory, 'r.db') },
      {},
      directory,
    );
    expect(await killDuringWrites(registry, { writes: 10_000, kills: 7 })).toBeGreaterThanOrEqual(10_000);
  });

  it('ends in order on SIGTERM: running requests are answered', async () => {
    const registry = await startRegistry({
      adapter: 'sqlite',
      database: join(mkdtempSync('/tmp/mr-'), 'r.db'),
    });
    const writes = startWrites(registry, 8);
    let stopping = false;
    const running = writes.run(100_000, () => stopping);
    while (writes.acknowledged < 300) await sleep(5);

    stopping = true;
    const exit = registry.stop('SIGTERM');
    await running;

    expect(await exit).toBe(0);
    expect([...writes.outcomes.keys()]).toEqual(['200']);
    await registry.start();
    expect(await writes.problems()).toEqual([]);
  });
});

describe('a full disk', () => {
  const reason = process.getuid?.() === 0 ? undefined : 'mounting a small file system needs root';
  it.skipIf(reason !== undefined)(
    `refuses writes, keeps reads, loses nothing, and goes on when there is room${reason ?? ''}`,
    async () => {
      const mountPoint = mkdtempSync(join(tmpdir(), 'microbosh-full-'));
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=12m,mode=0700', 'tmpfs', mountPoint]);
      cleanups.push(() => {
        execFileSync('umount', ['-l', mountPoint]);
        rmSync(mountPoint, { recursive: true });
      });
      const ballast = join(mountPoint, 'ballast');
      writeFileSync(ballast, Buffer.alloc(6 << 20));
      const registry = await startRegistry({ adapter: 'sqlite', database: join(mountPoint, 'r.db') });
      const writes = startWrites(registry, 16);

      await writes.run(100_000, () => (writes.outcomes.get('507') ?? 0) > 200);

      expect(writes.acknowledged).toBeGreaterThan(100);
      expect([...writes.outcomes.keys()].sort()).toEqual(['200', '507']);
      expect(await writes.problems()).toEqual([]);
      await registry.stop('SIGKILL');
      await registry.start();
      expect(await writes.problems()).toEqual([]);

      truncateSync(ballast, 0);
      unlinkSync(ballast);
      const before = writes.acknowledged;
      await writes.run(before + 300);
      expect(writes.acknowledged).toBeGreaterThanOrEqual(before + 300);
      expect(await writes.problems()).toEqual([]);
    },
  );
});

/** A file system of its own with little room. */
function smallDisk(megabytes: number): string {
  const mountPoint = mkdtempSync(join(tmpdir(), 'microbosh-full-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=0700`, 'tmpfs', mountPoint]);
  cleanups.push(() => {
    execFileSync('umount', ['-l', mountPoint]);
    rmSync(mountPoint, { recursive: true });
  });
  return mountPoint;
}

const missing = postgresMissing();
describe('PostgreSQL', () => {
  it.skipIf(missing !== undefined)(
    `has every acknowledged write after kill -9 of the registry, and none half done ${missing ?? ''}`,
    async () => {
      const postgres = await PostgresServer.start();
      cleanups.push(() => postgres.destroy());
      const { host, user, database } = await postgres.newDatabase();
      const directory = mkdtempSync(join(tmpdir(), 'microbosh-pgkill-'));
      const registry = await startRegistry(
        { adapter: 'postgres', host, user, database },
        { encryption: { key_file: join(directory, 'registry.key') } },
        directory,
      );
      // As many as SQLite takes: `CRASH_WRITES=10000`.
      const goal = Number(process.env['CRASH_WRITES'] ?? 2_000);

      expect(await killDuringWrites(registry, { writes: goal, kills: 3 })).toBeGreaterThanOrEqual(goal);
    },
  );

  it.skipIf(missing !== undefined).each(['data', 'write-ahead log'] as const)(
    `with a full disk under its %s loses nothing and goes on when there is room ${missing ?? ''}`,
    async (part) => {
      const isData = part === 'data';
      const disk = smallDisk(isData ? 64 : 16);
      const wal = isData ? mkdtempSync(join(tmpdir(), 'microbosh-wal-')) : disk;
      cleanups.push(() => (isData ? rmSync(wal, { recursive: true }) : undefined));
      const postgres = await PostgresServer.start(
        // The log keeps all that was written, so that it can fill a disk.
        ['full_page_writes=off', 'wal_keep_size=1GB', 'autovacuum=off'],
        { walIn: wal, ...(isData ? { dataIn: disk } : {}) },
      );
      cleanups.push(() => postgres.destroy());
      const { host, user, database } = await postgres.newDatabase();
      const directory = mkdtempSync(join(tmpdir(), 'microbosh-pgfull-'));
      const registry = await startRegistry(
        { adapter: 'postgres', host, user, database, retry_timeout: 0.5 },
        { encryption: { key_file: join(directory, 'registry.key') } },
        directory,
      );
      const writes = startWrites(registry, 16);
      await writes.run(100);
      const { bavail, bsize } = statfsSync(disk);
      const ballast = join(disk, 'ballast');
      writeFileSync(ballast, Buffer.alloc(bavail * bsize - (2 << 20)));

      const refused = () => (writes.outcomes.get('507') ?? 0) + (writes.outcomes.get('503') ?? 0);
      await writes.run(100_000, () => refused() > 40);

      // Without room for its log PostgreSQL stops and the registry says so; without room for data it serves reads.
      expect([...writes.outcomes.keys()].filter((outcome) => outcome !== '200')).toEqual(
        isData ? ['507'] : expect.arrayContaining(['503']),
      );
      expect(writes.outcomes.has('broken')).toBe(false);
      if (isData) expect(await writes.problems()).toEqual([]);
      unlinkSync(ballast);
      if (!isData) {
        await postgres.down('immediate');
        await postgres.up();
      }
      expect(await writes.problems()).toEqual([]);
      const before = writes.acknowledged;
      await writes.run(before + 300);
      expect(writes.acknowledged).toBeGreaterThanOrEqual(before + 300);
      expect(await writes.problems()).toEqual([]);
    },
  );

  it.skipIf(missing !== undefined)(
    `restarted and crashed under load: requests wait or fail cleanly, nothing is lost ${missing ?? ''}`,
    patient,
    async () => {
      const postgres = await PostgresServer.start();
      cleanups.push(() => postgres.destroy());
      const { host, user, database } = await postgres.newDatabase();
      const directory = mkdtempSync(join(tmpdir(), 'microbosh-pgdown-'));
      const registry = await startRegistry(
        { adapter: 'postgres', host, user, database, retry_timeout: 8 },
        { encryption: { key_file: join(directory, 'registry.key') } },
        directory,
      );
      const writes = startWrites(registry, 24);
      let over = false;
      const running = writes.run(100_000, () => over);

      for (const mode of ['fast', 'immediate', 'fast', 'immediate'] as const) {
        const before = writes.acknowledged;
        while (writes.acknowledged < before + 150) await sleep(5);
        await postgres.down(mode);
        await sleep(300);
        await postgres.up();
      }
      const before = writes.acknowledged;
      while (writes.acknowledged < before + 150) await sleep(5);
      over = true;
      await running;

      expect([...writes.outcomes.keys()].filter((outcome) => !['200', '503'].includes(outcome))).toEqual([]);
      expect(await writes.problems()).toEqual([]);
    },
  );

  it.skipIf(missing !== undefined)(
    `away for long: 503, not ready, alive, and back by itself ${missing ?? ''}`,
    async () => {
      const postgres = await PostgresServer.start(['fsync=off']);
      cleanups.push(() => postgres.destroy());
      const { host, user, database } = await postgres.newDatabase();
      const directory = mkdtempSync(join(tmpdir(), 'microbosh-pgaway-'));
      const registry = await startRegistry(
        { adapter: 'postgres', host, user, database, retry_timeout: 0.3 },
        { encryption: { key_file: join(directory, 'registry.key') } },
        directory,
      );
      await postgres.down('fast');

      const statuses = await Promise.all(
        ['/readyz', '/healthz', '/instances/vm-1/settings'].map(
          async (path) => (await registry.call('GET', path, { auth: 'admin:s3cret' })).status,
        ),
      );

      expect(statuses).toEqual([503, 200, 503]);
      await postgres.up();
      expect((await registry.call('GET', '/readyz')).status).toBe(200);
    },
  );
});
