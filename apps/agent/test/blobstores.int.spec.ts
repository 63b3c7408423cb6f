import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { createHash, createHmac, randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import {
  createServer as createHttpServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
} from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NodeCommandRunner } from '@microbosh/host';
import type { JsonObject } from '@microbosh/errors';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { BlobManager } from '../src/blobstore/blob-manager.ts';
import { createProvider } from '../src/blobstore/create-provider.ts';
import { LocalBlobs } from '../src/blobstore/local-blobs.ts';
import type { BlobProvider } from '../src/blobstore/provider.ts';
import { layoutOf } from '../src/layout.ts';
import { createAuthority, type TestAuthority } from '../src/testing/test-pki.ts';

const size = 3_000_000;
let authority: TestAuthority;
let work: string;
const children: ChildProcess[] = [];
const servers: Server[] = [];

beforeAll(() => {
  authority = createAuthority('blobstore-ca');
});
afterAll(() => authority.dispose());
beforeEach(async () => {
  work = mkdtempSync(join(tmpdir(), 'blobstores-'));
  // nginx works as an account that has to get through.
  chmodSync(work, 0o755);
  await localBlobs().prepare();
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    await gone;
  }
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  rmSync(work, { recursive: true, force: true });
});

const runner = new NodeCommandRunner();

function localBlobs(): LocalBlobs {
  return new LocalBlobs(layoutOf(join(work, 'vcap')));
}

async function provider(blobstore: {
  readonly provider: string;
  readonly options: JsonObject;
}): Promise<BlobProvider> {
  mkdirSync(join(work, 'vcap/bosh/etc'), { recursive: true });
  return createProvider(blobstore, { layout: layoutOf(join(work, 'vcap')), local: localBlobs(), runner });
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

async function untilListening(port: number): Promise<void> {
  await expect
    .poll(
      async () =>
        new Promise((resolve) => {
          const sent = httpRequest({ host: '127.0.0.1', port, timeout: 1_000 }, (response) => {
            response.resume();
            resolve(true);
          });
          sent.on('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'));
          sent.end();
        }),
      { timeout: 30_000 },
    )
    .toBe(true);
}

/** What every provider has to do, whatever is behind it. */
async function expectContract(blobs: BlobProvider): Promise<void> {
  const source = join(work, 'source');
  const target = join(work, 'target');
  for (const [id, content] of [
    ['8c1d6f2e-0000-4000-8000-000000000001', randomBytes(size)],
    ['empty', Buffer.alloc(0)],
  ] as const) {
    writeFileSync(source, content);
    await blobs.put(source, id);
    await blobs.get(id, target);
    expect(readFileSync(target).equals(content)).toBe(true);
    expect([true, undefined]).toContain(await blobs.has(id));
    rmSync(target);
  }
  await expect(blobs.get('absent', target)).rejects.toThrow();
  expect([false, undefined]).toContain(await blobs.has('absent'));
}

describe('a local blobstore', () => {
  it.each([
    ['the path that create-env names', '/var/vcap/micro_bosh/data/cache'],
    ['no path', ''],
  ])('keeps blobs beside those that are served: %s', async (_name, path) => {
    await expectContract(await provider({ provider: 'local', options: { blobstore_path: path } }));
    expect(existsSync(join(work, 'vcap/data/blobs/empty'))).toBe(true);
  });

  it('keeps blobs in another directory', async () => {
    mkdirSync(join(work, 'elsewhere'));
    await expectContract(
      await provider({ provider: 'local', options: { blobstore_path: join(work, 'elsewhere') } }),
    );
    expect(existsSync(join(work, 'elsewhere/empty'))).toBe(true);
  });
});

