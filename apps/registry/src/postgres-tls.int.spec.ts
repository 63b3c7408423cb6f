import { randomInt } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { PostgresServer, TestCa, postgresMissing } from '@microbosh/registry-server/testing';
import { ADMIN, RegistryProcess, baseConfig, freePort } from './testing/registry-process.ts';

const missing = postgresMissing();

describe.skipIf(missing !== undefined)(`PostgreSQL over TLS, verify-full ${missing ?? ''}`, () => {
  // An address of its own: the port of PostgreSQL is also part of the name of its socket.
  const host = `127.77.${randomInt(1, 255)}.${randomInt(1, 255)}`;
  let postgres: PostgresServer;
  let ca: TestCa;
  let directory = '';
  let registry: RegistryProcess;
  beforeAll(async () => {
    postgres = await PostgresServer.start(['fsync=off', `listen_addresses=${host}`]);
    ca = await TestCa.create();
  });
  afterAll(() => postgres.destroy());
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'microbosh-pgtls-'));
    const { user, database } = await postgres.newDatabase();
    writeFileSync(join(directory, 'ca.pem'), ca.certificate);
    const db = {
      adapter: 'postgres',
      ...{ host, user, database },
      tls: {
        enabled: true,
        cert: { ca: join(directory, 'ca.pem') },
        bosh_internal: { ca_provided: true },
      },
    };
    const port = await freePort();
    registry = new RegistryProcess(
      { ...baseConfig(port, db), encryption: { key_file: join(directory, 'registry.key') } },
      { port, directory },
    );
  });
  afterEach(() => registry.destroy());
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  /** Makes the server show this certificate from now on. */
  const show = async (signer: TestCa, names: readonly string[]) => {
    const { certificate, privateKey } = await signer.issue('postgres', names);
    postgres.addFile('server.crt', certificate);
    postgres.addFile('server.key', privateKey);
    for (const [name, value] of [
      ['ssl', 'on'],
      ['ssl_cert_file', join(postgres.directory, 'server.crt')],
      ['ssl_key_file', join(postgres.directory, 'server.key')],
    ]) {
      await postgres.run('postgres', `ALTER SYSTEM SET ${name} = '${value}'`);
    }
    await postgres.run('postgres', 'SELECT pg_reload_conf()');
    for (let attempt = 0; attempt < 100; attempt += 1) {
      const [row] = await postgres.run('postgres', 'SHOW ssl');
      if (row?.['ssl'] === 'on') return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error('PostgreSQL does not switch TLS on');
  };

  it('serves when the certificate is of our CA and of this address, and every connection is encrypted', async () => {
    await show(ca, [host]);

    await registry.start();
    const put = await registry.call('PUT', '/instances/vm-1/settings', { auth: ADMIN, body: '{}' });

    expect(put.status).toBe(200);
    const connections = await postgres.run(
      'postgres',
      "SELECT ssl, version FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'microbosh-registry'",
    );
    expect(connections.length).toBeGreaterThan(0);
    for (const { ssl, version } of connections) {
      expect([ssl, version]).toEqual([true, expect.stringMatching(/^TLSv1\.[23]$/)]);
    }
  });

  it.each([
    ['another CA', async () => show(await TestCa.create(), [host])],
    ['another name', () => show(ca, ['db.example'])],
    ['another address', () => show(ca, ['127.0.0.1'])],
    ['the name localhost, which is not the address that is asked', () => show(ca, ['localhost'])],
  ])('refuses to start on a certificate of %s, and says that it is the certificate', async (_, prepare) => {
    await prepare();

    const { exitCode, output } = await registry.command('serve');

    expect(exitCode).toBeGreaterThan(0);
    expect(output).toMatch(/certificate/i);
  });
});
