import { writeFileDurably, type CommandRunner } from '@microbosh/host';
import { chmod, chown, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { runInNewContext } from 'node:vm';
import { ActionError, wrapping } from '../errors.ts';
import type { HostRecord, Machine } from '../ports/host.ts';
import { accountOf, parseGroups, parsePasswd } from './accounts.ts';
import type { AgentPaths } from './agent-paths.ts';
import { readTextIfPresent } from './files.ts';
import { hostsTemplate } from './hosts-file.ts';

const udevRules = '/etc/udev/rules.d/70-persistent-net.rules';
const sessionGroups = ['vcap', 'admin', 'bosh_sudoers', 'bosh_sshers'];
const sessionPrefix = 'bosh_';

/** The machine that this process runs on. */
export class LinuxMachine implements Machine {
  readonly #runner: CommandRunner;
  readonly #paths: AgentPaths;
  readonly #agentId: () => string;
  readonly #refreshFirewall: () => Promise<void>;

  constructor(
    runner: CommandRunner,
    paths: AgentPaths,
    agentId: () => string,
    refreshFirewall: () => Promise<void>,
  ) {
    this.#runner = runner;
    this.#paths = paths;
    this.#agentId = agentId;
    this.#refreshFirewall = refreshFirewall;
  }

  async addSshUser(user: string, publicKey: string): Promise<{ readonly hostPublicKey: string }> {
    const hostPublicKey = await hostKey();
    const base = join(this.#paths.base, 'bosh_ssh');
    const home = join(base, user);
    const present = await accountOf(user);
    // A user that a failed run left is taken over; one of the machine's own is never changed.
    if (present !== undefined && present.home !== home) {
      throw new ActionError(`The user '${user}' belongs to the machine`, {
        code: 'E_SSH',
        advice: 'Choose another name for the session; the usual one is bosh_ and a random part.',
      });
    }
    await mkdir(base, { recursive: true, mode: 0o755 });
    if (present === undefined) {
      await wrapping('Creating user', () =>
        this.#runner.run(['useradd', '-m', '-b', base, '-s', '/bin/bash', user]),
      );
    }
    await chmod(home, 0o700);
    const known = parseGroups((await readTextIfPresent('/etc/group')) ?? '');
    const groups = sessionGroups.filter((name) => known.has(name));
    if (groups.length > 0) {
      await wrapping('Adding user to groups', () =>
        this.#runner.run(['usermod', '-G', groups.join(','), user]),
      );
    }
    const account = await accountOf(user);
    if (account === undefined) throw new ActionError(`The user '${user}' is not there`, { code: 'E_SSH' });
    const ssh = join(home, '.ssh');
    const keys = join(ssh, 'authorized_keys');
    await mkdir(ssh, { recursive: true, mode: 0o700 });
    await writeFileDurably(keys, `${publicKey}\n`);
    for (const path of [ssh, keys]) await chown(path, account.uid, account.gid);
    return { hostPublicKey };
  }

  async removeSshUsers(pattern: string): Promise<void> {
    const accounts = parsePasswd((await readTextIfPresent('/etc/passwd')) ?? '');
    for (const { name } of accounts) {
      if (!name.startsWith(sessionPrefix) || !matches(name, pattern)) continue;
      // 6 and 12: the mailbox or the home is gone already.
      await wrapping('Deleting user', () =>
        this.#runner.run(['userdel', '-rf', name], { okExitCodes: [0, 6, 12] }),
      );
    }
  }

  async writeHosts(records: readonly HostRecord[]): Promise<void> {
    const lines = [...hostsTemplate(this.#agentId()), ...records.map(({ ip, name }) => `${ip} ${name}`), ''];
    await writeFileDurably('/etc/hosts', lines.join('\n'), { mode: 0o644 });
  }

  async flushNeighbour(ip: string): Promise<void> {
    await this.#runner.run(['ip', 'neigh', 'flush', 'to', ip], { timeoutMs: 10_000 });
  }

  async refreshFirewall(): Promise<void> {
    await this.#refreshFirewall();
  }

  async forgetNetworkIdentity(): Promise<void> {
    await rm(udevRules, { force: true });
    await rm(this.#paths.settingsCache, { force: true });
  }

  async giveFile(path: string, user: string): Promise<void> {
    const account = await accountOf(user);
    if (account === undefined) {
      throw new ActionError(`This machine has no user '${user}'`, { code: 'E_USER' });
    }
    await chown(path, account.uid, account.gid);
  }

  async powerOff(): Promise<void> {
    await this.#runner.run(['shutdown', '-P', '0']);
  }
}

/** The original knows the RSA key only; newer images have none. */
async function hostKey(): Promise<string> {
  for (const type of ['rsa', 'ecdsa', 'ed25519']) {
    const key = await readTextIfPresent(`/etc/ssh/ssh_host_${type}_key.pub`);
    if (key !== undefined) return key;
  }
  throw new ActionError('Getting host public key: /etc/ssh has none', {
    code: 'E_SSH',
    advice: 'Install an SSH server on the stemcell.',
  });
}

/** A pattern of the client must not keep this process busy: V8 gives it up after the time limit. */
function matches(name: string, pattern: string): boolean {
  try {
    return runInNewContext('new RegExp(pattern).test(name)', { name, pattern }, { timeout: 200 }) === true;
  } catch (error) {
    throw new ActionError('The user pattern cannot be evaluated', { code: 'E_SSH', cause: error });
  }
}
