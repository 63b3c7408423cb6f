import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AgentClient } from '@microbosh/agent-client';
import { errorCode, messageOf } from '@microbosh/errors';
import { NodeCommandRunner, processFolder } from '@microbosh/host';
import { SshUnavailable } from '../errors.ts';
import type { ProxyRoute } from './proxy-route.ts';

/** A user on the VM for the time of one command, and what an OpenSSH client needs to be let in as that user. */
export interface SshSession {
  readonly user: string;
  readonly host: string;
  /** Options for `ssh` and `scp`: own key, own known hosts, nothing of the operator's. */
  readonly options: readonly string[];
}

/**
 * Asks the agent for a temporary user with a fresh key. The host key comes from the agent, over verified TLS, and is the
 * only one accepted; an agent that tells none is trusted at first sight and pinned in `knownHosts` from then on.
 */
export async function withSsh<T>(
  client: AgentClient,
  request: {
    readonly knownHosts: string;
    readonly port?: string;
    /** The way to the VM; undefined: directly. */
    readonly route: ProxyRoute | undefined;
    readonly signal: AbortSignal;
  },
  body: (session: SshSession) => Promise<T>,
): Promise<T> {
  const user = `bosh_${randomBytes(6).toString('hex')}`;
  const folder = await processFolder('ssh');
  try {
    const key = join(folder.path, 'key');
    await tool(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', user, '-f', key]);
    const publicKey = (await readFile(`${key}.pub`, 'utf8')).trim();
    const answer = await client.call('ssh', ['setup', { user, public_key: publicKey }], {
      signal: request.signal,
    });
    const host = answer.ip ?? '';
    if (answer.status !== 'success' || host === '') {
      throw new SshUnavailable(`The agent made no user: ${answer.status}`, {
        advice: 'Look at the log of the agent: microbosh logs MANIFEST --agent',
      });
    }
    const hostKey = (answer.host_public_key ?? '').trim();
    const knownHosts = hostKey === '' ? request.knownHosts : join(folder.path, 'known_hosts');
    if (hostKey !== '') await writeFile(knownHosts, `microbosh-vm ${hostKey}\n`, { mode: 0o600 });
    const far = Number(request.port ?? 22);
    const entrance = await request.route?.listen(host, far);
    const port = entrance === undefined ? request.port : String(entrance.port);
    try {
      return await body({
        user,
        host: entrance === undefined ? host : '127.0.0.1',
        options: [
          ...['-F', '/dev/null', '-i', key],
          ...(port === undefined ? [] : ['-o', `Port=${port}`]),
          ...[
            'IdentitiesOnly=yes',
            'IdentityAgent=none',
            'HostKeyAlias=microbosh-vm',
            `UserKnownHostsFile=${knownHosts}`,
            'GlobalKnownHostsFile=/dev/null',
            `StrictHostKeyChecking=${hostKey === '' ? 'accept-new' : 'yes'}`,
            ...(hostKey.startsWith('ssh-rsa ') ? ['HostKeyAlgorithms=rsa-sha2-512,rsa-sha2-256'] : []),
            'LogLevel=ERROR',
            'ConnectTimeout=15',
            'ServerAliveInterval=30',
          ].flatMap((option) => ['-o', option]),
        ],
      });
    } finally {
      await entrance?.close();
      // Also after Ctrl-C: the user must not stay.
      await client
        .call('ssh', ['cleanup', { user_regex: `^${user}$` }], { signal: AbortSignal.timeout(15_000) })
        .catch(() => undefined);
    }
  } finally {
    await folder.remove();
  }
}

/** Runs an interactive program on this terminal; resolves with its exit code. */
export async function runOnTerminal(argv: readonly [string, ...string[]]): Promise<number> {
  const [program, ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: 'inherit' });
    child.once('error', (error) => reject(missing(program, error)));
    child.once('close', (code, signal) => resolve(code ?? (signal === 'SIGINT' ? 130 : 1)));
  });
}

async function tool(argv: readonly [string, ...string[]]): Promise<void> {
  try {
    await new NodeCommandRunner().run(argv, { timeoutMs: 30_000 });
  } catch (error) {
    throw missing(argv[0], error);
  }
}

function missing(program: string, error: unknown): SshUnavailable {
  const absent = [error, error instanceof Error ? error.cause : undefined].some(
    (reason) => errorCode(reason) === 'ENOENT',
  );
  return new SshUnavailable(
    absent ? `'${program}' is not on this machine` : `'${program}' failed: ${messageOf(error)}`,
    { details: { program }, advice: 'Install the OpenSSH client (openssh-client).', cause: error },
  );
}
