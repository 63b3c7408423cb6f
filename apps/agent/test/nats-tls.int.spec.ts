import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JsonObject } from '@microbosh/errors';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { startTestAgent, type TestAgent } from '../src/testing/test-agent.ts';
import { createAuthority, type Pair, type TestAuthority } from '../src/testing/test-pki.ts';

let authority: TestAuthority;
let stranger: TestAuthority;
let work: string;
let port: number;
let servers: ChildProcess[];
let directors: NatsConnection[];
let agents: TestAgent[];

beforeAll(() => {
  authority = createAuthority('nats-ca');
  stranger = createAuthority('other-ca');
});
afterAll(() => {
  authority.dispose();
  stranger.dispose();
});
beforeEach(async () => {
  work = mkdtempSync(join(tmpdir(), 'nats-'));
  [servers, directors, agents] = [[], [], []];
  port = await freePort();
});
afterEach(async () => {
  for (const agent of agents) await agent.close();
  for (const director of directors) await director.close();
  for (const server of servers) server.kill('SIGKILL');
  rmSync(work, { recursive: true, force: true });
});

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port: free } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return free;
}

/** A real server that wants client certificates of the authority. */
function runServer(pair: Pair, listen = port): void {
  const dir = mkdtempSync(join(work, 'server-'));
  writeFileSync(join(dir, 'ca.crt'), authority.certificate);
  writeFileSync(join(dir, 'server.crt'), pair.certificate);
  writeFileSync(join(dir, 'server.key'), pair.privateKey);
  const config = join(dir, 'nats.conf');
  const file = (name: string) => JSON.stringify(join(dir, name));
  writeFileSync(
    config,
    `listen: "127.0.0.1:${listen}"\nmax_payload: 1048576\ntls {\n  cert_file: ${file('server.crt')}\n  key_file: ${file('server.key')}\n  ca_file: ${file('ca.crt')}\n  verify: true\n}\n`,
  );
  servers.push(spawn('nats-server', ['-c', config], { stdio: 'ignore' }));
}

/** nats.js checks host names; the director's client is not under test here. */
async function direct(): Promise<NatsConnection> {
  const { certificate, privateKey } = authority.issue('default.director.bosh-internal');
  const tls = {
    ...{ ca: authority.certificate, cert: certificate, key: privateKey },
    checkServerIdentity: () => undefined,
  };
  const director = await connect({
    servers: `127.0.0.1:${port}`,
    waitOnFirstConnect: true,
    reconnectTimeWait: 100,
    tls,
  });
  directors.push(director);
  return director;
}

function settings(pair: Pair): { mbus: string; boshMbus: JsonObject } {
  const cert = {
    ca: authority.certificate,
    certificate: pair.certificate,
    private_key: pair.privateKey,
  };
  return { mbus: `nats://127.0.0.1:${port}`, boshMbus: { cert } };
}

async function ask(
  director: NatsConnection,
  method: string,
  args: readonly unknown[] = [],
): Promise<unknown> {
  const replyTo = `director.test.${Math.random().toString(36).slice(2)}`;
  const replies = director.subscribe(replyTo, { max: 1, timeout: 15_000 });
  const request = { method, arguments: args, reply_to: replyTo, protocol: 3 };
  director.publish('agent.agent-1', JSON.stringify(request));
  for await (const reply of replies) return reply.json();
  throw new Error('no reply');
}

it('answers over TLS with its client certificate to a server whose certificate names a message bus', async () => {
  runServer(authority.issue('default.nats.bosh-internal', 'DNS:default.nats.bosh-internal'));
  const director = await direct();
  const shutdowns = director.subscribe('hm.agent.shutdown.agent-1', { max: 1, timeout: 15_000 });
  await director.flush();
  const agent = await startTestAgent(settings(authority.issue('agent-1.agent.bosh-internal')));
  agents.push(agent);

  expect(await ask(director, 'ping')).toEqual({ value: 'pong' });
  expect(agent.effects).toContainEqual(['flush_neighbour', '127.0.0.1']);
  expect(await ask(director, 'shutdown')).toEqual({ value: '' });
  for await (const notice of shutdowns) expect(notice.string()).toBe('null');
  expect(agent.effects).toContainEqual(['power_off']);
});

it('speaks to no server but one whose certificate names a message bus, and waits for that one', async () => {
  const wrong = [await freePort(), await freePort(), await freePort()] as const;
  runServer(authority.issue('nats.example.com'), wrong[0]);
  runServer(stranger.issue('default.nats.bosh-internal'), wrong[1]);
  servers.push(spawn('nats-server', ['-a', '127.0.0.1', '-p', String(wrong[2])], { stdio: 'ignore' }));
  const given = settings(authority.issue('agent-1.agent.bosh-internal'));
  const urls = [...wrong, port].map((each) => `nats://127.0.0.1:${each}`);
  let connected = false;
  const starting = startTestAgent({ ...given, boshMbus: { ...given.boshMbus, urls } }).then((agent) => {
    connected = true;
    agents.push(agent);
  });
  await sleep(2_000);
  expect(connected).toBe(false);

  runServer(authority.issue('default.nats.bosh-internal'));
  await starting;

  expect(await ask(await direct(), 'ping')).toEqual({ value: 'pong' });
});

it('stores an answer that is too large for a message as a blob', async () => {
  runServer(authority.issue('default.nats.bosh-internal'));
  const director = await direct();
  const agent = await startTestAgent(settings(authority.issue('agent-1.agent.bosh-internal')));
  agents.push(agent);
  mkdirSync(join(agent.layout.base, 'micro'));
  const spec = { properties: { large: 'x'.repeat(1_200_000) } };
  writeFileSync(join(agent.layout.base, 'micro', 'apply_spec.json'), JSON.stringify(spec));

  const answer = (await ask(director, 'release_apply_spec')) as { exception: Record<string, string> };

  expect(answer.exception.message).toBe('Response exceeded maximum allowed length');
  const stored = join(agent.layout.blobs, answer.exception['blobstore_id'] ?? '');
  expect(JSON.parse(readFileSync(stored, 'utf8'))).toEqual({ value: spec });
});
