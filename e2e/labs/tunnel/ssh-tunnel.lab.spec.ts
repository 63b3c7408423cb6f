import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode } from '@microbosh/errors';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, start } from '../../support/commands.ts';
import { eventually } from '../../support/eventually.ts';
import { Example } from '../../support/example.ts';
import { VmView } from '../../support/vm-view.ts';

let example: Example;
let server: ChildProcess | undefined;

/**
 * The server of OpenSSH in the network of the VM, as a stemcell would start it at boot. The registry listens on the
 * loopback interface of this machine only: no way but the tunnel leads there from the VM.
 */
async function startServer(hostKey: string): Promise<void> {
  const { initPid } = await VmView.of(example);
  const config = join(example.directory, 'sshd_config');
  await writeFile(
    config,
    [
      `ListenAddress ${example.address}:2222`,
      `HostKey ${join(example.directory, hostKey)}`,
      `AuthorizedKeysFile ${join(example.directory, 'user.pub')}`,
      'StrictModes no',
      'UsePAM no',
      'PermitRootLogin yes',
      'PasswordAuthentication no',
      `PidFile ${join(example.directory, 'sshd.pid')}`,
      '',
    ].join('\n'),
  );
  await eventually(async () => {
    server = spawn('nsenter', [`--net=/proc/${initPid}/ns/net`, '/usr/sbin/sshd', '-D', '-e', '-f', config], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let log = '';
    for await (const chunk of server.stderr ?? []) {
      log += String(chunk);
      if (log.includes('Server listening')) return;
    }
    throw new Error(log);
  }, 30_000);
}

/** With the sessions that it serves: what a network does that fails. */
async function stopServer(): Promise<void> {
  const pid = server?.pid;
  if (server === undefined || pid === undefined) return;
  const ended = once(server, 'exit');
  const sessions = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).split(' ').map(Number);
  for (const id of [pid, ...sessions.filter((session) => session > 0)]) {
    try {
      process.kill(id, 'SIGKILL');
    } catch (error) {
      // It ended by itself in between.
      if (errorCode(error) !== 'ESRCH') throw error;
    }
  }
  await ended;
  server = undefined;
}

function create(...args: string[]) {
  const command = example.command('create-env', '--json', '--vars-store', example.creds, ...args);
  return start(command, { env: example.env, timeoutMs: 240_000 });
}

/** What the deploy said of its tunnel, in order. */
function tunnelStates(stdout: string): readonly string[] {
  return stdout
    .split('\n')
    .filter((line) => line.includes('"tunnel"'))
    .map((line) => (JSON.parse(line) as { details: { tunnel: string } }).details.tunnel);
}

/** Whether a port answers a connection that is made in the network of the VM. */
async function reaches(address: string, port: number): Promise<boolean> {
  const { initPid } = await VmView.of(example);
  const probe = `exec 3<>/dev/tcp/${address}/${port}`;
  const { exitCode } = await run(
    ['nsenter', `--net=/proc/${initPid}/ns/net`, 'timeout', '5', 'bash', '-c', probe],
    {},
  );
  return exitCode === 0;
}

const own = async () => {
  const { microbosh } = (await example.state()) as unknown as {
    microbosh: { vm: { ssh_host_key?: string }; registry: { port: number; address: string } };
  };
  return microbosh;
};

beforeAll(async () => {
  example = await Example.create('10.245.98');
  for (const name of ['host', 'other-host', 'user']) {
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(example.directory, name)]);
  }
  await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
  await example.edit((text) =>
    text.replace(
      /^cloud_provider:\n/m,
      `cloud_provider:\n  ssh_tunnel: {host: ${example.address}, port: 2222, user: root, private_key: user}\n`,
    ),
  );
});
afterAll(async () => {
  await stopServer();
  await example.tearDown();
});

describe('a deploy of a VM that reaches its registry through an SSH tunnel only', () => {
  it('goes through, also when the connection breaks, and pins the host key', async () => {
    const deploy = create();
    await deploy.printed('Waiting for the agent');
    await startServer('host');
    await deploy.printed('of the VM leads here');
    const { registry } = await own();
    expect(registry.address).toBe('127.0.0.1');
    expect(await reaches('127.0.0.1', registry.port)).toBe(true);
    expect(await reaches(`${example.subnet}.1`, registry.port)).toBe(false);

    await stopServer();
    await sleep(1_500);
    const broken = await reaches('127.0.0.1', registry.port);
    await startServer('host');
    const { exitCode, stdout, output } = await deploy.finished;

    expect(exitCode, output).toBe(0);
    expect(broken).toBe(false);
    // Before that, the server may not have listened yet.
    const states = tunnelStates(stdout).filter((state, index, all) => state !== all[index - 1]);
    expect(states.slice(-3)).toEqual(['up', 'connecting', 'up']);
    const [type, key] = (await readFile(join(example.directory, 'host.pub'), 'utf8')).split(' ');
    expect((await own()).vm.ssh_host_key).toBe(`${type} ${key}`);
    expect((await example.request('GET', '/healthz')).status).toBe(200);
    // The tunnel ended with the deploy.
    expect(await reaches('127.0.0.1', registry.port)).toBe(false);
  });

  it('refuses another machine at the address in the next deploy', async () => {
    await stopServer();
    await startServer('other-host');
    await example.edit((text) =>
      text.replace('      username: admin\n', '      username: admin\n      log_level: debug\n'),
    );

    const { exitCode, stdout, output } = await create().finished;

    // The agent of the VM has its settings: the change needs no registry.
    expect(exitCode, output).toBe(0);
    expect(tunnelStates(stdout)).toEqual(['hopeless']);
    expect(stdout).toContain('has another host key than before');
  });
});
