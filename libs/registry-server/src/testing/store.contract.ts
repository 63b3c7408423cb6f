import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ListQuery, RegistryStore, SettingsWrite, SnapshotRecord } from '../index.ts';
import { hashReadToken } from '../access/read-tokens.ts';
import { leaseRow, sealedRow, tokenRow } from './builders.ts';

/** Makes empty stores of one kind; `open` may be called twice for the same one. */
export interface StoreFixture {
  setUp(): Promise<void>;
  tearDown(): Promise<void>;
  /** A place for a new database. */
  newPlace(): Promise<string>;
  /** Opens the database of a place, as one more process would. */
  open(place: string): Promise<RegistryStore>;
}

const NOW_MS = 10_000;

/** What every store must do. */
export function describeStoreContract(name: string, fixture: StoreFixture): void {
  describe(`${name}: the contract of a store`, () => {
    let store: RegistryStore;
    let place: string;
    beforeAll(() => fixture.setUp());
    afterAll(() => fixture.tearDown());
    beforeEach(async () => {
      place = await fixture.newPlace();
      store = await fixture.open(place);
      await store.migrate();
    });
    afterEach(() => store.close());

    const put = (id: string, more: Partial<SettingsWrite> & { etag?: string } = {}) => {
      const { etag, ...rest } = more;
      return store.write({ row: sealedRow(id, etag === undefined ? {} : { etag }), nowMs: NOW_MS, ...rest });
    };
    const ids = async (query: Partial<ListQuery> = {}) =>
      (await store.list({ limit: 100, nowMs: NOW_MS, ...query })).map((row) => row.instanceId);

    it('applies its migrations once', async () => {
      expect(await store.migrate()).toEqual([]);
    });

    it('lets two processes migrate at the same time', async () => {
      const fresh = await fixture.newPlace();
      const stores = await Promise.all([fixture.open(fresh), fixture.open(fresh)]);

      const applied = await Promise.all(stores.map((one) => one.migrate()));

      expect(applied.flat()).toEqual([1]);
      await Promise.all(stores.map((one) => one.close()));
    });

    it('keeps what another process can read at once', async () => {
      const other = await fixture.open(place);

      await put('vm-1');

      expect(await other.read('vm-1')).toEqual(sealedRow('vm-1'));
      await other.close();
    });

    it('keeps any bytes, and ids that are SQL, unicode or long', async () => {
      const strange = [
        "x'; DROP TABLE microbosh_settings; --",
        '%_"\\$1 ?1 :now',
        'ид 機 🙂',
        'a'.repeat(255),
        '; ',
      ];
      const every = Uint8Array.from({ length: 256 }, (_, index) => index);

      for (const id of strange)
        await store.write({ row: { ...sealedRow(id), sealed: every }, nowMs: NOW_MS });

      for (const id of strange) {
        const row = await store.read(id);
        expect(row?.instanceId).toBe(id);
        expect(Buffer.from(row?.sealed ?? []).equals(every)).toBe(true);
      }
      expect((await ids()).sort()).toEqual([...strange].sort());
    });

    it('replaces a row and keeps when it was made', async () => {
      await put('vm-1');
      const later = { ...sealedRow('vm-1', { etag: 'e2', atMs: 5_000 }) };

      const outcome = await store.write({ row: later, nowMs: NOW_MS });

      expect(outcome).toEqual({ kind: 'written', created: false });
      expect(await store.read('vm-1')).toEqual({ ...later, createdAtMs: 1_000 });
    });

    it('tells a created row from a replaced one', async () => {
      expect(await put('vm-1')).toEqual({ kind: 'written', created: true });
      expect(await put('vm-1')).toEqual({ kind: 'written', created: false });
    });

    describe('conditions', () => {
      it('writes when If-Match names the current etag, and not otherwise', async () => {
        await put('vm-1', { etag: 'e1' });

        expect(await put('vm-1', { etag: 'e2', ifMatch: ['e0', 'e1'] })).toMatchObject({ kind: 'written' });
        expect(await put('vm-1', { etag: 'e3', ifMatch: ['e1'] })).toEqual({
          kind: 'condition-failed',
          currentEtag: 'e2',
        });
        expect((await store.read('vm-1'))?.etag).toBe('e2');
      });

      it('does not create what If-Match expects to be there', async () => {
        expect(await put('vm-1', { ifMatch: ['e1'] })).toEqual({ kind: 'condition-failed' });
        expect(await put('vm-1', { ifMatch: '*' })).toEqual({ kind: 'condition-failed' });
        expect(await store.read('vm-1')).toBeUndefined();
      });

      it('replaces any row for If-Match *', async () => {
        await put('vm-1');

        expect(await put('vm-1', { ifMatch: '*' })).toMatchObject({ kind: 'written' });
      });

      it('creates once for If-None-Match *', async () => {
        expect(await put('vm-1', { etag: 'e1', ifNoneMatch: '*' })).toMatchObject({ kind: 'written' });
        expect(await put('vm-1', { etag: 'e2', ifNoneMatch: '*' })).toEqual({
          kind: 'condition-failed',
          currentEtag: 'e1',
        });
      });

      it('gives one of many racing conditional writes the row', async () => {
        await put('vm-1', { etag: 'e0' });

        const outcomes = await Promise.all(
          Array.from({ length: 20 }, (_, index) => put('vm-1', { etag: `n${index}`, ifMatch: ['e0'] })),
        );

        expect(outcomes.filter((outcome) => outcome.kind === 'written')).toHaveLength(1);
      });

      it('removes only the row that If-Match names', async () => {
        await put('vm-1', { etag: 'e1' });

        expect(await store.remove({ instanceId: 'vm-1', ifMatch: ['e0'], nowMs: NOW_MS })).toEqual({
          kind: 'condition-failed',
          currentEtag: 'e1',
        });
        expect(await store.remove({ instanceId: 'vm-1', ifMatch: ['e1'], nowMs: NOW_MS })).toEqual({
          kind: 'removed',
        });
      });
    });

    describe('removal', () => {
      it('says whether there was a row', async () => {
        await put('vm-1');

        expect(await store.remove({ instanceId: 'vm-1', nowMs: NOW_MS })).toEqual({ kind: 'removed' });
        expect(await store.remove({ instanceId: 'vm-1', nowMs: NOW_MS })).toEqual({ kind: 'absent' });
      });

      it('takes tokens, lease and activity along, of this instance only', async () => {
        for (const id of ['vm-1', 'vm-2']) {
          await put(id);
          await store.addToken(tokenRow(id, `token of ${id}`));
          await store.acquireLease(leaseRow(id, 'nonce'));
          await store.recordActivity([{ instanceId: id, reads: 1, deniedReads: 1, lastReadAtMs: 5 }]);
        }

        await store.remove({ instanceId: 'vm-1', nowMs: NOW_MS });
        await put('vm-1');

        const [first, second] = await store.list({ limit: 10, nowMs: NOW_MS });
        expect(first).toMatchObject({ instanceId: 'vm-1', reads: 0, deniedReads: 0, activeTokens: 0 });
        expect(first?.lease).toBeUndefined();
        expect(second).toMatchObject({ instanceId: 'vm-2', reads: 1, deniedReads: 1, activeTokens: 1 });
      });
    });

    describe('tokens', () => {
      it('finds a token only with its own instance', async () => {
        await put('vm-1');
        await put('vm-2');
        await store.addToken(tokenRow('vm-1', 'secret'));

        const own = await store.readWithToken('vm-1', hashReadToken('secret'));
        const foreign = await store.readWithToken('vm-2', hashReadToken('secret'));
        const unknown = await store.readWithToken('vm-1', hashReadToken('other'));

        expect(own).toEqual({ token: tokenRow('vm-1', 'secret'), settings: sealedRow('vm-1') });
        expect(foreign).toEqual({});
        expect(unknown).toEqual({});
      });

      it('finds a token whose instance has no settings yet', async () => {
        await store.addToken(tokenRow('vm-1', 'secret', { maxReads: 2, expiresAtMs: 9 }));

        expect(await store.readWithToken('vm-1', hashReadToken('secret'))).toEqual({
          token: tokenRow('vm-1', 'secret', { maxReads: 2, expiresAtMs: 9 }),
        });
      });

      it('takes the same token twice, but not for two instances', async () => {
        expect(await store.addToken(tokenRow('vm-1', 'secret'))).toBe(true);
        expect(await store.addToken(tokenRow('vm-1', 'secret'))).toBe(true);
        expect(await store.addToken(tokenRow('vm-2', 'secret'))).toBe(false);
        expect(await store.listTokens('vm-1')).toHaveLength(1);
      });

      it('removes a token by its id', async () => {
        const row = tokenRow('vm-1', 'secret');
        await store.addToken(row);

        expect(await store.removeToken('vm-2', row.tokenId)).toBe(false);
        expect(await store.removeToken('vm-1', row.tokenId)).toBe(true);
        expect(await store.listTokens('vm-1')).toEqual([]);
      });

      it('counts confirmed reads up to the limit, also when they race', async () => {
        await store.addToken(tokenRow('vm-1', 'secret', { maxReads: 3 }));
        const confirm = () =>
          store.confirmRead({ instanceId: 'vm-1', tokenHash: hashReadToken('secret'), nowMs: NOW_MS });

        const outcomes = await Promise.all(Array.from({ length: 10 }, confirm));

        expect(outcomes.filter((outcome) => outcome === 'confirmed')).toHaveLength(3);
        expect(outcomes.filter((outcome) => outcome === 'unusable')).toHaveLength(7);
      });

      it('does not count a read of settings that have changed since', async () => {
        await put('vm-1', { etag: 'e1' });
        await store.addToken(tokenRow('vm-1', 'secret', { maxReads: 1 }));
        const confirm = (etag: string) =>
          store.confirmRead({ instanceId: 'vm-1', tokenHash: hashReadToken('secret'), etag, nowMs: NOW_MS });

        expect(await confirm('e0')).toBe('stale');
        expect(await confirm('e1')).toBe('confirmed');
        expect(await confirm('e1')).toBe('unusable');
      });

      it('sweeps what is expired or spent, and nothing else', async () => {
        await store.addToken(tokenRow('vm-1', 'expired', { expiresAtMs: NOW_MS }));
        await store.addToken(tokenRow('vm-1', 'spent', { maxReads: 1, confirmedReads: 1 }));
        await store.addToken(tokenRow('vm-1', 'good', { expiresAtMs: NOW_MS + 1, maxReads: 1 }));
        await store.acquireLease(leaseRow('vm-1', 'gone', { expiresAtMs: NOW_MS }));
        await store.acquireLease(leaseRow('vm-2', 'held'));

        expect(await store.sweep(NOW_MS)).toEqual({ tokens: 2, leases: 1 });
        expect((await store.listTokens('vm-1')).map((row) => row.tokenHash)).toEqual([hashReadToken('good')]);
        expect(await store.readLease('vm-2', NOW_MS)).toBeDefined();
      });
    });

    describe('leases', () => {
      it('gives a lease to one of many that ask together', async () => {
        const outcomes = await Promise.all(
          Array.from({ length: 10 }, (_, index) => store.acquireLease(leaseRow('vm-1', `nonce-${index}`))),
        );

        const winners = outcomes.filter((outcome) => outcome.acquired);
        expect(winners).toHaveLength(1);
        expect(new Set(outcomes.map((outcome) => outcome.lease.nonceHash)).size).toBe(1);
      });

      it('is prolonged by its own nonce, and keeps its beginning', async () => {
        await store.acquireLease(leaseRow('vm-1', 'mine'));

        const again = await store.acquireLease(
          leaseRow('vm-1', 'mine', { acquiredAtMs: 2_000, expiresAtMs: 99_000 }),
        );

        expect(again).toEqual({ acquired: true, lease: leaseRow('vm-1', 'mine', { expiresAtMs: 99_000 }) });
      });

      it('is free once it has expired', async () => {
        await store.acquireLease(leaseRow('vm-1', 'old', { expiresAtMs: 2_000 }));

        expect(await store.readLease('vm-1', 2_000)).toBeUndefined();
        expect(await store.acquireLease(leaseRow('vm-1', 'new', { acquiredAtMs: 2_000 }))).toMatchObject({
          acquired: true,
          lease: { acquiredAtMs: 2_000 },
        });
      });

      it('is released by its own nonce only', async () => {
        await store.acquireLease(leaseRow('vm-1', 'mine'));

        expect(await store.releaseLease('vm-1', hashReadToken('other'))).toBe(false);
        expect(await store.releaseLease('vm-1', hashReadToken('mine'))).toBe(true);
        expect(await store.readLease('vm-1', NOW_MS)).toBeUndefined();
      });

      it('hinders nobody unless it is exclusive', async () => {
        await store.acquireLease(leaseRow('vm-1', 'mine'));

        expect(await put('vm-1')).toMatchObject({ kind: 'written' });
      });

      it('keeps out, when exclusive, writes and removals that do not name it', async () => {
        await put('vm-1');
        await store.acquireLease(leaseRow('vm-1', 'mine', { exclusive: true }));

        expect(await put('vm-1')).toMatchObject({ kind: 'leased', lease: { owner: 'owner of mine' } });
        expect(await put('vm-1', { leaseHash: hashReadToken('other') })).toMatchObject({ kind: 'leased' });
        expect(await store.remove({ instanceId: 'vm-1', nowMs: NOW_MS })).toMatchObject({ kind: 'leased' });
        expect(await put('vm-1', { leaseHash: hashReadToken('mine') })).toMatchObject({ kind: 'written' });
        expect(await put('vm-1', { nowMs: 61_000 })).toMatchObject({ kind: 'written' });
      });
    });

    describe('listing', () => {
      it('pages through the ids in byte order', async () => {
        for (const id of ['b', 'a', 'Z', 'é', 'c']) await put(id);

        expect(await ids({ limit: 3 })).toEqual(['Z', 'a', 'b']);
        expect(await ids({ limit: 3, after: 'b' })).toEqual(['c', 'é']);
      });

      it('selects what nobody has written or read since', async () => {
        for (const id of ['old', 'read', 'written']) await put(id);
        await store.write({ row: sealedRow('written', { atMs: 9_000 }), nowMs: NOW_MS });
        await store.recordActivity([{ instanceId: 'read', reads: 1, deniedReads: 0, lastReadAtMs: 9_000 }]);

        expect(await ids({ untouchedSinceMs: 5_000 })).toEqual(['old']);
      });

      it('adds up activity, and ignores ids without a row', async () => {
        await put('vm-1');
        const delta = { instanceId: 'vm-1', reads: 2, deniedReads: 1, lastReadAtMs: 9_000 };

        await store.recordActivity([delta, { ...delta, instanceId: 'ghost' }]);
        await store.recordActivity([{ ...delta, lastReadAtMs: 8_000 }]);
        await store.recordActivity([{ instanceId: 'vm-1', reads: 0, deniedReads: 1 }]);

        const rows = await store.list({ limit: 10, nowMs: NOW_MS });
        expect(rows).toHaveLength(1);
        expect(rows[0]).toMatchObject({ reads: 4, deniedReads: 3, lastReadAtMs: 9_000 });
      });

      it('counts the tokens that are good now', async () => {
        await put('vm-1');
        await store.addToken(tokenRow('vm-1', 'good'));
        await store.addToken(tokenRow('vm-1', 'expired', { expiresAtMs: 5 }));
        await store.addToken(tokenRow('vm-1', 'spent', { maxReads: 1, confirmedReads: 1 }));

        expect((await store.list({ limit: 1, nowMs: NOW_MS }))[0]?.activeTokens).toBe(1);
      });
    });

    describe('keys', () => {
      it('keeps the first check of a key', async () => {
        await store.addKeyCheck({ keyId: 'k1', sealed: Uint8Array.of(1) });
        await store.addKeyCheck({ keyId: 'k1', sealed: Uint8Array.of(2) });

        const checks = await store.keyChecks();
        expect(checks.map((check) => [check.keyId, ...check.sealed])).toEqual([['k1', 1]]);
      });

      it('reseals a row only when it has not been written meanwhile', async () => {
        await put('vm-1', { etag: 'e1' });
        await put('vm-2', { etag: 'e2' });
        const [first, second] = await store.sealedWithOtherKeys('k2', { limit: 10 });
        if (!first || !second) throw new Error('two rows were written');
        await put('vm-2', { etag: 'newer' });
        const sealed = Uint8Array.of(7);

        const count = await store.reseal([
          { ...first, sealed, keyId: 'k2' },
          { ...second, sealed, keyId: 'k2' },
        ]);

        expect(count).toBe(1);
        expect(await store.read('vm-1')).toMatchObject({ keyId: 'k2', etag: 'e1' });
        expect(await store.read('vm-2')).toMatchObject({ keyId: 'none', etag: 'newer' });
        expect((await store.sealedWithOtherKeys('k2', { limit: 10 })).map((row) => row.instanceId)).toEqual([
          'vm-2',
        ]);
      });
    });

    describe('snapshots', () => {
      const all = async (records: AsyncIterable<SnapshotRecord>) => {
        const found: SnapshotRecord[] = [];
        for await (const record of records) found.push(record);
        return found;
      };
      const fill = async () => {
        await store.addKeyCheck({ keyId: 'k1', sealed: Uint8Array.of(1) });
        for (const id of ['vm-1', 'vm-2']) await put(id);
        await store.addToken(tokenRow('vm-1', 'secret', { maxReads: 5, confirmedReads: 2 }));
        await store.acquireLease(leaseRow('vm-1', 'nonce', { exclusive: true }));
        await store.recordActivity([{ instanceId: 'vm-1', reads: 3, deniedReads: 1, lastReadAtMs: 7 }]);
      };

      it('shows one instant, whatever is written meanwhile', async () => {
        for (let index = 0; index < 700; index += 1) await put(`vm-${String(index).padStart(4, '0')}`);
        const seen: string[] = [];

        for await (const record of store.snapshot()) {
          if (seen.length === 0) {
            await put('vm-9999');
            await store.remove({ instanceId: 'vm-0699', nowMs: NOW_MS });
          }
          if (record.kind === 'settings') seen.push(record.settings.instanceId);
        }

        expect(seen).toHaveLength(700);
        expect(seen).toContain('vm-0699');
      });

      it('makes an equal store when it is loaded elsewhere', async () => {
        await fill();
        const other = await fixture.open(await fixture.newPlace());
        await other.migrate();

        const count = await other.load(store.snapshot(), 'replace');

        expect(count).toBe(2);
        expect(await all(other.snapshot())).toEqual(await all(store.snapshot()));
        await other.close();
      });

      it('replaces everything, or adds to what is there', async () => {
        await fill();
        const records = await all(store.snapshot());
        const again = async function* () {
          yield* records;
        };
        await put('vm-3');

        await store.load(again(), 'merge');
        expect(await ids()).toEqual(['vm-1', 'vm-2', 'vm-3']);

        await store.load(again(), 'replace');
        expect(await ids()).toEqual(['vm-1', 'vm-2']);
      });

      it('leaves everything as it was when the records end in an error', async () => {
        await fill();
        const broken = async function* (): AsyncIterable<SnapshotRecord> {
          yield { kind: 'settings', settings: sealedRow('vm-7') };
          throw new Error('cut short');
        };

        await expect(store.load(broken(), 'replace')).rejects.toThrow('cut short');

        expect(await ids()).toEqual(['vm-1', 'vm-2']);
      });
    });

    it('answers nothing after it was closed', async () => {
      const other = await fixture.open(place);
      await other.close();

      await expect(other.read('vm-1')).rejects.toThrow();
    });
  });
}
