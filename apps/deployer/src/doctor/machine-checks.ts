import { access, constants, readFile, stat, statfs } from 'node:fs/promises';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import type { CloudCheck } from '@microbosh/cpi';
import { messageOf } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';

export type Check = CloudCheck;

/** Who needs which programs of this machine. */
const tools: Readonly<Record<string, readonly (readonly string[])[]>> = {
  always: [['tar'], ['gzip']],
  ssh: [['ssh'], ['scp'], ['ssh-keygen']],
  local: [
    ['ip'],
    ['sfdisk'],
    ['mkfs.ext4'],
    ['losetup'],
    ['partx'],
    ['unshare'],
    ['nsenter'],
    ['bash'],
    ['iptables', 'nft'],
  ],
  qemu: [['qemu-system-x86_64', 'qemu-system-aarch64'], ['qemu-img'], ['ip']],
};

const ok = (name: string, message: string): Check => ({ name, status: 'ok', message });

/** What any deploy needs of this machine. */
export async function machineChecks(
  env: Readonly<Record<string, string | undefined>>,
  folders: readonly string[],
): Promise<Check[]> {
  const checks = [
    ok('runtime', `Node.js ${process.versions.node} on ${process.platform}/${process.arch}`),
    ...(await toolChecks('always', env, 'failed')),
    ...(await toolChecks('ssh', env, 'warning')),
    await clockCheck(),
  ];
  for (const folder of new Set(folders)) checks.push(await spaceCheck(folder));
  return checks;
}

/** What a built-in provider needs of this machine beyond that. */
export async function providerChecks(
  provider: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Check[]> {
  const checks = await toolChecks(provider, env, 'failed');
  if (provider !== 'local' && provider !== 'qemu') return checks;
  checks.push(
    process.getuid?.() === 0
      ? ok('user', 'root')
      : failed('user', `The ${provider} provider makes network devices, which takes root`, 'Run as root.'),
  );
  if (provider === 'qemu') {
    const usable = await access('/dev/kvm', constants.R_OK | constants.W_OK).then(
      () => true,
      () => false,
    );
    checks.push(
      usable
        ? ok('kvm', '/dev/kvm can be used')
        : warning('kvm', '/dev/kvm cannot be used: VMs are emulated, which is slow'),
    );
    return checks;
  }
  const filesystems = await readFile('/proc/filesystems', 'utf8').catch(() => '');
  checks.push(
    /\boverlay$/m.test(filesystems)
      ? ok('overlay', 'the kernel has overlay file systems')
      : failed('overlay', 'The kernel has no overlay file system', 'modprobe overlay'),
  );
  const loops = await stat('/dev/loop-control').then(
    () => true,
    () => false,
  );
  checks.push(
    loops
      ? ok('loop devices', '/dev/loop-control is there')
      : failed('loop devices', 'There are no loop devices', 'modprobe loop'),
  );
  return checks;
}

/** A port that a recorded environment has in the user data of its VM, so that no other can stand in. */
export async function portCheck(port: number): Promise<Check> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error) =>
      resolve(
        warning('registry port', `Port ${port} is in use: ${messageOf(error)}; another one is taken instead`),
      ),
    );
    server.listen(port, () => server.close(() => resolve(ok('registry port', `port ${port} is free`))));
  });
}

async function toolChecks(
  group: string,
  env: Readonly<Record<string, string | undefined>>,
  status: 'failed' | 'warning',
): Promise<Check[]> {
  const folders = [...(env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  const isThere = async (name: string) => {
    for (const folder of folders) {
      const path = join(folder, name);
      const found = await access(path, constants.X_OK).then(
        () => true,
        () => false,
      );
      if (found) return true;
    }
    return false;
  };
  const missing: string[] = [];
  const alternatives = tools[group] ?? [];
  for (const names of alternatives) {
    const found = await Promise.all(names.map(isThere));
    if (!found.includes(true)) missing.push(names.join(' or '));
  }
  if (alternatives.length === 0) return [];
  if (missing.length === 0) return [ok(`tools (${group})`, alternatives.map(([name]) => name).join(', '))];
  return [
    {
      name: `tools (${group})`,
      status,
      message: `Missing: ${missing.join(', ')}`,
      advice: 'Install them with the package manager of this machine.',
    },
  ];
}

/** Certificates made with a wrong clock are refused by everyone else. */
async function clockCheck(): Promise<Check> {
  const now = new Date();
  if (now.getUTCFullYear() < 2026) {
    return failed('clock', `This machine believes that it is ${now.toISOString()}`, 'Set the clock.');
  }
  const synchronized = await new NodeCommandRunner()
    .run(['timedatectl', 'show', '-p', 'NTPSynchronized', '--value'], { timeoutMs: 5_000 })
    .then(
      ({ stdout }) => stdout.trim(),
      () => '',
    );
  if (synchronized === 'no') {
    return warning('clock', `${now.toISOString()}, not synchronized with a time server`);
  }
  return ok('clock', `${now.toISOString()}${synchronized === 'yes' ? ', synchronized' : ''}`);
}

const neededBytes = 2 * 2 ** 30;

async function spaceCheck(folder: string): Promise<Check> {
  try {
    const { bavail, bsize } = await statfs(folder);
    const free = bavail * bsize;
    const shown = `${folder}: ${(free / 2 ** 30).toFixed(1)} GiB free`;
    return free >= neededBytes
      ? ok('disk space', shown)
      : warning('disk space', `${shown}; a stemcell is unpacked there`);
  } catch (error) {
    return failed('disk space', messageOf(error), 'Create the folder, or correct its permissions.');
  }
}

export function failed(name: string, message: string, advice: string): Check {
  return { name, status: 'failed', message, advice };
}

function warning(name: string, message: string): Check {
  return { name, status: 'warning', message };
}
