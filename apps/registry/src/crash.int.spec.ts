import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
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

describe('a registry that is killed', () => {
  it('has every acknowledged write of 10,000 after kill -9, and none half done', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'microbosh-crash-'));
    const registry = await startRegistry(
      { adapter: 'sqlite', database: join(directory, 'r.db') },
      {},
      directory,
    );
    const writes = startWrites(registry, 32);
    let kills = 0;

    for (let target = 1_500; target <= 10_500; target += 1_500) {
      const running = writes.run(Math.min(target, 10_000));
      while (writes.acknowledged < Math.min(target, 10_000) - 700) await sleep(5);
      await registry.stop('SIGKILL');
      kills += 1;
      await registry.start();
      await running;
      expect(await writes.problems()).toEqual([]);
    }

    expect(kills).toBe(7);
    expect(writes.acknowledged).toBeGreaterThanOrEqual(10_000);
    expect([...writes.outcomes.keys()].sort()).toEqual(['200', 'broken']);
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

const missing = postgresMissing();
describe('PostgreSQL', () => {
  it.skipIf(missing !== undefined)(
    `restarted and crashed under load: requests wait or fail cleanly, nothing is lost ${missing ?? ''}`,
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
        while (writes.acknowledged < before + 400) await sleep(5);
        await postgres.down(mode);
        await sleep(300);
        await postgres.up();
      }
      const before = writes.acknowledged;
      while (writes.acknowledged < before + 400) await sleep(5);
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
