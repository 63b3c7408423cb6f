import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SqliteStore } from '../adapters/sqlite/sqlite-store.ts';
import type { StoreFixture } from './store.contract.ts';

/** Stores in files of a temporary directory. */
export function sqliteFixture(): StoreFixture {
  let directory = '';
  let count = 0;
  return {
    async setUp() {
      directory = mkdtempSync(join(tmpdir(), 'microbosh-registry-'));
    },
    async tearDown() {
      rmSync(directory, { recursive: true, force: true });
    },
    async newPlace() {
      count += 1;
      return join(directory, `${count}.db`);
    },
    async open(place) {
      return new SqliteStore({ path: place });
    },
  };
}
