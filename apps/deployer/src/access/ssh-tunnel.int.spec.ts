import { spawn, execFileSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { errorCode } from '@microbosh/errors';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SshTunnel } from './ssh-tunnel.ts';
import type { SshTunnelOptions, TunnelState } from './ssh-tunnel.ts';

let folder: string;
let registry: ReturnType<typeof createServer>;
let localPort: number;
let sshPort: number;
let remotePort: number;
let server: ChildProcess | undefined;
const tunnels: SshTunnel[] = [];

function key(name: string): void {
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)]);
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

/** The server of OpenSSH, as it runs on a stemcell. */
async function startServer(hostKey = 'host'): Promise<void> {
  const config = [
    `Port ${sshPort}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${join(folder, hostKey)}`,
    `AuthorizedKeysFile ${join(folder, 'authorized')}`,
    'StrictModes no',
    'UsePAM no',
    'PermitRootLogin yes',
    'PasswordAuthentication no',
    `PidFile ${join(folder, 'pid')}`,
  ];
  await writeFile(join(folder, 'sshd_config'), `${config.join('\n')}\n`);
  await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
  server = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', join(folder, 'sshd_config')], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let log = '';
  server.stderr?.on('data', (chunk: Buffer) => (log += chunk.toString()));
  await until(
    () => log.includes('Server listening'),
    () => `sshd: ${log}`,
  );
}

/** With the sessions that it serves: what a network does that fails. */
async function stopServer(): Promise<void> {
  const pid = server?.pid;
  if (server === undefined || pid === undefined) return;
  const sessions = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).split(' ');
  const ended = once(server, 'exit');
  server.kill('SIGKILL');
  for (const session of sessions.map(Number).filter((id) => id > 0)) {
    try {
      process.kill(session, 'SIGKILL');
    } catch (error) {
      // It ended by itself in between.
      if (errorCode(error) !== 'ESRCH') throw error;
    }
  }
  await ended;
  server = undefined;
}

async function until(condition: () => boolean, what: () => string): Promise<void> {
  const deadline = Date.now() + 15_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function open(
  change: Partial<SshTunnelOptions> = {},
): Promise<{ tunnel: SshTunnel; states: TunnelState[]; hostKeys: string[] }> {
  const states: TunnelState[] = [];
  const hostKeys: string[] = [];
  const tunnel = new SshTunnel({
    host: '127.0.0.1',
    port: sshPort,
    user: userInfo().username,
    privateKey: await readFile(join(folder, 'user'), 'utf8'),
    remotePort,
    localPort,
    recordHostKey: async (found) => void hostKeys.push(found),
    onState: (state) => states.push(state),
    timing: { pauseMs: 50, credentialsMs: 300, keepaliveMs: 200 },
    ...change,
  });
  tunnels.push(tunnel);
  tunnel.start();
  return { tunnel, states, hostKeys };
}

/** What a VM does that asks its registry at 127.0.0.1. */
async function askThroughTunnel(): Promise<string> {
  const socket = connect(remotePort, '127.0.0.1');
  return text(socket);
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tunnel-'));
  for (const name of ['host', 'other-host', 'user', 'stranger']) key(name);
  await writeFile(join(folder, 'authorized'), await readFile(join(folder, 'user.pub')));
  registry = createServer((socket) => socket.end('settings')).listen(0, '127.0.0.1');
  await once(registry, 'listening');
  localPort = (registry.address() as AddressInfo).port;
  sshPort = await freePort();
  remotePort = await freePort();
});

afterEach(async () => {
  for (const tunnel of tunnels.splice(0)) await tunnel.close();
  await stopServer();
  registry.close();
  await rm(folder, { recursive: true, force: true });
});

describe('the tunnel to the registry, over a real SSH server', () => {
  it('leads from the loopback interface of the VM to the registry, and records the host key', async () => {
    await startServer();
    const { tunnel, hostKeys } = await open();
    await until(
      () => tunnel.state.kind === 'up',
      () => tunnel.state.text,
    );

    expect(await askThroughTunnel()).toBe('settings');
    const [type, key64] = (await readFile(join(folder, 'host.pub'), 'utf8')).split(' ');
    expect(hostKeys).toEqual([`${type} ${key64}`]);
  });

  it('says why there is no connection yet, and comes up when the server does', async () => {
    const { tunnel, states } = await open();
    await until(
      () => states.length > 0,
      () => 'a state',
    );
    expect(states[0]?.text).toContain('does not listen yet');

    await startServer();
    await until(
      () => tunnel.state.kind === 'up',
      () => tunnel.state.text,
    );
    expect(await askThroughTunnel()).toBe('settings');
  });

  it('tells in the words of the library what it has no words for', async () => {
    const mute = createServer((socket) => void socket.on('error', () => undefined));
    mute.listen(sshPort, '127.0.0.1');
    await once(mute, 'listening');
    const { tunnel, states } = await open({ timing: { pauseMs: 50, attemptMs: 200 } });
    await until(
      () => states.length > 0,
      () => 'a state',
    );
    await tunnel.close();
    mute.close();

    expect(states[0]?.text).toBe(
      `the SSH server at 127.0.0.1:${sshPort}: Timed out while waiting for handshake`,
    );
  });

  it('comes up again after the connection broke', async () => {
    await startServer();
    const { tunnel, hostKeys } = await open();
    await until(
      () => tunnel.state.kind === 'up',
      () => tunnel.state.text,
    );
    await stopServer();
    await until(
      () => tunnel.state.kind === 'connecting',
      () => tunnel.state.text,
    );
    await startServer();

    await until(
      () => tunnel.state.kind === 'up',
      () => tunnel.state.text,
    );
    expect(await askThroughTunnel()).toBe('settings');
    expect(hostKeys).toHaveLength(1);
  });

  it('refuses a server with another host key than the recorded one, at once', async () => {
    await startServer('other-host');
    const [type, key64] = (await readFile(join(folder, 'host.pub'), 'utf8')).split(' ');
    const { tunnel, states } = await open({ hostKey: `${type} ${key64}` });
    await until(
      () => tunnel.state.kind === 'hopeless',
      () => tunnel.state.text,
    );

    expect(states.map(({ kind }) => kind)).toEqual(['hopeless']);
    expect(tunnel.state.text).toContain('another host key');
    await expect(askThroughTunnel()).rejects.toThrow('ECONNREFUSED');
  });

  it('gives up on a key that stays refused', async () => {
    await startServer();
    const { tunnel, states } = await open({ privateKey: await readFile(join(folder, 'stranger'), 'utf8') });
    await until(
      () => tunnel.state.kind === 'hopeless',
      () => tunnel.state.text,
    );

    expect(states[0]?.kind).toBe('connecting');
    expect(tunnel.state.text).toContain('refuses the key or the password of');
  });

  it('keeps the private key out of argument vectors and files', async () => {
    await startServer();
    const { tunnel } = await open();
    await until(
      () => tunnel.state.kind === 'up',
      () => tunnel.state.text,
    );
    const secret = (await readFile(join(folder, 'user'), 'utf8')).split('\n')[1] ?? 'none';

    expect(execFileSync('ps', ['-eo', 'args=']).toString()).not.toContain(secret);
  });
});
