import { PostgresStore } from '../adapters/postgres/postgres-store.ts';
import { PostgresServer } from './postgres-server.ts';
import type { StoreFixture } from './store.contract.ts';

/** Stores in databases of one real server. */
export function postgresFixture(): StoreFixture & { server(): PostgresServer } {
  let server: PostgresServer | undefined;
  const running = () => {
    if (!server) throw new Error('the server is started in setUp');
    return server;
  };
  return {
    server: running,
    async setUp() {
      // Nothing of a test has to survive a power loss; the commit protocol is the same.
      server = await PostgresServer.start(['fsync=off', 'full_page_writes=off']);
    },
    async tearDown() {
      await server?.destroy();
    },
    async newPlace() {
      return (await running().newDatabase()).database ?? '';
    },
    async open(place) {
      return new PostgresStore({ connection: { ...running().connection(place), max: 8 } });
    },
  };
}
