import { connect } from 'node:net';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { RegistryStore } from './index.ts';
import { TestCa } from './testing/certificates.ts';
import { postgresFixture } from './testing/postgres-fixture.ts';
import { postgresMissing } from './testing/postgres-server.ts';
import { ADMIN, READER, call, mint, startRegistry } from './testing/running-registry.ts';
import type { Overrides, RunningRegistry } from './testing/running-registry.ts';
import { sqliteFixture } from './testing/sqlite-fixture.ts';

let registry: RunningRegistry;
/** Of the store whose turn it is; without one the registry makes a SQLite file. */
let openStore: (() => Promise<RegistryStore>) | undefined;
afterEach(() => registry.stop());

const start = async (overrides: Overrides = {}) => {
  // No request is left running at the end of a test: nothing to drain.
  const store = openStore ? { store: await openStore() } : {};
  registry = await startRegistry({ drainMs: 0, ...store, ...overrides });
  for (const id of ['vm-1', 'vm-2']) {
    await registry.call('PUT', `/instances/${id}/settings`, { auth: ADMIN, body: `{"secret":"of ${id}"}` });
  }
};
const read = (id: string, options: Parameters<RunningRegistry['call']>[2] = {}) =>
  registry.call('GET', `/instances/${id}/settings`, options);

const STORES = [
  { name: 'SQLite', fixture: sqliteFixture(), missing: undefined },
  { name: 'PostgreSQL', fixture: postgresFixture(), missing: postgresMissing() },
];

