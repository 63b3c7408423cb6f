import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect as connectSocket, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestAgent, type TestAgent } from '../src/testing/test-agent.ts';

interface Alert {
  readonly id: string;
  readonly severity: number;
  readonly title: string;
  readonly summary: string;
  readonly created_at: number;
}

const received: Alert[] = [];
let server: ChildProcess;
let director: NatsConnection;
let agent: TestAgent;
let ports: {
  readonly nats: number;
  readonly httpPort: number;
  readonly smtpPort: number;
  readonly sshAlertPort: number;
};
const patience = { timeout: 30_000, interval: 100 };

beforeAll(async () => {
  ports = {
    nats: await freePort(),
    httpPort: await freePort(),
    smtpPort: await freePort(),
    sshAlertPort: await freePort(),
  };
  server = spawn(
    'nats-server',
    ['-a', '127.0.0.1', '-p', String(ports.nats), '--user', 'nats', '--pass', 'pw'],
    {
      stdio: 'ignore',
    },
  );
  const url = `127.0.0.1:${ports.nats}`;
  director = await connect({
    servers: url,
    user: 'nats',
    pass: 'pw',
    waitOnFirstConnect: true,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 100,
  });
  director.subscribe('hm.agent.alert.agent-1', {
    callback: (_error, message) => {
      received.push(message.json<Alert>());
    },
  });
  await director.flush();
  agent = await startTestAgent({
    mbus: `nats://nats:pw@${url}`,
    supervisor: 'monit',
    monit: { ...ports, cycleSecs: 1, pidFile: join('/tmp', `monit-${process.pid}-${ports.httpPort}.pid`) },
  });
});

afterAll(async () => {
  const pid = monitPid();
  await agent.close();
  process.kill(pid, 'SIGTERM');
  for (let tries = 0; tries < 100 && isMonit(pid); tries += 1) await sleep(100);
  await director.close();
  server.kill('SIGKILL');
});

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

function monitPid(): number {
  const file = join('/tmp', `monit-${process.pid}-${ports.httpPort}.pid`);
  return existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
}

/** A zombie that nobody has reaped yet has no command line. */
function isMonit(pid: number): boolean {
  return existsSync(`/proc/${pid}/cmdline`) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('monit');
}

async function ask(method: string, args: readonly unknown[] = []): Promise<unknown> {
  const reply = await director.request(
    'agent.agent-1',
    JSON.stringify({ method, arguments: args, reply_to: '', protocol: 3 }),
    { timeout: 40_000 },
  );
  return reply.json();
}

/** Puts a job in place as an apply leaves it. */
function install(): { readonly pidFile: string } {
  const { layout } = agent;
  const pidFile = join(layout.run, 'web.pid');
  const bin = join(layout.jobs, 'web', 'bin');
  mkdirSync(bin, { recursive: true });
  mkdirSync(layout.run, { recursive: true });
  const ctl = join(bin, 'ctl');
  writeFileSync(
    ctl,
    `#!/bin/sh\ncase $1 in\nstart) setsid sleep 98763 >/dev/null 2>&1 & echo $! > ${pidFile} ;;\nstop) kill $(cat ${pidFile}); rm -f ${pidFile} ;;\nesac\n`,
  );
  chmodSync(ctl, 0o755);
  writeFileSync(
    join(layout.jobs, 'web', 'monit'),
    `check process web with pidfile ${pidFile}\n  start program "${ctl} start"\n  stop program "${ctl} stop"\n  group vcap\n`,
  );
  writeFileSync(
    layout.spec,
    JSON.stringify({ job: { name: 'g', templates: [{ name: 'web', version: '1' }] } }),
    { mode: 0o600 },
  );
  return { pidFile };
}

it('turns a mail of real monit about a dead process into an alert on real NATS, once', async () => {
  const { pidFile } = install();
  expect(await ask('start')).toEqual({ value: 'started' });
  await expect.poll(() => ask('get_state'), patience).toMatchObject({ value: { job_state: 'running' } });
  received.length = 0;

  process.kill(Number(readFileSync(pidFile, 'utf8')), 'SIGKILL');

  const about = () => received.filter(({ title }) => title.startsWith('web (10.0.0.6) - Does not exist - '));
  await expect.poll(() => about().length, patience).toBe(1);
  expect(about()[0]).toEqual({
    id: expect.stringMatching(/^.+@.+$/) as string,
    severity: 1,
    title: 'web (10.0.0.6) - Does not exist - restart',
    summary: 'process is not running',
    created_at: expect.any(Number) as number,
  });
  expect(Math.abs((about()[0]?.created_at ?? 0) - Date.now() / 1_000)).toBeLessThan(60);
  await expect.poll(() => ask('get_state'), patience).toMatchObject({ value: { job_state: 'running' } });
  // It came back: what is well is not told.
  expect(received.filter(({ title }) => / - Exists - /.test(title))).toEqual([]);
  expect(about()).toHaveLength(1);
});

