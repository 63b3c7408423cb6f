import { randomBytes } from 'node:crypto';
import {
  chmod,
  chown,
  constants,
  copyFile,
  cp,
  link,
  lstat,
  mkdir,
  readlink,
  realpath,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errorCode } from '@microbosh/errors';
import { LocalHostUnfit } from './local-errors.ts';

/** Users that every Linux has, and the ones that agent and releases expect. `!` and `*`: no password. */
const users: readonly (readonly [name: string, uid: number, gid: number, home: string, shell: string])[] = [
  ['root', 0, 0, '/root', '/bin/bash'],
  ['daemon', 1, 1, '/usr/sbin', '/usr/sbin/nologin'],
  ['bin', 2, 2, '/bin', '/usr/sbin/nologin'],
  ['sys', 3, 3, '/dev', '/usr/sbin/nologin'],
  ['mail', 8, 8, '/var/mail', '/usr/sbin/nologin'],
  ['www-data', 33, 33, '/var/www', '/usr/sbin/nologin'],
  ['syslog', 104, 110, '/home/syslog', '/usr/sbin/nologin'],
  ['vcap', 1000, 1000, '/home/vcap', '/bin/bash'],
  ['nobody', 65534, 65534, '/nonexistent', '/usr/sbin/nologin'],
];

const groups: readonly (readonly [name: string, gid: number, members: string])[] = [
  ['root', 0, ''],
  ['daemon', 1, ''],
  ['bin', 2, ''],
  ['sys', 3, ''],
  ['adm', 4, 'vcap,syslog'],
  ['tty', 5, ''],
  ['disk', 6, ''],
  ['mail', 8, ''],
  ['sudo', 27, 'vcap'],
  ['www-data', 33, ''],
  ['shadow', 42, ''],
  ['utmp', 43, ''],
  ['syslog', 110, ''],
  ['admin', 999, 'vcap'],
  ['bosh_sudoers', 998, ''],
  ['bosh_sshers', 997, 'vcap'],
  ['vcap', 1000, ''],
  ['nogroup', 65534, ''],
];

/** Configuration of the host's programs that holds nothing secret. */
const copiedConfiguration = [
  'alternatives',
  'bash.bashrc',
  'debian_version',
  'ld.so.cache',
  'ld.so.conf',
  'ld.so.conf.d',
  'login.defs',
  'mke2fs.conf',
  'nsswitch.conf',
  'profile',
  'protocols',
  'services',
  'ssl/certs',
  'ssl/openssl.cnf',
];

const directories: readonly (readonly [path: string, mode: number])[] = [
  ['boot', 0o755],
  ['dev', 0o755],
  ['etc', 0o755],
  ['etc/ssl', 0o755],
  ['home', 0o755],
  ['media', 0o755],
  ['mnt', 0o755],
  ['opt', 0o755],
  ['proc', 0o555],
  ['root', 0o700],
  ['run', 0o755],
  ['srv', 0o755],
  ['sys', 0o555],
  ['tmp', 0o1777],
  ['usr', 0o755],
  ['var', 0o755],
  ['var/cache', 0o755],
  ['var/lib', 0o755],
  ['var/log', 0o755],
  ['var/opt', 0o755],
  ['var/spool', 0o755],
  ['var/tmp', 0o1777],
  ['var/vcap', 0o755],
  ['var/vcap/bosh', 0o755],
  ['var/vcap/bosh/bin', 0o755],
];

/** The links of a merged /usr, as the host has them: bin, sbin, lib, lib64, … */
async function mergedLinks(): Promise<[name: string, target: string][]> {
  const links: [string, string][] = [];
  for (const name of ['bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32']) {
    try {
      const info = await lstat(`/${name}`);
      if (!info.isSymbolicLink()) {
        throw new LocalHostUnfit(`/${name} of this machine is no link into /usr`, {
          advice: 'Light stemcells need a merged /usr, as Debian has since version 12 (package usrmerge).',
        });
      }
      links.push([name, await readlink(`/${name}`)]);
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error;
    }
  }
  return links;
}

/**
 * Makes the root directory of a host-rootfs stemcell: everything empty but a generated /etc. /usr is mounted over it at
 * each boot. Nothing of the host's own /etc comes along but what `copiedConfiguration` names.
 */