/** What decides who reads what passes through the store, so it has to hold on each of them. */
describe.each(STORES)('$name', ({ fixture, missing }) => {
  if (missing !== undefined) {
    it.skip(`cannot run here: ${missing}`);
    return;
  }
  beforeAll(async () => {
    await fixture.setUp();
    openStore = async () => fixture.open(await fixture.newPlace());
  });
  afterAll(async () => {
    openStore = undefined;
    await fixture.tearDown();
  });

  describe('forwarded headers', () => {
    const FORGED: Record<string, string>[] = [
      { 'x-forwarded-for': '127.0.0.1' },
      { 'x-forwarded-for': '127.0.0.1', 'client-ip': '127.0.0.1' },
      { 'x-real-ip': '127.0.0.1' },
      { forwarded: 'for=127.0.0.1' },
      { 'x-forwarded-for': '::1' },
    ];
    /** 127.0.0.9 stands for a VM: loopback reads are for the machine itself, so the IaaS has to know it. */
    const addresses = { addressesOf: async (id: string) => (id === 'vm-1' ? ['10.0.0.5'] : []) };

    it.each(FORGED)('do not open the loopback exemption: %j', async (headers) => {
      await start({ allowLoopbackReads: true });

      expect((await read('vm-1', { headers })).status).toBe(401);
      expect((await read('vm-1')).status).toBe(200);
    });

    it.each(FORGED)('do not open it through a trusted proxy either: %j', async (headers) => {
      await start({ allowLoopbackReads: true, trustedProxies: ['127.0.0.0/8'] });

      expect((await read('vm-1', { headers })).status).toBe(401);
      expect((await read('vm-1')).status).toBe(401);
    });

    it('do not choose the address that is compared with those of the instance', async () => {
      await start({ instanceAddresses: addresses });

      expect((await read('vm-1', { headers: { 'x-forwarded-for': '10.0.0.5' } })).status).toBe(401);
    });

    it('count when a configured proxy sends them, from the right end', async () => {
      await start({ instanceAddresses: addresses, trustedProxies: ['127.0.0.1'] });

      expect((await read('vm-1', { headers: { 'x-forwarded-for': '10.0.0.5' } })).status).toBe(200);
      expect((await read('vm-1', { headers: { 'x-forwarded-for': '10.0.0.5, 10.0.0.66' } })).status).toBe(
        401,
      );
    });
  });

  describe('reads without credentials', () => {
    it('are refused from loopback unless switched on', async () => {
      await start();

      expect((await read('vm-1')).status).toBe(401);
    });

    it('are decided by the addresses that the IaaS knows', async () => {
      await start({
        instanceAddresses: { addressesOf: async (id) => (id === 'vm-1' ? ['127.0.0.1'] : ['10.9.9.9']) },
      });

      expect((await read('vm-1')).status).toBe(200);
      expect((await read('vm-2')).status).toBe(401);
    });

    it('wait for the IaaS only for a while', async () => {
      await start({
        instanceAddresses: { addressesOf: () => new Promise(() => undefined) },
        addressCache: { timeoutMs: 50 },
      });

      const answer = await read('vm-1');

      expect([answer.status, answer.headers['retry-after']]).toEqual([503, '1']);
    });

    it('ask the IaaS once for a storm of reads', async () => {
      let asked = 0;
      await start({
        instanceAddresses: {
          addressesOf: async () => {
            asked += 1;
            // Long enough for all of them to come while it is open.
            await new Promise((resolve) => setTimeout(resolve, 300));
            return ['127.0.0.1'];
          },
        },
      });

      const answers = await Promise.all(Array.from({ length: 20 }, () => read('vm-1')));

      expect(answers.every((answer) => answer.status === 200)).toBe(true);
      expect(asked).toBe(1);
    });
  });

  describe('tokens', () => {
    it('read their own instance and no other', async () => {
      await start();
      const auth = `vm-1:${await mint(registry, 'vm-1')}`;

      expect((await read('vm-1', { auth })).status).toBe(200);
      expect((await read('vm-2', { auth })).status).toBe(401);
      expect((await read('nowhere', { auth })).status).toBe(401);
    });

    it('neither write, delete, list, mint nor see the operations', async () => {
      await start();
      const auth = `vm-1:${await mint(registry, 'vm-1')}`;

      for (const [method, path] of [
        ['PUT', '/instances/vm-1/settings'],
        ['DELETE', '/instances/vm-1/settings'],
        ['POST', '/instances/vm-1/tokens'],
        ['GET', '/instances/vm-1/tokens'],
        ['PUT', '/instances/vm-1/lease'],
        ['GET', '/instances'],
        ['GET', '/status'],
        ['GET', '/metrics'],
      ] as const) {
        const answer = await registry.call(method, path, { auth, body: '{}' });
        expect([path, answer.status]).toEqual([path, 401]);
      }
      expect((await read('vm-1', { auth: ADMIN })).json?.['settings']).toBe('{"secret":"of vm-1"}');
    });

    it('cannot be replayed once the only read is confirmed', async () => {
      await start();
      const auth = `vm-1:${await mint(registry, 'vm-1', { max_reads: 1 })}`;
      const confirm = () => registry.call('POST', '/instances/vm-1/settings/confirm', { auth });

      // The VM loses power before its copy is on disk: it may read again.
      expect((await read('vm-1', { auth })).status).toBe(200);
      expect((await read('vm-1', { auth })).status).toBe(200);
      expect((await confirm()).status).toBe(200);
      expect((await read('vm-1', { auth })).status).toBe(401);
      expect((await confirm()).status).toBe(401);
    });

    it('are not spent by the confirmation of an outdated copy', async () => {
      await start();
      const auth = `vm-1:${await mint(registry, 'vm-1', { max_reads: 1 })}`;
      const { etag } = (await read('vm-1', { auth })).headers;
      await registry.call('PUT', '/instances/vm-1/settings', { auth: ADMIN, body: '{"newer":true}' });

      const confirmed = await registry.call('POST', '/instances/vm-1/settings/confirm', {
        auth,
        headers: { 'if-match': String(etag) },
      });

      expect(confirmed.status).toBe(412);
      expect((await read('vm-1', { auth })).status).toBe(200);
    });

    it('end with their time', async () => {
      let nowMs = 1_000_000;
      await start({ clock: () => nowMs });
      const auth = `vm-1:${await mint(registry, 'vm-1', { ttl_seconds: 60 })}`;

      expect((await read('vm-1', { auth })).status).toBe(200);
      nowMs += 60_000;
      expect((await read('vm-1', { auth })).status).toBe(401);
    });

    it('end when they are withdrawn, and with their instance', async () => {
      await start();
      const auth = `vm-1:${await mint(registry, 'vm-1')}`;
      const other = `vm-2:${await mint(registry, 'vm-2')}`;
      const list = await registry.call('GET', '/instances/vm-1/tokens', { auth: READER });
      const [{ token_id: tokenId } = {}] = list.json?.['tokens'] as { token_id?: string }[];

      await registry.call('DELETE', `/instances/vm-1/tokens/${tokenId}`, { auth: ADMIN });
      await registry.call('DELETE', '/instances/vm-2/settings', { auth: ADMIN });
      await registry.call('PUT', '/instances/vm-2/settings', { auth: ADMIN, body: '{}' });

      expect(list.text).not.toContain(auth.slice(5));
      expect((await read('vm-1', { auth })).status).toBe(401);
      expect((await read('vm-2', { auth: other })).status).toBe(401);
    });

    it('may be made by the caller, who shows only their hash', async () => {
      await start();
      const { mintReadToken, hashReadToken } = await import('./access/read-tokens.ts');
      const token = mintReadToken();
      const register = (id: string) =>
        registry.call('POST', `/instances/${id}/tokens`, {
          auth: ADMIN,
          body: JSON.stringify({ token_sha256: hashReadToken(token) }),
        });

      const first = await register('vm-1');

      expect([first.status, first.json?.['token']]).toEqual([200, undefined]);
      expect((await register('vm-1')).status).toBe(200);
      expect((await register('vm-2')).status).toBe(409);
      expect((await read('vm-1', { auth: `x:${token}` })).status).toBe(200);
      expect((await read('vm-1', { headers: { authorization: `Bearer ${token}` } })).status).toBe(200);
    });

    it('are not in the database', async () => {
      await start();
      const token = await mint(registry, 'vm-1');
      const records: string[] = [];

      for await (const record of registry.server.registry.store.snapshot())
        records.push(JSON.stringify(record));

      expect(records.join()).not.toContain(token);
      expect(records.join()).not.toContain(token.slice(4, 20));
    });
  });

  describe('path tricks', () => {
    it.each([
      '/instances/vm-1/../vm-2/settings',
      '/instances/vm-1/%2e%2e/vm-2/settings',
      '/instances/vm-1%2f..%2fvm-2/settings',
      '/instances/vm-1/..%2Fvm-2/settings',
      '/instances/vm-1%5c..%5cvm-2/settings',
      '/instances//vm-2/settings',
      '/./instances/./vm-2/settings',
      '/instances/vm-2/settings#/instances/vm-1/settings',
      '/instances/vm-2/settings?id=vm-1&instance_id=vm-1',
    ])('%s does not carry the token of vm-1 to vm-2', async (path) => {
      await start();
      const auth = `vm-1:${await mint(registry, 'vm-1')}`;

      const answer = await registry.call('GET', path, { auth });

      expect([401, 404]).toContain(answer.status);
      expect(answer.text).not.toContain('of vm-2');
    });

    it('resolves dot segments before it looks at the id, as the original did', async () => {
      await start();

      const answer = await registry.call('GET', '/instances/../instances/vm-2/settings', { auth: ADMIN });

      expect(answer.json?.['settings']).toBe('{"secret":"of vm-2"}');
    });

    it.each(['%00', 'a%00b', 'a%0d%0ab', '%ff', '%zz', `${'x'.repeat(256)}`, '%e2%80%a8'])(
      'refuses the id %s',
      async (id) => {
        await start();

        const answer = await registry.call('PUT', `/instances/${id}/settings`, { auth: ADMIN, body: '{}' });

        expect([400, 404]).toContain(answer.status);
      },
    );

    it.each(["vm-1' OR '1'='1", "'; DROP TABLE microbosh_settings; --", '%', '_m-1', 'vm-1"'])(
      'takes the SQL in the id %s as text',
      async (id) => {
        await start();
        const path = `/instances/${encodeURIComponent(id)}/settings`;

        expect((await registry.call('GET', path, { auth: ADMIN })).status).toBe(404);
        expect((await registry.call('DELETE', path, { auth: ADMIN })).status).toBe(200);
        expect((await read('vm-1', { auth: ADMIN })).status).toBe(200);
      },
    );
  });

  describe('guessing passwords', () => {
    it('costs one slow check for a known and for an unknown name alike', async () => {
      await start();
      const checksFor = async (auth: string) => {
        const before = registry.hasher.verifications;
        await read('vm-1', { auth });
        return registry.hasher.verifications - before;
      };

      expect(await checksFor('admin:wrong')).toBe(1);
      expect(await checksFor('nobody:wrong')).toBe(1);
    });

    it('checks a right pair slowly only once', async () => {
      await start();
      const before = registry.hasher.verifications;

      for (let index = 0; index < 5; index += 1) await read('vm-1', { auth: ADMIN });

      // `start` has written with the same pair.
      expect(registry.hasher.verifications - before).toBe(0);
    });

    it('is stopped after some failures, without locking out who knows the password', async () => {
      let nowMs = 1_000_000;
      await start({ clock: () => nowMs, failedLogins: { attempts: 5, windowMs: 60_000 } });
      const guess = (password: string) => read('vm-1', { auth: `admin:${password}` });

      const answers = [];
      for (let index = 0; index < 8; index += 1) answers.push((await guess(`wrong ${index}`)).status);
      const before = registry.hasher.verifications;
      const limited = await read('vm-1', { auth: READER });

      expect(answers).toEqual([401, 401, 401, 401, 429, 429, 429, 429]);
      expect([limited.status, limited.headers['retry-after']]).toEqual([429, '60']);
      expect(registry.hasher.verifications).toBe(before);
      expect((await read('vm-1', { auth: ADMIN })).status).toBe(200);
      nowMs += 60_000;
      expect((await read('vm-1', { auth: READER })).status).toBe(200);
    });

    it('cannot lock agents out: their tokens are always looked at', async () => {
      await start({ failedLogins: { attempts: 2, windowMs: 60_000 } });
      const auth = `vm-1:${await mint(registry, 'vm-1')}`;
      for (let index = 0; index < 4; index += 1) await read('vm-1', { auth: `admin:wrong ${index}` });

      expect((await read('vm-1', { auth })).status).toBe(200);
    });
  });

  describe('what is refused', () => {
    it('is counted and audited, without values', async () => {
      const lines: string[] = [];
      const sink = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
      await start({ logger: sink });
      const token = await mint(registry, 'vm-1');

      await read('vm-2', { auth: `vm-1:${token}` });
      await read('vm-1', { auth: 'admin:gu3ss' });
      await read('vm-1');
      await registry.call('PUT', '/instances/vm-1/settings', {
        auth: READER,
        body: '{"secret":"t0psecret"}',
      });
      await registry.call('PUT', '/instances/vm-1/settings', { auth: ADMIN, body: '{"secret":"t0psecret"}' });
      await read('vm-1', { auth: `vm-1:${token}` });

      const audited = lines
        .filter((line) => line.includes('"event":"denied"'))
        .map((line) => JSON.parse(line) as object);
      expect(audited).toMatchObject([
        { reason: 'unknown-token', instanceId: 'vm-2', address: '127.0.0.1' },
        { reason: 'wrong-credentials' },
        { reason: 'no-credentials' },
        { reason: 'read-only' },
      ]);
      const metrics = await registry.call('GET', '/metrics', { auth: READER });
      expect(metrics.text).toContain('microbosh_registry_denied_total{reason="unknown-token"} 1');
      for (const secret of [
        't0psecret',
        's3:cret',
        'gu3ss',
        token,
        'of vm-1',
        Buffer.from(ADMIN).toString('base64'),
      ]) {
        expect(lines.join('')).not.toContain(secret);
        expect(metrics.text).not.toContain(secret);
      }
    });

    it('is the same text for every reason', async () => {
      await start();
      const foreign = `vm-1:${await mint(registry, 'vm-1')}`;

      const answers = await Promise.all([
        read('vm-2'),
        read('vm-2', { auth: 'admin:wrong' }),
        read('vm-2', { auth: foreign }),
        read('unknown', { auth: foreign }),
        read('unknown'),
      ]);

      const texts = answers.map(({ status, json }) => JSON.stringify([status, { ...json, request_id: '' }]));
      expect(new Set(texts).size).toBe(1);
    });
  });
});

