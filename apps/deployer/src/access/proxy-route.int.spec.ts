import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer as createPlainServer } from 'node:http';
import { createServer } from 'node:https';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fetchArtifact } from '@microbosh/artifacts';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { AgentTrouble } from '../ports/agent.ts';
import { freePort, SshServer, until } from '../testing/ssh-server.ts';
import { agentConnector } from './agent-session.ts';
import { makeCa, makeServerCertificate } from './certificates.ts';
import { proxyRoute } from './proxy-route.ts';
import { connectorOver } from './routed-connector.ts';
import { SshTunnel } from './ssh-tunnel.ts';

let folder: string;
let ca: string;
let certificate: { readonly cert: string; readonly key: string };
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  const now = new Date();
  const authority = await makeCa('agent CA', now);
  const server = await makeServerCertificate(authority, '127.0.0.1', now);
  ca = authority.certificate;
  certificate = { cert: server.certificate, key: server.private_key };
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'proxy-route-'));
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await rm(folder, { recursive: true, force: true });
});

/** A SOCKS5 server of its own, and what it says of its connections. */
async function socksServer(
  credentials?: readonly [string, string],
): Promise<{ port: number; log: () => string }> {
  const port = await freePort();
  const args = credentials === undefined ? [] : ['-u', credentials[0], '-P', credentials[1]];
  const server: ChildProcess = spawn('microsocks', ['-i', '127.0.0.1', '-p', String(port), ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let log = '';
  server.stderr?.on('data', (chunk: Buffer) => (log += chunk.toString()));
  cleanups.push(async () => {
    const ended = once(server, 'exit');
    server.kill('SIGKILL');
    await ended;
  });
  let isUp = false;
  for (let tries = 0; !isUp && tries < 200; tries += 1) {
    const probe = connect(port, '127.0.0.1');
    isUp = await Promise.race([
      once(probe, 'connect').then(() => true),
      new Promise<boolean>((resolve) => probe.once('error', () => resolve(false))),
    ]);
    probe.destroy();
    if (!isUp) await new Promise((resolve) => setTimeout(resolve, 25));
  }
  if (!isUp) throw new Error('microsocks does not listen');
  return { port, log: () => log };
}

async function sshServer(): Promise<{ server: SshServer; url: (key?: string) => string }> {
  const server = await SshServer.prepare(folder);
  cleanups.push(() => server.stop());
  const url = (key = 'user') =>
    `ssh+socks5://${userInfo().username}@127.0.0.1:${server.port}?private-key=${join(folder, key)}`;
  return { server, url };
}

/** An agent that answers everyone; resolves with its port. */
async function agent(): Promise<number> {
  const server = createServer(certificate, (request, response) => {
    request.resume();
    response.end('{"value":"pong"}');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

async function ping(env: Record<string, string>, port: number): Promise<AgentTrouble | 'pong'> {
  const session = await agentConnector(env)({
    mbus: `https://mbus:p@127.0.0.1:${port}`,
    ca,
    directorUuid: 'deployer',
  });
  try {
    await session.ping(AbortSignal.timeout(10_000));
    return 'pong';
  } catch (error) {
    return session.explain(error);
  } finally {
    await session.close();
  }
}

const content = Buffer.alloc(300_000, 'abc');
const sha1 = 'sha256:a77aedfe2e4a7232ea628a71745a966224c4521d93134b993cde5b65ea2f6e3c';

async function fileServer(): Promise<number> {
  const server = createPlainServer((_request, response) => response.end(content)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

async function download(env: Record<string, string>, port: number): Promise<Buffer> {
  const connector = connectorOver(proxyRoute(env));
  if (connector === undefined) throw new Error('no route');
  const { path } = await fetchArtifact(
    { url: `http://127.0.0.1:${port}/release.tgz`, sha1 },
    { cacheDir: join(folder, 'cache'), connector, retryPolicy: { attempts: 1, delayMs: 1 } },
  );
  return readFile(path);
}

describe('BOSH_ALL_PROXY with a SOCKS5 server', () => {
  it('leads to the agent and to the servers of artifacts', async () => {
    const proxy = await socksServer();
    const env = { BOSH_ALL_PROXY: `socks5://127.0.0.1:${proxy.port}` };
    const [agentPort, filePort] = [await agent(), await fileServer()];

    expect(await ping(env, agentPort)).toBe('pong');
    expect((await download(env, filePort)).equals(content)).toBe(true);

    expect(proxy.log()).toContain(`connected to 127.0.0.1:${agentPort}`);
    expect(proxy.log()).toContain(`connected to 127.0.0.1:${filePort}`);
  });

  it('is told user and password, and the error of a wrong one does not show it', async () => {
    const proxy = await socksServer(['jump', 'pa ss']);
    const url = (password: string) => ({
      BOSH_ALL_PROXY: `socks5://jump:${password}@127.0.0.1:${proxy.port}`,
    });
    const port = await agent();

    expect(await ping(url('pa%20ss'), port)).toBe('pong');
    const trouble = await ping(url('wrong-secret'), port);
    expect(trouble).toMatchObject({ kind: 'no-route', hopeless: false });
    expect(JSON.stringify(trouble)).toContain('the proxy of BOSH_ALL_PROXY');
    expect(JSON.stringify(trouble)).not.toContain('wrong-secret');
  });

  it('tells an agent that does not listen yet from a proxy that is away', async () => {
    const proxy = await socksServer();
    const closed = await freePort();

    const early = await ping({ BOSH_ALL_PROXY: `socks5://127.0.0.1:${proxy.port}` }, closed);
    const away = await ping({ BOSH_ALL_PROXY: `socks5://127.0.0.1:${closed}` }, await agent());

    expect(early).toMatchObject({ kind: 'refused' });
    expect(away).toMatchObject({ kind: 'no-route' });
    expect(JSON.stringify(away)).toContain('the proxy of BOSH_ALL_PROXY: connect ECONNREFUSED');
  });

  it.each(['127.0.0.1', 'x.example, 127.0.0.0/8', '10.0.0.1,127.0.0.1/32'])(
    'is left out for hosts of no_proxy: %s',
    async (no_proxy) => {
      const proxy = await socksServer();
      const port = await agent();

      expect(await ping({ BOSH_ALL_PROXY: `socks5://127.0.0.1:${proxy.port}`, no_proxy }, port)).toBe('pong');
      expect(proxy.log()).not.toContain(`:${port}`);
    },
  );

  it('carries the SSH tunnel to the registry', async () => {
    const proxy = await socksServer();
    const { server } = await sshServer();
    await server.start();
    const [remotePort, localPort] = [await freePort(), await fileServer()];
    const tunnel = new SshTunnel({
      ...{ host: '127.0.0.1', port: server.port, user: userInfo().username, remotePort, localPort },
      privateKey: await readFile(join(folder, 'user'), 'utf8'),
      route: proxyRoute({ BOSH_ALL_PROXY: `socks5://127.0.0.1:${proxy.port}` }),
      recordHostKey: async () => undefined,
      onState: () => undefined,
    });
    tunnel.start();
    cleanups.push(() => tunnel.close());

    await until(
      () => tunnel.state.kind === 'up',
      () => tunnel.state.text,
    );
    expect((await (await fetch(`http://127.0.0.1:${remotePort}/`)).arrayBuffer()).byteLength).toBe(300_000);
    expect(proxy.log()).toContain(`connected to 127.0.0.1:${server.port}`);
  });

  it('is offered as a port to programs that cannot dial', async () => {
    const proxy = await socksServer();
    const port = await fileServer();
    const route = proxyRoute({ BOSH_ALL_PROXY: `socks5://127.0.0.1:${proxy.port}` });
    const entrance = await route?.listen('127.0.0.1', port);

    const socket = connect(entrance?.port ?? 0, '127.0.0.1');
    socket.write('GET / HTTP/1.0\r\n\r\n');
    expect(await text(socket)).toContain('abcabc');
    await entrance?.close();
    expect(proxy.log()).toContain(`connected to 127.0.0.1:${port}`);
  });
});

describe('BOSH_ALL_PROXY with an SSH server', () => {
  it('leads to the agent and to the servers of artifacts', async () => {
    const { server, url } = await sshServer();
    await server.start();
    const env = { BOSH_ALL_PROXY: url() };

    expect(await ping(env, await agent())).toBe('pong');
    expect((await download(env, await fileServer())).equals(content)).toBe(true);
    expect(await ping(env, await freePort())).toMatchObject({ kind: 'refused' });
  });

  it('connects again after the connection broke, to the same host key only', async () => {
    const { server, url } = await sshServer();
    await server.start();
    const env = { BOSH_ALL_PROXY: url() };
    const port = await agent();
    expect(await ping(env, port)).toBe('pong');

    await server.stop();
    expect(await ping(env, port)).toMatchObject({ kind: 'no-route' });
    await server.start();
    expect(await ping(env, port)).toBe('pong');
    await server.stop();
    await server.start('other-host');
    expect(await ping(env, port)).toMatchObject({ kind: 'no-route' });
  });

  it('holds no process that is done with it', async () => {
    const { server, url } = await sshServer();
    await server.start();
    const program = `
      import { proxyRoute } from ${JSON.stringify(join(import.meta.dirname, 'proxy-route.ts'))};
      const stream = await proxyRoute(process.env).dial('127.0.0.1', ${await fileServer()}, 10_000);
      stream.write('GET / HTTP/1.0\\r\\n\\r\\n');
      let bytes = 0;
      for await (const chunk of stream) bytes += chunk.length;
      process.stdout.write(String(bytes));
    `;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      env: { ...process.env, BOSH_ALL_PROXY: url() },
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: 20_000,
    });
    const [said, exit] = await Promise.all([text(child.stdout), once(child, 'exit')]);

    expect(Number(said)).toBeGreaterThan(300_000);
    expect(exit).toEqual([0, null]);
  });

  it('says that the key is refused, or that there is none', async () => {
    const { server, url } = await sshServer();
    await server.start();
    const port = await agent();

    expect(JSON.stringify(await ping({ BOSH_ALL_PROXY: url('stranger') }, port))).toContain('authentication');
    const hopeless = { kind: 'E_PROXY', hopeless: true };
    expect(await ping({ BOSH_ALL_PROXY: url('absent') }, port)).toMatchObject(hopeless);
    expect(await ping({ BOSH_ALL_PROXY: url('user.pub') }, port)).toMatchObject(hopeless);
    const nobody = `ssh+socks5://127.0.0.1:${server.port}`;
    expect(await ping({ BOSH_ALL_PROXY: nobody }, port)).toMatchObject(hopeless);
  });
});

it.each(['127.0.0.1:1080', 'http://127.0.0.1:1', 'socks5://', 'socks5://:x', 'socks5://a%zz:b@h:1'])(
  'BOSH_ALL_PROXY is refused when it names no proxy: %s',
  (value) => {
    expect(() => proxyRoute({ BOSH_ALL_PROXY: value })).toThrow(
      expect.objectContaining({ code: 'E_PROXY' }) as Error,
    );
  },
);

it('without BOSH_ALL_PROXY there is no route', () => {
  expect(proxyRoute({})).toBeUndefined();
  expect(proxyRoute({ BOSH_ALL_PROXY: '' })).toBeUndefined();
});