describe('a DAV blobstore, Debian’s nginx over TLS', () => {
  async function startNginx(): Promise<number> {
    const port = await freePort();
    const { certificate, privateKey } = authority.issue('blobstore');
    for (const name of ['root', 'tmp', 'logs']) {
      mkdirSync(join(work, name));
      chmodSync(join(work, name), 0o777);
    }
    writeFileSync(join(work, 'cert.pem'), certificate);
    writeFileSync(join(work, 'key.pem'), privateKey);
    const hash = execFileSync('openssl', ['passwd', '-apr1', 'pw']).toString().trim();
    writeFileSync(join(work, 'users'), `director:${hash}\n`);
    const config = join(work, 'nginx.conf');
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
      (name) => `${name}_temp_path ${work}/tmp/${name};`,
    );
    writeFileSync(
      config,
      `daemon off;\npid ${work}/nginx.pid;\nerror_log ${work}/logs/error.log;\nworker_processes 1;\nevents {}\nhttp {\n  access_log off;\n  ${temporary.join('\n  ')}\n  server {\n    listen 127.0.0.1:${port} ssl;\n    ssl_certificate ${work}/cert.pem;\n    ssl_certificate_key ${work}/key.pem;\n    client_max_body_size 0;\n    location / {\n      root ${work}/root;\n      auth_basic blobs;\n      auth_basic_user_file ${work}/users;\n      dav_methods PUT DELETE;\n      create_full_put_path on;\n    }\n  }\n}\n`,
    );
    children.push(spawn('nginx', ['-c', config, '-e', join(work, 'logs/start.log')], { stdio: 'ignore' }));
    await untilListening(port);
    return port;
  }

  it('keeps blobs below the hash of their id', async () => {
    const endpoint = `https://127.0.0.1:${await startNginx()}`;
    const options = {
      endpoint,
      user: 'director',
      password: 'pw',
      tls: { cert: { ca: authority.certificate } },
    };
    await expectContract(await provider({ provider: 'dav', options }));

    const directory = createHash('sha1').update('empty').digest('hex').slice(0, 2);
    expect(statSync(join(work, 'root', directory, 'empty')).size).toBe(0);

    writeFileSync(join(work, 'source'), 'x');
    const wrong = await provider({ provider: 'dav', options: { ...options, password: 'wrong' } });
    await expect(wrong.put(join(work, 'source'), 'refused')).rejects.toThrow(/401/);
    expect(await wrong.has('empty')).toBe(false);
    const { tls, ...untrusting } = options;
    expect(tls.cert.ca).toContain('BEGIN CERTIFICATE');
    const stranger = await provider({ provider: 'dav', options: untrusting });
    await expect(stranger.get('empty', join(work, 'target'))).rejects.toThrow(/GET https:/);
  });
});

