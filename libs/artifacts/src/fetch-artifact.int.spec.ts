import { execFile, execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DownloadFailed } from './errors.ts';
import { fetchArtifact, type FetchOptions } from './fetch-artifact.ts';

/** Real servers on the loopback, a real proxy, certificates from OpenSSL. */
let work: string;
let servers: Server[] = [];
const content = randomBytes(300_000);
const sha256 = `sha256:${createHash('sha256').update(content).digest('hex')}`;

beforeEach(() => {
  work = mkdtempSync(join(tmpdir(), 'fetch-'));
  for (const name of ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY']) {
    vi.stubEnv(name, undefined);
    vi.stubEnv(name.toLowerCase(), undefined);
  }
});
afterEach(async () => {
  vi.unstubAllEnvs();
  for (const server of servers) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  servers = [];
  rmSync(work, { recursive: true, force: true });
});

type Answer = (request: IncomingMessage, response: ServerResponse, count: number) => void;

async function listen(server: Server): Promise<number> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

async function serve(answer: Answer): Promise<{ origin: string; count: () => number }> {
  let count = 0;
  const port = await listen(
    createServer((incoming, response) => {
      count += 1;
      answer(incoming, response, count);
    }),
  );
  return { origin: `http://127.0.0.1:${port}`, count: () => count };
}

const whole: Answer = (_request, response) => response.end(content);
const options = (more: Partial<FetchOptions> = {}): FetchOptions => ({
  cacheDir: join(work, 'cache'),
  retryPolicy: { attempts: 3, delayMs: 1 },
  ...more,
});

async function expectContent(url: string, more: Partial<FetchOptions> = {}): Promise<void> {
  const { path } = await fetchArtifact({ url, sha1: sha256 }, options(more));
  expect(readFileSync(path).equals(content)).toBe(true);
}

describe('a download that goes wrong', () => {
  it('is begun again when the server stops in the middle', async () => {
    const { origin, count } = await serve((_request, response, attempt) => {
      response.writeHead(200, { 'content-length': content.length });
      if (attempt === 3) response.end(content);
      else response.write(content.subarray(0, 100_000), () => response.destroy());
    });

    await expectContent(`${origin}/a`);

    expect(count()).toBe(3);
  });

  it('is begun again when the server sends less than it announced and ends well', async () => {
    const { origin, count } = await serve((_request, response, attempt) =>
      response.end(attempt === 1 ? content.subarray(0, 1000) : content),
    );

    await expectContent(`${origin}/a`);

    expect(count()).toBe(2);
  });

  it('is begun again when the server falls silent, and given up when it stays so', async () => {
    const { origin, count } = await serve((_request, response, attempt) => {
      response.write(content.subarray(0, 1000));
      if (attempt === 2) response.end(content.subarray(1000));
    });

    await expectContent(`${origin}/a`, { stallTimeoutMs: 300 });
    expect(count()).toBe(2);
    await expect(
      fetchArtifact(
        { url: `${origin}/b`, sha1: `sha256:${'0'.repeat(64)}` },
        options({ stallTimeoutMs: 200, retryPolicy: { attempts: 1, delayMs: 1 } }),
      ),
    ).rejects.toThrow(/Failed to download from '.*\/b': no data for 0.2 s/);
    expect(readdirSync(join(work, 'cache')).filter((name) => name.endsWith('.part'))).toEqual([]);
  });

  it('ends at once with the signal', async () => {
    const { origin } = await serve((_request, response) => void response.write('x'));
    const controller = new AbortController();

    const fetching = fetchArtifact(
      { url: `${origin}/a`, sha1: sha256 },
      options({ signal: controller.signal }),
    );
    setTimeout(() => controller.abort(new Error('enough')), 100);

    await expect(fetching).rejects.toThrow('enough');
  });

  it('says that nothing listens', async () => {
    const { origin } = await serve(whole);
    const port = Number(new URL(origin).port);
    await new Promise((resolve) => servers.pop()?.close(resolve));

    const fetching = fetchArtifact({ url: `http://127.0.0.1:${port}/a`, sha1: sha256 }, options());

    await expect(fetching).rejects.toThrow(DownloadFailed);
    await expect(fetching).rejects.toThrow(/ECONNREFUSED/);
  });

  it('does not go in circles', async () => {
    const { origin, count } = await serve((_request, response) =>
      response.writeHead(302, { location: '/again' }).end(),
    );

    await expect(
      fetchArtifact(
        { url: `${origin}/a`, sha1: sha256 },
        options({ retryPolicy: { attempts: 1, delayMs: 1 } }),
      ),
    ).rejects.toThrow(/redirect count exceeded/);
    expect(count()).toBeLessThan(30);
  });
});

