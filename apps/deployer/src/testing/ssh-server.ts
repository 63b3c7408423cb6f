import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { errorCode } from '@microbosh/errors';

/** The server of OpenSSH, as it runs on a stemcell, for the user of this process. Keys of clients: `user`, `stranger`. */
export class SshServer {
  readonly port: number;
  readonly #folder: string;
  #server: ChildProcess | undefined;

  private constructor(folder: string, port: number) {
    this.#folder = folder;
    this.port = port;
  }

  static async prepare(folder: string): Promise<SshServer> {
    for (const name of ['host', 'other-host', 'user', 'stranger'])
      execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)]);
    await writeFile(join(folder, 'authorized'), await readFile(join(folder, 'user.pub')));
    return new SshServer(folder, await freePort());
  }

  async start(hostKey: 'host' | 'other-host' = 'host'): Promise<void> {
    const config = [
      `Port ${this.port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${join(this.#folder, hostKey)}`,
      `AuthorizedKeysFile ${join(this.#folder, 'authorized')}`,
      'StrictModes no',
      'UsePAM no',
      'PermitRootLogin yes',
      'PasswordAuthentication no',
      `PidFile ${join(this.#folder, 'pid')}`,
    ];
    await writeFile(join(this.#folder, 'sshd_config'), `${config.join('\n')}\n`);
    await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
    const server = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', join(this.#folder, 'sshd_config')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#server = server;
    let log = '';
    server.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()));
    await until(
      () => log.includes('Server listening'),
      () => `sshd: ${log}`,
    );
  }

  /** With the sessions that it serves: what a network does that fails. */
  async stop(): Promise<void> {
    const server = this.#server;
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
    this.#server = undefined;
  }
}

export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

/** Fifteen seconds are given to it. */
export async function until(condition: () => boolean, what: () => string): Promise<void> {
  const deadline = Date.now() + 15_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
