import { spawn, type ChildProcess } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { startTestAgent, type TestAgent } from '../src/testing/test-agent.ts';

let server: ChildProcess;
let port: number;
let agent: TestAgent | undefined;
let director: NatsConnection;

beforeEach(async () => {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  port = (probe.address() as AddressInfo).port;
  await new Promise((resolve) => probe.close(resolve));
  server = runServer();
  director = await connect({
    servers: `127.0.0.1:${port}`,
    user: 'nats',
    pass: 'pw',
    waitOnFirstConnect: true,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 100,
  });
});

afterEach(async () => {
  await agent?.close();
  await director.close();
  server.kill('SIGKILL');
});

function runServer(): ChildProcess {
  return spawn('nats-server', ['-a', '127.0.0.1', '-p', String(port), '--user', 'nats', '--pass', 'pw'], {
    stdio: 'ignore',
  });
}

async function ask(method: string, args: readonly unknown[] = []): Promise<unknown> {
  const replyTo = `director.test.${Math.random().toString(36).slice(2)}`;
  const replies = director.subscribe(replyTo, { max: 1 });
  const deadline = setTimeout(() => replies.unsubscribe(), 10_000);
  director.publish(
    'agent.agent-1',
    JSON.stringify({ method, arguments: args, reply_to: replyTo, protocol: 3 }),
  );
  for await (const reply of replies) {
    clearTimeout(deadline);
    return reply.json();
  }
  throw new Error('no reply');
}

it('answers requests, keeps quiet about what is none, and sends heartbeats', async () => {
  const heartbeats = director.subscribe('hm.agent.heartbeat.agent-1', { max: 1 });
  await director.flush();
  agent = await startTestAgent({ mbus: `nats://nats:pw@127.0.0.1:${port}` });
  director.publish('agent.agent-1', 'not json');

  expect(await ask('ping')).toEqual({ value: 'pong' });
  expect(await ask('dance')).toEqual({ exception: { message: 'unknown message dance' } });
  expect(await ask('list_disk')).toMatchObject({ value: { state: 'running' } });
  for await (const beat of heartbeats) {
    expect(beat.json()).toMatchObject({ job_state: 'running', number_of_processes: 0, vitals: { disk: {} } });
  }
});

it('comes back when the server was away', async () => {
  agent = await startTestAgent({ mbus: `nats://nats:pw@127.0.0.1:${port}` });
  expect(await ask('ping')).toEqual({ value: 'pong' });

  const flushes = () => agent?.effects.filter(([effect]) => effect === 'flush_neighbour').length ?? 0;
  const before = flushes();
  const ended = new Promise((resolve) => server.once('exit', resolve));
  server.kill('SIGKILL');
  await ended;
  // At once, and every 5 s.
  await expect.poll(flushes, { timeout: 4_000 }).toBe(before + 1);
  await expect.poll(flushes, { timeout: 10_000 }).toBe(before + 2);
  expect(agent.effects).not.toContainEqual(['refresh_firewall']);
  server = runServer();

  await expect
    .poll(() => ask('ping').catch(() => undefined), { timeout: 60_000, interval: 500 })
    .toEqual({ value: 'pong' });
  await expect.poll(() => agent?.effects, { timeout: 5_000 }).toContainEqual(['refresh_firewall']);
});