describe('an S3-compatible blobstore', () => {
  const keys = { access_key_id: 'AKIDTEST', secret_access_key: 'secret' };

  /** Checks signatures as the services document it, from what came over the wire. */
  function isSigned(request: IncomingMessage, body: Buffer): boolean {
    const header = String(request.headers.authorization ?? '');
    const match =
      /^AWS4-HMAC-SHA256 Credential=AKIDTEST\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(
        header,
      );
    const [, day = '', region = '', signedHeaders = '', signature = ''] = match ?? [];
    if (signature === '') return false;
    const payload = createHash('sha256').update(body).digest('hex');
    if (request.headers['x-amz-content-sha256'] !== payload) return false;
    const [path = '', query = ''] = (request.url ?? '').split('?');
    const lines = signedHeaders.split(';').map((name) => `${name}:${String(request.headers[name]).trim()}\n`);
    const canonical = `${request.method ?? ''}\n${path}\n${query}\n${lines.join('')}\n${signedHeaders}\n${payload}`;
    const scope = `${day}/${region}/s3/aws4_request`;
    const text = `AWS4-HMAC-SHA256\n${String(request.headers['x-amz-date'])}\n${scope}\n${createHash('sha256').update(canonical).digest('hex')}`;
    const key = [day, region, 's3', 'aws4_request'].reduce<Buffer>(
      (current, part) => createHmac('sha256', current).update(part).digest(),
      Buffer.from('AWS4secret'),
    );
    return createHmac('sha256', key).update(text).digest('hex') === signature;
  }

  async function startDouble(): Promise<number> {
    const objects = new Map<string, Buffer>();
    const server = createHttpServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const body = Buffer.concat(chunks);
        const path = request.url ?? '';
        if (!isSigned(request, body)) return response.writeHead(403).end();
        if (!path.startsWith('/bucket/')) return response.writeHead(404).end();
        if (request.method === 'PUT') {
          objects.set(path, body);
          return response.writeHead(200).end();
        }
        const content = objects.get(path);
        return response
          .writeHead(content ? 200 : 404, { 'content-length': content?.length ?? 0 })
          .end(content);
      });
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as AddressInfo).port;
  }

  /** `MOTO_SERVER=…/moto_server` puts moto in the place of the double. */
  async function startMoto(program: string): Promise<number> {
    const port = await freePort();
    children.push(spawn(program, ['-H', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' }));
    await untilListening(port);
    await fetch(`http://127.0.0.1:${port}/bucket`, { method: 'PUT' });
    return port;
  }

  it('keeps blobs below its folder, with signed requests', async () => {
    const moto = process.env['MOTO_SERVER'];
    const port = moto === undefined ? await startDouble() : await startMoto(moto);
    const options = {
      bucket_name: 'bucket',
      folder: 'some folder/ü',
      host: '127.0.0.1',
      port,
      use_ssl: false,
      ...keys,
    };
    await expectContract(await provider({ provider: 's3', options }));

    if (moto !== undefined) return;
    const wrong = await provider({ provider: 's3', options: { ...options, secret_access_key: 'other' } });
    await expect(wrong.get('empty', join(work, 'target'))).rejects.toThrow(/403/);
  });
});

describe('an external blobstore', () => {
  // What has its own executable on the stemcell is asked through it, also where there is code for it here.
  it.each(['test', 'gcs', 'azure-storage', 's3'])(
    '%s is called with its configuration, and its exit code counts',
    async (name) => {
      const bin = join(work, 'bin');
      mkdirSync(bin);
      const store = join(work, 'elsewhere');
      mkdirSync(store);
      writeFileSync(
        join(bin, `bosh-blobstore-${name}`),
        `#!/bin/sh\nset -e\n[ "$1" = -c ] && grep -q '"secret":"s3cret"' "$2"\ncase $3 in\nget) cp "${store}/$4" "$5" ;;\nput) cp "$4" "${store}/$5" ;;\n*) exit 3 ;;\nesac\n`,
        { mode: 0o755 },
      );
      const path = process.env.PATH;
      process.env.PATH = `${bin}:${path ?? ''}`;
      try {
        await expectContract(await provider({ provider: name, options: { secret: 's3cret' } }));
        expect(existsSync(join(store, 'empty'))).toBe(true);
        expect(statSync(join(work, `vcap/bosh/etc/blobstore-${name}.json`)).mode & 0o777).toBe(0o600);
        const stranger = await provider({ provider: name, options: { secret: 'another' } });
        await expect(stranger.get('empty', join(work, 'target'))).rejects.toThrow(/exit(ed)?.* 1|status 1/);
      } finally {
        process.env.PATH = path;
      }
    },
  );

  it('that is not there is named', async () => {
    await expect(provider({ provider: 'absent', options: {} })).rejects.toThrow(
      'executable bosh-blobstore-absent not found in PATH',
    );
  });
});

describe('fetching', () => {
  it('takes local blobs first, verifies them, and asks the provider three times', async () => {
    const local = localBlobs();
    let asked = 0;
    const manager = new BlobManager({
      local,
      retryDelayMs: 1,
      provider: async () => ({
        get: async () => {
          asked += 1;
          throw new Error('away');
        },
        put: async () => undefined,
        has: async () => false,
      }),
    });
    await local.writeSensitive('id', Buffer.from('content'));
    const digest = createHash('sha256').update('content').digest('hex');

    const blob = await manager.fetch({ blobId: 'id', digest: `sha256:${digest}` });
    expect(readFileSync(blob.path, 'utf8')).toBe('content');
    // A wrong one is an error: the next store is not asked.
    await expect(manager.fetch({ blobId: 'id', digest: `sha256:${'0'.repeat(64)}` })).rejects.toThrow(
      /to have digest/,
    );
    expect(asked).toBe(0);
    await expect(manager.fetch({ blobId: 'other', digest })).rejects.toThrow();
    expect(asked).toBe(3);
  });

  it('follows a signed URL with its headers and shows no signature when it fails', async () => {
    const server = createHttpServer((request, response) => {
      const isGood = request.headers['x-extra'] === 'yes' && request.url === '/good?signature=secret';
      response.writeHead(isGood ? 200 : 403).end('content');
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const manager = new BlobManager({
      local: localBlobs(),
      retryDelayMs: 1,
      provider: async () => provider({ provider: 'local', options: {} }),
    });
    const digest = createHash('sha1').update('content').digest('hex');
    const source = { blobId: '', digest, headers: { 'x-extra': 'yes' } };

    const blob = await manager.fetch({ ...source, signedUrl: `${url}/good?signature=secret` });
    expect(readFileSync(blob.path, 'utf8')).toBe('content');
    await blob.dispose();
    const failure = await manager
      .fetch({ ...source, signedUrl: `${url}/bad?signature=secret` })
      .catch(String);
    expect(failure).not.toContain('secret');
  });
});