export async function makeRootDirectory(root: string): Promise<void> {
  await mkdir(root, { recursive: true, mode: 0o755 });
  for (const [path, mode] of directories) {
    await mkdir(join(root, path), { recursive: true });
    await chmod(join(root, path), mode);
  }
  for (const [name, target] of await mergedLinks())
    await symlink(target.replace(/^\//, ''), join(root, name));
  await symlink('/run', join(root, 'var/run'));
  await symlink('/run/lock', join(root, 'var/lock'));
  await symlink('/proc/self/mounts', join(root, 'etc/mtab'));
  for (const path of copiedConfiguration) {
    try {
      await mkdir(dirname(join(root, 'etc', path)), { recursive: true });
      await cp(join('/etc', path), join(root, 'etc', path), { recursive: true, verbatimSymlinks: true });
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error;
    }
  }
  await writeAccounts(root);
  await writeFile(join(root, 'etc/fstab'), '', { mode: 0o644 });
  await writeFile(join(root, 'etc/os-release'), 'NAME="microbosh local VM"\nID=microbosh-local\n', {
    mode: 0o644,
  });
}

/**
 * Makes a directory, and those above it, in the upper layer of an overlay: owner and mode are the lower one's, which the
 * upper one hides.
 */
export async function copyDirectory(lower: string, upper: string, path: string): Promise<void> {
  const parent = dirname(path);
  if (parent !== '.') await copyDirectory(lower, upper, parent);
  const info = await lstat(join(lower, path)).catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (info !== undefined && !info.isDirectory()) {
    throw new LocalHostUnfit(`/${path} of the stemcell is no directory`, {
      advice: 'The image of a full stemcell is a tar of a root file system with the agent in /var/vcap/bosh.',
    });
  }
  await mkdir(join(upper, path), { recursive: true, mode: 0o755 });
  if (info === undefined) return;
  await chown(join(upper, path), info.uid, info.gid);
  await chmod(join(upper, path), info.mode & 0o7777);
}

/** Writes what makes one VM of a stemcell different from another. */
export async function writeIdentity(root: string, hostname: string, dns: readonly string[]): Promise<void> {
  const files: [string, string, number][] = [
    ['hostname', `${hostname}\n`, 0o644],
    ['hosts', `127.0.0.1 localhost ${hostname}\n::1 localhost ip6-localhost ip6-loopback\n`, 0o644],
    ['resolv.conf', dns.map((server) => `nameserver ${server}\n`).join(''), 0o644],
    ['machine-id', `${randomBytes(16).toString('hex')}\n`, 0o444],
  ];
  for (const [name, content, mode] of files) {
    const path = join(root, 'etc', name);
    // In a full root file system these may be links, also to places outside of it.
    await rm(path, { force: true });
    await writeFile(path, content, { mode });
  }
}

async function writeAccounts(root: string): Promise<void> {
  const etc = join(root, 'etc');
  const passwd = users.map(
    ([name, uid, gid, home, shell]) => `${name}:x:${uid}:${gid}:${name}:${home}:${shell}\n`,
  );
  const shadow = users.map(([name]) => `${name}:*:19000:0:99999:7:::\n`);
  const group = groups.map(([name, gid, members]) => `${name}:x:${gid}:${members}\n`);
  const gshadow = groups.map(([name, , members]) => `${name}:*::${members}\n`);
  await writeFile(join(etc, 'passwd'), passwd.join(''), { mode: 0o644 });
  await writeFile(join(etc, 'group'), group.join(''), { mode: 0o644 });
  for (const [name, lines] of [
    ['shadow', shadow],
    ['gshadow', gshadow],
  ] as const) {
    await writeFile(join(etc, name), lines.join(''), { mode: 0o640 });
    await chown(join(etc, name), 0, 42);
  }
  for (const [name, uid, gid, home] of users) {
    if (!home.startsWith('/home/')) continue;
    const path = join(root, home);
    await mkdir(path, { recursive: true, mode: 0o755 });
    await chown(path, uid, gid);
    if (name === 'vcap') await chmod(path, 0o755);
  }
}

/** A second name for the file where that is possible, else a copy (a reflink where the file system can). */
export async function installFile(source: string, target: string, mode: number): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  await rm(target, { force: true });
  try {
    await link(await realpath(source), target);
  } catch (error) {
    if (!['EXDEV', 'EPERM', 'EMLINK', 'EACCES'].includes(errorCode(error) ?? '')) throw error;
    await copyFile(source, target, constants.COPYFILE_FICLONE);
    await chmod(target, mode);
  }
}
