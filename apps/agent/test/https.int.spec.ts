import { request, type RequestOptions } from 'node:https';
import { performance } from 'node:perf_hooks';
import { connect, type TLSSocket } from 'node:tls';
import { afterEach, expect, it } from 'vitest';
import { basicAuthorizer } from '../src/handlers/basic-auth.ts';
import { startTestAgent, type TestAgent, type TestAgentOptions } from '../src/testing/test-agent.ts';
import { createAuthority } from '../src/testing/test-pki.ts';

let agent: TestAgent | undefined;

afterEach(async () => agent?.close());

const authorization = `Basic ${Buffer.from('mbus:s3cret-pw').toString('base64')}`;

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers: NodeJS.Dict<string | string[]>;
}

async function send(
  options: RequestOptions & { readonly body?: string; readonly auth?: never },
): Promise<Answer> {
  const { body, ...rest } = options;
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        ...{ host: '127.0.0.1', port: agent?.agent.port, ca: agent?.ca, method: 'POST', path: '/agent' },
        ...rest,
        headers: { authorization, ...rest.headers } as Record<string, string>,
      },
      (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => (text += chunk.toString()));
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: text, headers: response.headers }),
        );
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

const ping = JSON.stringify({ method: 'ping', arguments: [], reply_to: 'x' });

async function start(options: TestAgentOptions = {}): Promise<void> {
  agent = await startTestAgent(options);
}

/** A connection that speaks for itself; answers what came until it ended. */
function raw(): { readonly socket: TLSSocket; readonly ended: Promise<string> } {
  const socket = connect({ host: '127.0.0.1', port: agent?.agent.port ?? 0, ca: agent?.ca ?? '' });
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
  socket.on('error', () => undefined);
  return { socket, ended: new Promise((resolve) => socket.once('close', () => resolve(text))) };
}

it('answers each request as the Go agent does', async () => {
  await start();

  expect(await send({ body: ping })).toMatchObject({ status: 200, body: '{"value":"pong"}' });
  for (const wrong of [{}, { authorization: 'Basic bWJ1czp3cm9uZw==' }, { authorization: 'Bearer x' }]) {
    const answer = await send({ body: ping, headers: { authorization: '', ...wrong } });
    expect(answer).toMatchObject({
      status: 401,
      body: '',
      headers: { 'www-authenticate': 'Basic realm=""' },
    });
  }
  for (const [method, path, status] of [
    ['GET', '/agent', 404],
    ['POST', '/agent/', 404],
    ['POST', '/agentx', 404],
    ['GET', '/', 404],
    ['DELETE', '/blobs/x', 404],
    ['HEAD', '/blobs/x', 404],
    ['GET', '/blobs/ab/absent', 404],
    ['GET', '/blobs/', 404],
    ['GET', '/blobs/tmp', 404],
    ['GET', '/blobs', 301],
    ['GET', '/blobs/a/../../agent', 301],
    ['POST', '//agent', 301],
  ] as const) {
    const answer = await send({ method, path });
    expect([method, path, answer.status]).toEqual([method, path, status]);
    expect(answer.body).toBe('');
  }
  expect(await send({ body: 'not json' })).toMatchObject({ status: 500, body: '' });
  expect(await send({ body: '{}' })).toMatchObject({
    status: 200,
    body: '{"exception":{"message":"unknown message "}}',
  });
});

it('keeps blobs whole and apart from what else lies there', async () => {
  await start();
  expect(await send({ method: 'PUT', path: '/blobs/ab/one', body: 'content' })).toMatchObject({
    status: 201,
  });

  expect(await send({ method: 'GET', path: '/blobs/one' })).toMatchObject({ status: 200, body: 'content' });
  for (const path of ['/blobs/%2e%2e%2fspec.json', '/blobs/..%00', '/blobs/a%2fb', '/blobs/%0a']) {
    expect(await send({ method: 'PUT', path, body: 'x' })).toMatchObject({ status: 500 });
    expect(await send({ method: 'GET', path })).toMatchObject({ status: 404 });
  }
  for (const id of ['.compiled.json', 'tmp']) {
    expect(await send({ method: 'PUT', path: `/blobs/${id}`, body: 'x' })).toMatchObject({ status: 500 });
  }
});

it('serves only clients with a certificate of the authority that the settings name', async () => {
  const authority = createAuthority('clients');
  const stranger = createAuthority('strangers');
  try {
    await start({ boshMbus: { client_ca: authority.certificate } });
    const { certificate, privateKey } = authority.issue('deployer');
    const other = stranger.issue('deployer');

    expect(await send({ body: ping, cert: certificate, key: privateKey })).toMatchObject({ status: 200 });
    await expect(send({ body: ping })).rejects.toThrow();
    await expect(send({ body: ping, cert: other.certificate, key: other.privateKey })).rejects.toThrow();
  } finally {
    authority.dispose();
    stranger.dispose();
  }
});

it('bounds body, headers, time and concurrency, and goes on serving', async () => {
  await start({
    httpsLimits: {
      bodyBytes: 10_000,
      headerBytes: 4_096,
      headersTimeoutMs: 400,
      bodyTimeoutMs: 400,
      idleMs: 1_500,
      concurrent: 2,
    },
  });
  expect((await send({ body: JSON.stringify({ method: 'ping', x: 'y'.repeat(20_000) }) })).status).toBe(413);
  const chunked = { 'transfer-encoding': 'chunked' };
  expect((await send({ body: 'z'.repeat(20_000), headers: chunked })).status).toBe(413);
  await expect(send({ body: ping, headers: { 'x-long': 'a'.repeat(8_000) } })).rejects.toThrow();

  const slowHeaders = raw();
  slowHeaders.socket.write('POST /agent HTTP/1.1\r\nhost: a\r\n');
  const head = `POST /agent HTTP/1.1\r\nhost: a\r\nauthorization: ${authorization}\r\ncontent-length: 50\r\n\r\n{`;
  const slow = [raw(), raw()];
  for (const { socket } of slow) socket.write(head);
  await expect.poll(async () => (await send({ body: ping })).status, { interval: 20 }).toBe(503);
  for (const { ended } of slow) expect(await ended).toMatch(/^HTTP\/1\.1 408 /);
  await slowHeaders.ended;
  const silent = raw();
  await silent.ended;
  // A body that nobody wants is not read to its end.
  const unwanted = raw();
  unwanted.socket.write('POST /agent HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999\r\n\r\n');
  expect(await unwanted.ended).toMatch(/^HTTP\/1\.1 401 /);

  expect(await send({ body: ping })).toMatchObject({ status: 200 });
});

it('takes the same time for a password that is nearly right', () => {
  const isRight = basicAuthorizer('mbus', 'x'.repeat(64));
  const header = (password: string) => `Basic ${Buffer.from(`mbus:${password}`).toString('base64')}`;
  const near = header(`${'x'.repeat(63)}y`);
  const far = header(`y${'x'.repeat(63)}`);
  const median = (candidate: string) => {
    const times: number[] = [];
    for (let index = 0; index < 2_001; index += 1) {
      const started = performance.now();
      isRight(candidate);
      times.push(performance.now() - started);
    }
    return times.sort((a, b) => a - b)[1_000] ?? 0;
  };
  median(near);
  expect(isRight(near) || isRight(far)).toBe(false);
  expect(isRight(header('x'.repeat(64)))).toBe(true);
  expect(median(near) / median(far)).toBeGreaterThan(0.5);
  expect(median(near) / median(far)).toBeLessThan(2);
});
