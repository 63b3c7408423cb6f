import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AgentClient } from '@microbosh/agent-client';
import { NodeCommandRunner } from '@microbosh/host';
import ssh2 from 'ssh2';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ProxyRoute } from './proxy-route.ts';
import { withSsh } from './ssh-session.ts';
import type { SshSession } from './ssh-session.ts';

const runner = new NodeCommandRunner();
let folder: string;
let server: ssh2.Server;
let port: string;
let hostKey: string;
/** Users on the VM, with their public keys. */
const users = new Map<string, string>();
let told: string;

/** An agent that makes users of the SSH server below, as the real one does of its machine. */
const agent = {
  call: async (_method: string, [command, args]: [string, Record<string, string>]) => {
    if (command === 'setup') users.set(args['user'] ?? '', args['public_key'] ?? '');
    else
      for (const name of users.keys())
        if (new RegExp(args['user_regex'] ?? '').test(name)) users.delete(name);
    return { command, status: 'success', ip: '127.0.0.1', host_public_key: told };
  },
} as unknown as AgentClient;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ssh-session-'));
  for (const name of ['host', 'other']) {
    execFileSync('ssh-keygen', [
      '-q',
      '-t',
      'rsa',
      '-b',
      '2048',
      '-m',
      'PEM',
      '-N',
      '',
      '-f',
      join(folder, name),
    ]);
  }
  hostKey = readFileSync(join(folder, 'host.pub'), 'utf8');
  server = new ssh2.Server({ hostKeys: [readFileSync(join(folder, 'host'))] }, (client) => {
    client.on('error', () => undefined);
    client.on('authentication', (attempt) => {
      const known = attempt.method === 'publickey' ? users.get(attempt.username) : undefined;
      const parsed = known === undefined ? undefined : ssh2.utils.parseKey(known);
      const fits =
        attempt.method === 'publickey' &&
        parsed !== undefined &&
        !(parsed instanceof Error) &&
        parsed.getPublicSSH().equals(attempt.key.data) &&
        (attempt.signature === undefined ||
          parsed.verify(attempt.blob ?? Buffer.alloc(0), attempt.signature, attempt.hashAlgo) === true);
      if (fits) attempt.accept();
      else attempt.reject(['publickey']);
    });
    client.on('session', (accept) => {
      accept().on('exec', (acceptExec, _reject, { command }) => {
        const stream = acceptExec();
        stream.write(`ran ${command} as one of ${users.size}`);
        stream.exit(7);
        stream.end();
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = String((server.address() as AddressInfo).port);
});
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  told = hostKey;
});

const request = () => ({
  knownHosts: join(folder, 'known_hosts'),
  port,
  route: undefined,
  signal: AbortSignal.timeout(30_000),
});
const ssh = ({ options, user, host }: SshSession, command: string) =>
  runner.run(['ssh', ...options, '--', `${user}@${host}`, command], {
    timeoutMs: 20_000,
    okExitCodes: [0, 7, 255],
  });

describe('a session with the real OpenSSH client', () => {
  it('runs a command as a temporary user, whose key is a secret of this run', async () => {
    let key = '';
    const { stdout, exitCode } = await withSsh(agent, request(), async (session) => {
      key = session.options[session.options.indexOf('-i') + 1] ?? '';
      expect(statSync(key).mode & 0o777).toBe(0o600);
      return ssh(session, 'uptime');
    });

    expect(stdout).toBe('ran uptime as one of 1');
    expect(exitCode).toBe(7);
    expect(users.size).toBe(0);
    expect(existsSync(key)).toBe(false);
  });

  it('accepts the host key that the agent tells, and no other', async () => {
    told = readFileSync(join(folder, 'other.pub'), 'utf8');

    const { stdout, stderr, exitCode } = await withSsh(agent, request(), (session) => ssh(session, 'uptime'));

    expect(exitCode).toBe(255);
    expect(stdout).toBe('');
    expect(stderr).toContain('Host key verification failed');
    expect(users.size).toBe(0);
  });

  it('pins the first host key when the agent tells none', async () => {
    told = '';

    const first = await withSsh(agent, request(), (session) => ssh(session, 'a'));

    expect(first.stdout).toContain('ran a');
    expect(readFileSync(request().knownHosts, 'utf8')).toContain('microbosh-vm');
  });

  it('goes where the route leads, to the same host key', async () => {
    const dialled: string[] = [];
    // A route that only counts: the real ones have tests of their own.
    const route: ProxyRoute = {
      dial: () => Promise.reject(new Error('an SSH client cannot dial')),
      listen: async (host, far) => {
        dialled.push(`${host}:${far}`);
        return { port: far, close: async () => void dialled.push('closed') };
      },
    };
    const { stdout } = await withSsh(agent, { ...request(), route }, (session) => ssh(session, 'uptime'));

    expect(stdout).toBe('ran uptime as one of 1');
    expect(dialled).toEqual([`127.0.0.1:${port}`, 'closed']);
  });

  it('removes the user when the command fails', async () => {
    await expect(withSsh(agent, request(), () => Promise.reject(new Error('interrupted')))).rejects.toThrow(
      'interrupted',
    );
    expect(users.size).toBe(0);
  });
});