describe('redirects', () => {
  it('lead to another host, which does not get the credentials of the first', async () => {
    const seen: (string | undefined)[] = [];
    const other = await serve((incoming, response) => {
      seen.push(incoming.headers.authorization);
      response.end(content);
    });
    const { origin } = await serve((incoming, response) => {
      seen.push(incoming.headers.authorization);
      response.writeHead(302, { location: `${other.origin.replace('127.0.0.1', 'localhost')}/b` }).end();
    });

    await expectContent(`${origin.replace('//', '//user:secret@')}/a`);

    expect(seen).toEqual([`Basic ${Buffer.from('user:secret').toString('base64')}`, undefined]);
  });
});

/** Forwards what it is asked for, and counts. */
async function startProxy(): Promise<{ url: string; seen: string[] }> {
  const seen: string[] = [];
  const proxy = createServer((incoming, response) => {
    seen.push(`${incoming.method} ${incoming.url}`);
    const onward = request(incoming.url ?? '', { headers: incoming.headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    incoming.pipe(onward);
  });
  proxy.on('connect', (incoming, client, head) => {
    seen.push(`CONNECT ${incoming.url}`);
    const [host = '', port = ''] = (incoming.url ?? '').split(':');
    const upstream = connect(Number(port), host, () => {
      client.write('HTTP/1.1 200 OK\r\n\r\n');
      upstream.write(head);
      upstream.pipe(client).pipe(upstream);
    });
    upstream.on('error', () => client.destroy());
    client.on('error', () => upstream.destroy());
  });
  return { url: `http://127.0.0.1:${await listen(proxy)}`, seen };
}

function makeCertificate(): { key: string; certificate: string; ca: string } {
  const openssl = (...argv: string[]) => execFileSync('openssl', argv, { cwd: work, stdio: 'pipe' });
  const subject = (name: string) => ['-subj', `/CN=${name}`];
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl(
    'req',
    '-x509',
    ...newKey,
    '-keyout',
    'ca.key',
    '-out',
    'ca.crt',
    '-days',
    '2',
    ...subject('test CA'),
  );
  openssl('req', ...newKey, '-keyout', 'server.key', '-out', 'server.csr', ...subject('server'));
  writeFileSync(join(work, 'san'), 'subjectAltName=IP:127.0.0.1');
  openssl(
    'x509',
    '-req',
    '-in',
    'server.csr',
    '-CA',
    'ca.crt',
    '-CAkey',
    'ca.key',
    '-CAcreateserial',
    '-out',
    'server.crt',
    '-days',
    '2',
    '-extfile',
    'san',
  );
  const read = (name: string) => readFileSync(join(work, name), 'utf8');
  return { key: read('server.key'), certificate: read('server.crt'), ca: join(work, 'ca.crt') };
}

describe('https', () => {
  /** Node.js reads trusted roots when it starts, so each case is a process. */
  async function fetchInProcess(url: string, env: Record<string, string>): Promise<string> {
    const script = `
      const { fetchArtifact } = await import(${JSON.stringify(join(import.meta.dirname, 'fetch-artifact.ts'))});
      const options = { cacheDir: ${JSON.stringify(join(work, 'cache'))}, retryPolicy: { attempts: 1, delayMs: 1 } };
      try {
        await fetchArtifact({ url: ${JSON.stringify(url)}, sha1: ${JSON.stringify(sha256)} }, options);
        console.log('fetched');
      } catch (error) {
        console.log(error.message);
      }`;
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--input-type=module-typescript', '-e', script],
      { env: { PATH: process.env['PATH'] ?? '', HOME: work, ...env }, timeout: 60_000 },
    );
    return stdout.trim();
  }

  it('is trusted by the roots of the system or a CA that is named, else not, also through a proxy', async () => {
    const { key, certificate, ca } = makeCertificate();
    const port = await listen(
      createTlsServer({ key, cert: certificate, minVersion: 'TLSv1.2' }, (_request, response) =>
        response.end(content),
      ),
    );
    const proxy = await startProxy();
    const url = `https://127.0.0.1:${port}/a`;

    expect(await fetchInProcess(url, {})).toMatch(
      /^Failed to download from 'https:.*': (self-signed certificate|unable to)/,
    );
    expect(await fetchInProcess(url, { SSL_CERT_FILE: ca })).toBe('fetched');
    rmSync(join(work, 'cache'), { recursive: true });
    expect(await fetchInProcess(url, { NODE_EXTRA_CA_CERTS: ca, HTTPS_PROXY: proxy.url })).toBe('fetched');
    expect(proxy.seen).toEqual([`CONNECT 127.0.0.1:${port}`]);
  });
});

describe('a proxy', () => {
  it('is taken from HTTP_PROXY, and not for what NO_PROXY names', async () => {
    const { origin } = await serve(whole);
    const proxy = await startProxy();
    vi.stubEnv('HTTP_PROXY', proxy.url);

    await expectContent(`${origin}/a`);
    expect(proxy.seen).toHaveLength(1);

    rmSync(join(work, 'cache'), { recursive: true });
    vi.stubEnv('NO_PROXY', '127.0.0.1');
    await expectContent(`${origin}/a`);
    expect(proxy.seen).toHaveLength(1);
  });
});
