import { sqliteFixture } from '../../testing/sqlite-fixture.ts';
import { describeStoreContract } from '../../testing/store.contract.ts';

describeStoreContract('SQLite', sqliteFixture());