it('keeps passwords out of reach: random, different, readable by root alone', () => {
  const { monit } = agent.layout;
  const [user, mail] = [join(monit, 'monit.user'), join(monit, 'mail.user')];

  expect(readFileSync(user, 'utf8')).toMatch(/^vcap:[0-9a-f]{32}$/);
  expect(readFileSync(mail, 'utf8')).toMatch(/^vcap:[0-9a-f]{32}$/);
  expect(readFileSync(user, 'utf8')).not.toBe(readFileSync(mail, 'utf8'));
  for (const file of [user, mail, join(monit, 'alerts.monitrc')]) {
    expect(statSync(file).mode & 0o777).toBe(0o600);
  }
});

/** Says each line after the answer to the one before; resolves with all answers. */
async function converse(port: number, lines: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    const socket = connectSocket(port, '127.0.0.1');
    const rest = [...lines];
    let heard = '';
    socket.setTimeout(5_000, () => socket.destroy());
    socket.on('data', (chunk: Buffer) => {
      heard += chunk.toString();
      if (!/^\d{3} [^\n]*\n$/m.test(chunk.toString())) return;
      const next = rest.shift();
      if (next === undefined) socket.end('QUIT\r\n');
      else socket.write(`${next}\r\n`);
    });
    socket.once('error', () => resolve(heard));
    socket.once('close', () => resolve(heard));
  });
}

const envelope = [
  'MAIL FROM:<a@b>',
  'RCPT TO:<agent@local>',
  'DATA',
  'Service: forged\r\nEvent: Does not exist\r\nAction: alert\r\n.',
];
const plain = (password: string) => `AUTH PLAIN ${Buffer.from(`\0vcap\0${password}`).toString('base64')}`;

it('takes no alert without the password, and one with it, also when the mail is repeated', async () => {
  received.length = 0;
  const password = readFileSync(join(agent.layout.monit, 'mail.user'), 'utf8').split(':')[1] ?? '';

  expect(await converse(ports.smtpPort, ['EHLO x', ...envelope])).toMatch(/^530 /m);
  expect(await converse(ports.smtpPort, ['EHLO x', plain('wrong'), ...envelope])).toMatch(/^535 /m);
  expect(received).toEqual([]);

  const mail = [...envelope.slice(0, 3), `Message-ID: <7@here>\r\n\r\n${envelope[3] ?? ''}`];
  await converse(ports.smtpPort, ['EHLO x', plain(password), ...mail]);
  await converse(ports.smtpPort, ['EHLO x', plain(password), ...mail]);
  await expect.poll(() => received.filter(({ id }) => id === '7@here').length, patience).toBe(1);
});

it('tells who logs in and out by SSH, and nothing else of the log', async () => {
  received.length = 0;
  const socket = connectSocket(ports.sshAlertPort, '127.0.0.1');
  socket.end(
    [
      '<38>Nov 23 01:50:33 vm sshd[812]: Accepted publickey for vcap from 10.0.0.9 port 4711 ssh2',
      '<38>Nov 23 01:50:34 vm sshd[812]: Failed password for root from 10.0.0.9',
      '<38>Nov 23 01:51:33 vm sshd[812]: Received disconnect from 10.0.0.9 port 4711:11: disconnected by user',
      '',
    ].join('\n'),
  );

  await expect.poll(() => received.map(({ title }) => title), patience).toEqual(['SSH Login', 'SSH Logout']);
  expect(received[0]).toMatchObject({
    severity: 4,
    summary: expect.stringContaining('vcap from 10.0.0.9') as string,
  });
});

it('brings monit back when it dies, and the jobs go on', async () => {
  const { pidFile } = { pidFile: join(agent.layout.run, 'web.pid') };
  const [job, first] = [readFileSync(pidFile, 'utf8'), monitPid()];

  process.kill(first, 'SIGKILL');

  await expect.poll(() => monitPid() !== first && isMonit(monitPid()), patience).toBe(true);
  await expect.poll(() => ask('get_state'), patience).toMatchObject({ value: { job_state: 'running' } });
  expect(readFileSync(pidFile, 'utf8')).toBe(job);
});

it('stops after a drain has unmonitored everything', async () => {
  const pidFile = join(agent.layout.run, 'web.pid');

  const settle = async (answer: unknown): Promise<unknown> => {
    const task = (answer as { value?: { agent_task_id?: string; state?: string } }).value;
    if (task?.state !== 'running') return answer;
    await sleep(200);
    return settle(await ask('get_task', [task.agent_task_id]));
  };
  expect(await settle(await ask('drain', ['shutdown', {}]))).toEqual({ value: 0 });
  expect(await settle(await ask('stop'))).toEqual({ value: 'stopped' });

  expect(existsSync(pidFile)).toBe(false);
  expect(await ask('get_state')).toMatchObject({ value: { job_state: 'stopped' } });
});