describe('oversized and slow requests', () => {
  it('are cut at the body limit, announced or not', async () => {
    await start({ limits: { bodyBytes: 1_000 } });
    const send = (headers: Record<string, string>) =>
      registry.call('PUT', '/instances/vm-1/settings', {
        auth: ADMIN,
        headers,
        body: JSON.stringify({ padding: 'x'.repeat(2_000) }),
      });

    expect((await send({})).status).toBe(413);
    expect((await send({ 'transfer-encoding': 'chunked' })).status).toBe(413);
    expect((await read('vm-1', { auth: ADMIN })).json?.['settings']).toBe('{"secret":"of vm-1"}');
  });

  it('are refused before the body when nobody may send it', async () => {
    await start({ tls: false });

    const answer = await raw(
      'PUT /instances/vm-1/settings HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n',
    );

    expect(answer).toMatch(/^HTTP\/1.1 401 /);
  });

  it('are refused for their headers', async () => {
    await start({ tls: false, limits: { headerBytes: 4_096 } });

    expect(await raw(`GET / HTTP/1.1\r\nHost: x\r\nA: ${'y'.repeat(8_000)}\r\n\r\n`)).toMatch(
      /^HTTP\/1.1 431 /,
    );
  });

  it('lose their connection when the headers do not come', async () => {
    await start({ tls: false, limits: { headersTimeoutMs: 200, requestTimeoutMs: 400 } });

    expect(await raw('GET /healthz HTTP/1.1\r\nHost: x\r\n')).toMatch(/^HTTP\/1.1 408 /);
  });

  it('lose their connection when the body drips', async () => {
    await start({ tls: false, limits: { headersTimeoutMs: 200, requestTimeoutMs: 400 } });
    const head = `PUT /instances/vm-1/settings HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ${Buffer.from(ADMIN).toString('base64')}\r\nContent-Length: 100\r\n\r\n{`;

    const answer = await raw(head);

    expect(answer).not.toMatch(/^HTTP\/1.1 200 /);
    expect((await read('vm-1', { auth: ADMIN })).json?.['settings']).toBe('{"secret":"of vm-1"}');
  });

  it('do not take more connections than allowed', async () => {
    await start({ tls: false, limits: { connections: 3 } });
    const idle = Array.from({ length: 3 }, () => connect(registry.bound.port, '127.0.0.1'));
    await Promise.all(idle.map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
    await new Promise((resolve) => setTimeout(resolve, 50));

    await expect(call(`${registry.bound.url}/healthz`, 'GET')).rejects.toThrow();

    idle.forEach((socket) => socket.destroy());
  });

  /** Sends the text and waits for the server to end the connection. */
  function raw(text: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(registry.bound.port, '127.0.0.1');
      const chunks: Buffer[] = [];
      const timer = setTimeout(() => reject(new Error('the server keeps the connection')), 5_000);
      socket.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        if (/^HTTP\/1.1 401/.test(chunk.toString())) socket.destroy();
      });
      socket.on('error', () => undefined);
      socket.on('close', () => {
        clearTimeout(timer);
        resolve(Buffer.concat(chunks).toString());
      });
      socket.write(text);
    });
  }
});

