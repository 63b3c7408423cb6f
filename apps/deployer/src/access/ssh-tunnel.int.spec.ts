import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { freePort, SshServer, until } from '../testing/ssh-server.ts';
import { SshTunnel } from './ssh-tunnel.ts';
import type { SshTunnelOptions, TunnelState } from './ssh-tunnel.ts';

let folder: string;
let registry: ReturnType<typeof createServer>;
let localPort: number;
let sshServer: SshServer;
let remotePort: number;
const tunnels: SshTunnel[] = [];

async function open(
  change: Partial<SshTunnelOptions> = {},
): Promise<{ tunnel: SshTunnel; states: TunnelState[]; hostKeys: string[] }> {
  const states: TunnelState[] = [];
  const hostKeys: string[] = [];
  const tunnel = new SshTunnel({
    host: '127.0.0.1',
    port: sshServer.port,
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
  sshServer = await SshServer.prepare(folder);
  registry = createServer((socket) => socket.end('settings')).listen(0, '127.0.0.1');
  await once(registry, 'listening');
  localPort = (registry.address() as AddressInfo).port;
  remotePort = await freePort();
});

afterEach(async () => {
  for (const tunnel of tunnels.splice(0)) await tunnel.close();
  await sshServer.stop();
  registry.close();
  await rm(folder, { recursive: true, force: true });
});

describe('the tunnel to the registry, over a real SSH server', () => {
  it('leads from the loopback interface of the VM to the registry, and records the host key', async () => {
    await sshServer.start();
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

    await sshServer.start();
    await until(
      () => tunnel.state.kind === 'up',
      () => tunnel.state.text,
    );
    expect(await askThroughTunnel()).toBe('settings');
  });

  it('tells in the words of the library what it has no words for', async () => {
    const mute = createServer((socket) => void socket.on('error', () => undefined));
    mute.listen(sshServer.port, '127.0.0.1');
    await once(mute, 'listening');
    const { tunnel, states } = await open({ timing: { pauseMs: 50, attemptMs: 200 } });
    await until(
      () => states.length > 0,
      () => 'a state',
    );
    await tunnel.close();
    mute.close();

    expect(states[0]?.text).toBe(
      `the SSH server at 127.0.0.1:${sshServer.port}: Timed out while waiting for handshake`,
    );
  });

  it('comes up again after the connection broke', async () => {
    await sshServer.start();
    const { tunnel, hostKeys } = await open();
    await until(
      () => tunnel.state.kind === 'up',
      () => tunnel.state.text,
    );
    await sshServer.stop();
    await until(
      () => tunnel.state.kind === 'connecting',
      () => tunnel.state.text,
    );
    await sshServer.start();

    await until(
      () => tunnel.state.kind === 'up',
      () => tunnel.state.text,
    );
    expect(await askThroughTunnel()).toBe('settings');
    expect(hostKeys).toHaveLength(1);
  });

  it('refuses a server with another host key than the recorded one, at once', async () => {
    await sshServer.start('other-host');
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
    await sshServer.start();
    const { tunnel, states } = await open({ privateKey: await readFile(join(folder, 'stranger'), 'utf8') });
    await until(
      () => tunnel.state.kind === 'hopeless',
      () => tunnel.state.text,
    );

    expect(states[0]?.kind).toBe('connecting');
    expect(tunnel.state.text).toContain('refuses the key or the password of');
  });

  it('keeps the private key out of argument vectors and files', async () => {
    await sshServer.start();
    const { tunnel } = await open();
    await until(
      () => tunnel.state.kind === 'up',
      () => tunnel.state.text,
    );
    const secret = (await readFile(join(folder, 'user'), 'utf8')).split('\n')[1] ?? 'none';

    expect(execFileSync('ps', ['-eo', 'args=']).toString()).not.toContain(secret);
  });
});
