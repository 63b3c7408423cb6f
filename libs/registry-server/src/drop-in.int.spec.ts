import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PostgresStore } from './postgres.ts';
import { postgresFixture } from './testing/postgres-fixture.ts';
import { postgresMissing } from './testing/postgres-server.ts';
import { ADMIN, READER, mint, sharedCa, startRegistry } from './testing/running-registry.ts';
import type { RunningRegistry } from './testing/running-registry.ts';

/** Sends bytes, returns all bytes until the server closes. */
async function exchange(registry: RunningRegistry, lines: readonly string[], body = ''): Promise<string> {
  const { port, tls } = registry.bound;
  const socket = tls
    ? connectTls({ host: '127.0.0.1', port, ca: (await sharedCa()).certificate })
    : connect({ host: '127.0.0.1', port });
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', reject);
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('utf8')));
    socket.write(`${[...lines, 'Connection: close', '', ''].join('\r\n')}${body}`);
  });
}

const statusOf = (answer: string) => Number(answer.split(' ')[1]);
const bodyOf = (answer: string) => answer.slice(answer.indexOf('\r\n\r\n') + 4);
const basic = (pair: string) => Buffer.from(pair).toString('base64');
/** As the original's clients write it: spaces, unicode, escapes, a percent sign that form decoding would choke on. */
const DOCUMENT =
  '{"agent_id": "a1", "p": "100%", "q":"é\\u0001", "disks":{"persistent":{"d-1":"/dev/sdc"}}}\n';