describe('client certificates', () => {
  const rules = [
    { commonName: 'cpi', access: 'read-write' },
    { commonName: 'auditor', access: 'read-only' },
    { commonName: '*', access: 'own-instance' },
  ] as const;

  it('stand for what their name is allowed, and only when our CA signed them', async () => {
    const ca = await TestCa.create();
    await start({ clientCa: ca.certificate, certificateRules: rules });
    const as = async (name: string, signer = ca) => {
      const { certificate: cert, privateKey: key } = await signer.issue(name);
      return { cert, key };
    };
    const write = async (name: string, signer = ca) =>
      (await registry.call('PUT', '/instances/vm-3/settings', { ...(await as(name, signer)), body: '{}' }))
        .status;

    expect(await write('cpi')).toBe(200);
    expect(await write('auditor')).toBe(403);
    expect(await write('vm-3')).toBe(401);
    expect(await write('cpi', await TestCa.create())).toBe(401);
    expect((await read('vm-1', await as('auditor'))).status).toBe(200);
    expect((await read('vm-1', await as('vm-1'))).status).toBe(200);
    expect((await read('vm-2', await as('vm-1'))).status).toBe(401);
    expect((await read('vm-2', { auth: ADMIN })).status).toBe(200);
  });
});

describe('settings at rest', () => {
  it('are not readable in the files of the database', async () => {
    const { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } = await import('node:fs');
    const directory = mkdtempSync('/tmp/microbosh-rest-');
    await start({ store: { sqliteFile: `${directory}/registry.db` } });
    await registry.call('PUT', '/instances/vm-1/settings', { auth: ADMIN, body: '{"secret":"t0psecret"}' });

    const files = readdirSync(directory);
    const content = files.map((file) => readFileSync(`${directory}/${file}`, 'latin1')).join('');

    expect(files).toContain('registry.db.key');
    expect(content).not.toContain('t0psecret');
    for (const file of files) expect(statSync(`${directory}/${file}`).mode & 0o077).toBe(0);
    rmSync(directory, { recursive: true });
  });

  it('cannot stand in for those of another instance', async () => {
    await start();
    const { store } = registry.server.registry;
    const row = await store.read('vm-2');
    if (!row) throw new Error('vm-2 was written');

    await store.write({ row: { ...row, instanceId: 'vm-1' }, nowMs: 0 });

    const answer = await read('vm-1', { auth: ADMIN });
    expect([answer.status, answer.json?.['code']]).toEqual([500, 'E_REGISTRY_WRONG_KEY']);
    expect(answer.text).not.toContain('of vm-2');
  });
});

describe('the OpenAPI document', () => {
  it('lists exactly the routes that the server has', async () => {
    await start();
    const { OPERATIONS } = await import('./http/openapi.ts');

    const routes = registry.server.routes.filter((route) => !route.startsWith('HEAD '));

    expect([...routes].sort()).toEqual(
      OPERATIONS.map(
        ({ method, path }) => `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`,
      ).sort(),
    );
  });
});
