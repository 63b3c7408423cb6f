import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ReadQueue } from './read-queue.ts';

const LOCKED = Object.assign(new Error('database is locked'), { errcode: 5 });

describe('the queue of reads', () => {
  let database: DatabaseSync;
  beforeEach(() => {
    database = new DatabaseSync(':memory:');
  });
  afterEach(() => database.close());

  it('answers the reads of one turn in one transaction, and leaves none open', async () => {
    const reads = new ReadQueue(database, 1_000);
    const inTransaction = () => database.isTransaction;
    expect(await Promise.all([reads.run(inTransaction), reads.run(inTransaction)])).toEqual([true, true]);
    expect(database.isTransaction).toBe(false);
    expect(await reads.run(inTransaction)).toBe(false);
  });

  it('fails only the read that fails', async () => {
    const reads = new ReadQueue(database, 1_000);
    const outcomes = await Promise.allSettled([
      reads.run(() => 1),
      reads.run(() => database.prepare('SELECT nothing FROM nowhere').get()),
      reads.run(() => 3),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(database.isTransaction).toBe(false);
  });

  it('tries again while a lock is held, and gives up after its time', async () => {
    const reads = new ReadQueue(database, 100);
    let attempts = 0;
    const passing = reads.run(() => {
      attempts += 1;
      if (attempts < 3) throw LOCKED;
      return attempts;
    });
    expect(await passing).toBe(3);
    const lasting = reads.run(() => {
      throw LOCKED;
    });
    await expect(lasting).rejects.toMatchObject({ code: 'E_REGISTRY_STORE_UNAVAILABLE' });
  });
});
