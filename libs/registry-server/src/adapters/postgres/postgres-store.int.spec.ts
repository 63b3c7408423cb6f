import { describe, it } from 'vitest';
import { postgresFixture } from '../../testing/postgres-fixture.ts';
import { postgresMissing } from '../../testing/postgres-server.ts';
import { describeStoreContract } from '../../testing/store.contract.ts';

const missing = postgresMissing();
if (missing === undefined) {
  describeStoreContract('PostgreSQL', postgresFixture());
} else {
  describe('PostgreSQL', () => {
    it.skip(`cannot run here: ${missing}`);
  });
}