function describeDropIn(
  name: string,
  start: () => Promise<RunningRegistry>,
  stop: () => Promise<void>,
): void {
  describe(`${name}: the API of the original`, () => {
    let registry: RunningRegistry;
    beforeAll(async () => {
      registry = await start();
    });
    afterAll(async () => {
      await registry.stop();
      await stop();
    });
    const put = (id: string, body: string) =>
      registry.call('PUT', `/instances/${id}/settings`, { auth: ADMIN, body });

    it('talks with the Ruby client of 2013: form content type, raw JSON body, exact 200', async () => {
      const put2013 = await exchange(
        registry,
        [
          'PUT /instances/vm-2013/settings HTTP/1.1',
          'Host: registry:25777',
          'User-Agent: HTTPClient/1.0 (2.3.4.1, ruby 1.9.3 (2012-04-20))',
          'Accept: application/json',
          `Authorization: Basic ${basic(ADMIN)}`,
          'Content-Type: application/x-www-form-urlencoded',
          `Content-Length: ${Buffer.byteLength(DOCUMENT)}`,
        ],
        DOCUMENT,
      );
      const get2013 = await exchange(registry, [
        'GET /instances/vm-2013/settings HTTP/1.1',
        'Host: registry:25777',
        'Accept: application/json',
        `Authorization: Basic ${basic(ADMIN)}`,
      ]);

      expect(statusOf(put2013)).toBe(200);
      expect(JSON.parse(bodyOf(put2013))).toEqual({ status: 'ok' });
      expect(statusOf(get2013)).toBe(200);
      expect(JSON.parse(bodyOf(get2013))).toEqual({ status: 'ok', settings: DOCUMENT });
    });

    it('talks with the Ruby client of 2017: JSON content type, create, edit and delete', async () => {
      const head = ['Host: registry', 'Accept: application/json', `Authorization: Basic ${basic(ADMIN)}`];
      const send = (method: string, document = '') =>
        exchange(
          registry,
          [
            `${method} /instances/i-0123/settings HTTP/1.1`,
            ...head,
            ...(document === ''
              ? []
              : ['Content-Type: application/json', `Content-Length: ${Buffer.byteLength(document)}`]),
          ],
          document,
        );

      expect(statusOf(await send('PUT', '{"a":1}'))).toBe(200);
      expect(statusOf(await send('PUT', '{"a":2}'))).toBe(200);
      expect(JSON.parse(bodyOf(await send('GET')))).toEqual({ status: 'ok', settings: '{"a":2}' });
      expect(statusOf(await send('DELETE'))).toBe(200);
      expect(statusOf(await send('DELETE'))).toBe(200);
      expect(statusOf(await send('GET'))).toBe(404);
    });

    it('talks with the Go agent: user-info of the endpoint as Basic, a connection for each try', async () => {
      const token = await mint(registry, 'vm-go');
      const get = () =>
        exchange(registry, [
          'GET /instances/vm-go/settings HTTP/1.1',
          'Host: 10.0.0.6:25777',
          'User-Agent: Go-http-client/1.1',
          `Authorization: Basic ${basic(`vm-go:${token}`)}`,
          'Accept-Encoding: gzip',
        ]);

      const early = await get();
      await put('vm-go', DOCUMENT);
      const late = await get();

      expect(statusOf(early)).toBe(404);
      expect(statusOf(late)).toBe(200);
      expect(JSON.parse(bodyOf(late))).toMatchObject({ settings: DOCUMENT });
    });

    it('answers the liveness probe of the micro plugin', async () => {
      expect(statusOf(await exchange(registry, ['HEAD / HTTP/1.1', 'Host: 127.0.0.1']))).toBe(404);
    });

    it('speaks HTTP/1.0', async () => {
      await put('vm-10', DOCUMENT);

      const answer = await exchange(registry, [
        'GET /instances/vm-10/settings HTTP/1.0',
        `Authorization: basic ${basic(ADMIN)}`,
      ]);

      expect(statusOf(answer)).toBe(200);
    });

    it.each(['text/plain', 'a;;;b', 'application/json; charset=', 'multipart/form-data; boundary=x', ''])(
      'takes settings under the content type %j',
      async (type) => {
        const answer = await registry.call('PUT', '/instances/vm-type/settings', {
          auth: ADMIN,
          headers: { 'content-type': type },
          body: DOCUMENT,
        });

        expect([answer.status, answer.text]).toEqual([200, '{"status":"ok"}']);
      },
    );

    it('takes chunked bodies and 200 KB', async () => {
      const large = JSON.stringify({ padding: 'x'.repeat(200_000) });

      const answer = await registry.call('PUT', '/instances/vm-large/settings', {
        auth: ADMIN,
        headers: { 'transfer-encoding': 'chunked' },
        body: large,
      });

      expect(answer.status).toBe(200);
      expect(
        (await registry.call('GET', '/instances/vm-large/settings', { auth: ADMIN })).json,
      ).toMatchObject({
        settings: large,
      });
    });

    it('answers writes without credentials with 401, the realm and access_denied', async () => {
      for (const method of ['PUT', 'DELETE']) {
        for (const auth of [undefined, 'admin:wrong', 'nobody:s3:cret']) {
          const answer = await registry.call(method, '/instances/vm-1/settings', { auth, body: '{}' });

          expect(answer.status).toBe(401);
          expect(answer.headers['www-authenticate']).toBe('Basic realm="Bosh Registry"');
          expect(answer.json?.['status']).toBe('access_denied');
        }
      }
    });

    it.each([
      ['GET', '/'],
      ['POST', '/instances/vm-1/settings'],
      ['GET', '/instances/vm-1/settings/'],
      ['GET', '/instances//settings'],
      ['GET', '/instances/a%2Fb/settings'],
      ['GET', '/nothing'],
      ['OPTIONS', '/instances/vm-1/settings'],
    ])('answers %s %s with 404 not_found', async (method, path) => {
      const answer = await registry.call(method, path, { auth: ADMIN });

      expect([answer.status, answer.json?.['status']]).toEqual([404, 'not_found']);
    });

    it('answers HEAD like GET', async () => {
      await put('vm-head', DOCUMENT);

      const answer = await registry.call('HEAD', '/instances/vm-head/settings', { auth: ADMIN });

      expect([answer.status, answer.text]).toEqual([200, '']);
    });

    it('ignores the query, and reaches ids with dots, spaces, semicolons and unicode', async () => {
      for (const id of ['a.b', 'a b;c', 'ид-機', 'a+b', '...']) {
        const path = `/instances/${encodeURIComponent(id)}/settings`;

        expect((await registry.call('PUT', path, { auth: ADMIN, body: DOCUMENT })).status).toBe(200);
        expect((await registry.call('GET', `${path}?instance_id=x`, { auth: ADMIN })).status).toBe(200);
      }
    });

    it.each(['', '  \n', 'not json', '[1]', '"text"', '{"a":1'])('refuses the settings %j', async (body) => {
      const answer = await put('vm-bad', body);

      expect([answer.status, answer.json?.['status']]).toEqual([400, 'error']);
    });

    it('refuses settings that are not UTF-8', async () => {
      const answer = await registry.call('PUT', '/instances/vm-bad/settings', {
        auth: ADMIN,
        body: Uint8Array.of(0x7b, 0xff, 0x7d),
      });

      expect(answer.status).toBe(400);
    });

    it('lets a read-only administrator read, and nothing else', async () => {
      await put('vm-ro', DOCUMENT);

      expect((await registry.call('GET', '/instances/vm-ro/settings', { auth: READER })).status).toBe(200);
      for (const [method, path] of [
        ['PUT', '/instances/vm-ro/settings'],
        ['DELETE', '/instances/vm-ro/settings'],
        ['POST', '/instances/vm-ro/tokens'],
        ['PUT', '/instances/vm-ro/lease'],
        ['POST', '/instances/expire'],
      ] as const) {
        expect((await registry.call(method, path, { auth: READER, body: '{}' })).status).toBe(403);
      }
    });

    describe('ETag', () => {
      it('is the same until the next write, and makes 304', async () => {
        const first = await put('vm-etag', DOCUMENT);
        const read = await registry.call('GET', '/instances/vm-etag/settings', { auth: ADMIN });
        const etag = String(first.headers['etag']);
        const again = await registry.call('GET', '/instances/vm-etag/settings', {
          auth: ADMIN,
          headers: { 'if-none-match': etag },
        });
        const second = await put('vm-etag', DOCUMENT);

        expect(read.headers['etag']).toBe(etag);
        expect([again.status, again.text]).toEqual([304, '']);
        expect(second.headers['etag']).not.toBe(etag);
      });

      it('keeps two writers from losing each other', async () => {
        const first = await put('vm-race', '{"disks":[]}');
        const headers = { 'if-match': String(first.headers['etag']) };
        const send = (body: string) =>
          registry.call('PUT', '/instances/vm-race/settings', { auth: ADMIN, headers, body });

        const answers = await Promise.all([send('{"disks":[1]}'), send('{"disks":[2]}')]);

        expect(answers.map((answer) => answer.status).sort()).toEqual([200, 412]);
      });

      it('creates only once with If-None-Match *', async () => {
        const headers = { 'if-none-match': '*' };
        const send = () =>
          registry.call('PUT', '/instances/vm-once/settings', { auth: ADMIN, headers, body: '{}' });

        expect((await send()).status).toBe(200);
        expect((await send()).status).toBe(412);
      });
    });

    describe('leases', () => {
      const lease = (body: object) =>
        registry.call('PUT', '/instances/vm-lease/lease', { auth: ADMIN, body: JSON.stringify(body) });

      it('lets one deployer drive a VM', async () => {
        const first = await lease({ owner: 'host a', ttl_seconds: 60, exclusive: true });
        const second = await lease({ owner: 'host b', ttl_seconds: 60 });
        const nonce = String(first.json?.['nonce']);
        const write = (headers: Record<string, string>) =>
          registry.call('PUT', '/instances/vm-lease/settings', { auth: ADMIN, headers, body: '{}' });

        expect([second.status, second.json?.['owner']]).toEqual([409, 'host a']);
        expect((await write({})).status).toBe(423);
        expect((await write({ 'microbosh-lease': nonce })).status).toBe(200);
        expect((await lease({ owner: 'host a', ttl_seconds: 60, nonce })).status).toBe(200);
        const shown = await registry.call('GET', '/instances/vm-lease/lease', { auth: READER });
        expect(shown.json).toMatchObject({ owner: 'host a' });
        expect(shown.text).not.toContain(nonce);
        const release = (value: string) =>
          registry.call('DELETE', '/instances/vm-lease/lease', {
            auth: ADMIN,
            headers: { 'microbosh-lease': value },
          });
        expect((await release('x'.repeat(32))).status).toBe(409);
        expect((await release(nonce)).status).toBe(200);
        expect((await release(nonce)).status).toBe(404);
        expect((await lease({ owner: 'host b', ttl_seconds: 60 })).status).toBe(200);
      });

      it('refuses a request that it does not understand', async () => {
        expect((await lease({ owner: 'a' })).status).toBe(400);
        expect((await lease({ owner: 'a', ttl_seconds: 5, stranger: 1 })).status).toBe(400);
      });
    });

    describe('listing', () => {
      it('shows ids, times and counts, and never a value', async () => {
        await put('vm-seen', '{"secret":"t0psecret"}');
        await registry.call('GET', '/instances/vm-seen/settings', { auth: ADMIN });
        await registry.call('GET', '/instances/vm-seen/settings');

        const list = await registry.call('GET', '/instances?limit=1000', { auth: READER });
        const page = await registry.call('GET', '/status', { auth: READER });

        const rows = list.json?.['instances'];
        expect(rows).toContainEqual(
          expect.objectContaining({ id: 'vm-seen', reads: 1, denied_reads: 1, last_write_by: 'admin' }),
        );
        expect(page.text).toContain('vm-seen');
        expect(list.text + page.text).not.toContain('t0psecret');
      });

      it('expires what is stale, and lists it first when asked', async () => {
        const expire = (body: object) =>
          registry.call('POST', '/instances/expire', { auth: ADMIN, body: JSON.stringify(body) });

        expect((await expire({ older_than_seconds: 3600 })).json?.['instances']).toEqual([]);
        expect((await expire({ older_than_seconds: 1 })).status).toBe(400);
      });
    });
  });
}

describeDropIn(
  'SQLite with TLS',
  () => startRegistry(),
  async () => undefined,
);
describeDropIn(
  'SQLite, plain',
  () => startRegistry({ tls: false }),
  async () => undefined,
);

const missing = postgresMissing();
if (missing === undefined) {
  for (const tls of [true, false]) {
    const fixture = postgresFixture();
    describeDropIn(
      `PostgreSQL${tls ? ' with TLS' : ', plain'}`,
      async () => {
        await fixture.setUp();
        const connection = await fixture.server().newDatabase();
        return startRegistry({ tls, store: new PostgresStore({ connection }) });
      },
      () => fixture.tearDown(),
    );
  }
} else {
  it.skip(`PostgreSQL cannot run here: ${missing}`);
}
