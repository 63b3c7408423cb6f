import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { Server } from 'node:https';
import { createServer as createPlainServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeCa, makeServerCertificate } from '../access/certificates.ts';
import { environmentPaths } from '../state/environment-paths.ts';
import { StateStore } from '../state/state-store.ts';

const main = join(import.meta.dirname, '../main.ts');
let folder: string;
let port: string;
let agent: Server;
let sshd: ChildProcess | undefined;
const calls: string[] = [];

/** The agent of a VM that has one user: it lets whoever is set up in as that one. */
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'scp-'));
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, 'host')]);
  const hostKey = readFileSync(join(folder, 'host.pub'), 'utf8');
  const name = 'agent.microbosh.internal';
  const ca = await makeCa('agent CA', new Date());
  const leaf = await makeServerCertificate(ca, name, new Date());
  agent = createServer({ cert: leaf.certificate, key: leaf.private_key }, (request, response) => {
    void text(request).then((body) => {
      const { method, arguments: args } = JSON.parse(body) as { method: string; arguments: unknown[] };
      const [command, given] = args as [string, { public_key?: string; user?: string }];
      calls.push(`${method} ${command}`);
      if (command === 'setup') writeFileSync(join(folder, 'authorized'), `${given.public_key ?? ''}\n`);
      response.end(
        JSON.stringify({ value: { command, status: 'success', ip: '127.0.0.1', host_public_key: hostKey } }),
      );
    });
  }).listen(0, '127.0.0.1');
  await once(agent, 'listening');
  const paths = environmentPaths(join(folder, 'm.yml'), undefined, folder);
  const store = await StateStore.open(paths);
  const { port: agentPort } = agent.address() as AddressInfo;
  await store.update({
    current_vm_cid: 'vm-1',
    own: { endpoint: { mbus: `https://u:p@127.0.0.1:${agentPort}`, ca: ca.certificate, server_name: name } },
  });

  const probe = createPlainServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  port = String((probe.address() as AddressInfo).port);
  probe.close();
  const config = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${join(folder, 'host')}`,
    `AuthorizedKeysFile ${join(folder, 'authorized')}`,
    'StrictModes no',
    'UsePAM no',
    'PermitRootLogin yes',
    'PasswordAuthentication no',
    'Subsystem sftp internal-sftp',
    `PidFile ${join(folder, 'pid')}`,
  ];
  writeFileSync(join(folder, 'sshd_config'), `${config.join('\n')}\n`);
  mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
  sshd = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', join(folder, 'sshd_config')], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let log = '';
  for await (const chunk of sshd.stderr ?? []) {
    log += String(chunk);
    if (log.includes('Server listening')) break;
  }
  expect(log).toContain('Server listening');
});
afterAll(() => {
  sshd?.kill();
  agent.close();
  rmSync(folder, { recursive: true });
});

/** The command line as it is; the name of the temporary user is that of the one that the VM has. */
async function scp(...args: string[]): Promise<{ readonly code: number | null; readonly output: string }> {
  const bin = join(folder, 'bin');
  mkdirSync(bin, { recursive: true });
  const real = execFileSync('sh', ['-c', 'command -v scp'], { encoding: 'utf8' }).trim();
  const { username } = userInfo();
  writeFileSync(
    join(bin, 'scp'),
    `#!/bin/bash\nexec ${real} "\${@/#bosh_+([0-9a-f])@/${username}@}"\n`.replace(
      'exec',
      'shopt -s extglob\nexec',
    ),
    { mode: 0o755 },
  );
  const child = spawn(process.execPath, [main, 'scp', 'm.yml', '--port', port, ...args], {
    cwd: folder,
    env: { ...process.env, PATH: `${bin}:${process.env['PATH'] ?? ''}` },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [out, err, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close') as Promise<[number | null]>,
  ]);
  return { code, output: out + err };
}

describe('scp', () => {
  it('copies to and from the VM with the real OpenSSH, and takes its user away again', async () => {
    writeFileSync(join(folder, 'here'), 'content');
    mkdirSync(join(folder, 'tree/inner'), { recursive: true });
    writeFileSync(join(folder, 'tree/inner/file'), 'deep');

    const up = await scp('here', `vm:${folder}/there`);
    const down = await scp('-r', `vm:${folder}/tree`, 'copy');

    expect(up, up.output).toMatchObject({ code: 0 });
    expect(readFileSync(join(folder, 'there'), 'utf8')).toBe('content');
    expect(down, down.output).toMatchObject({ code: 0 });
    expect(readFileSync(join(folder, 'copy/inner/file'), 'utf8')).toBe('deep');
    expect(calls).toEqual(['ssh setup', 'ssh cleanup', 'ssh setup', 'ssh cleanup']);
  });

  it('ends with the exit code of scp when a file is not there', async () => {
    const { code, output } = await scp(`vm:${folder}/absent`, 'x');

    expect(code).toBe(1);
    expect(output).toContain('No such file');
  });

  it('needs a path on the VM, and says how one is written', async () => {
    const { code, output } = await scp('a', 'b');

    expect(code).toBe(1);
    expect(output).toContain("Write it with 'vm:' in front");
  });
});
