import type { Flavour } from './flavour.ts';

/** What every VM needs: the agent's tools, what releases expect of a stemcell, and what an operator needs to look into it. */
const basePackages = [
  'systemd',
  'systemd-sysv',
  'udev',
  'dbus',
  'iproute2',
  'iptables',
  'nftables',
  'openssh-server',
  'monit',
  'sudo',
  'e2fsprogs',
  'xfsprogs',
  'parted',
  'fdisk',
  'rsync',
  'curl',
  'ca-certificates',
  'chrony',
  'kmod',
  'procps',
  'psmisc',
  'lsof',
  'less',
  'logrotate',
  'cron',
  'iputils-ping',
  'iputils-arping',
  'netbase',
  'passwd',
  'xz-utils',
  'zip',
  'unzip',
  // The pinned Node.js is linked against these.
  'libstdc++6',
  'libatomic1',
];

/** Releases compile their packages on the VM. */
const compilerPackages = [
  'build-essential',
  'autoconf',
  'automake',
  'bison',
  'cmake',
  'flex',
  'gettext',
  'libssl-dev',
  'libtool',
  'libxml2-dev',
  'libyaml-dev',
  'patch',
  'pkg-config',
  'python3-minimal',
  'zlib1g-dev',
];

const bootPackages = ['tiny-initramfs'];

export function packagesFor(flavour: Flavour, compilers: boolean): string[] {
  return [
    ...basePackages,
    ...(compilers ? compilerPackages : []),
    ...(flavour.kernelPackage === undefined ? [] : [flavour.kernelPackage, ...bootPackages]),
    ...flavour.extraPackages,
  ].sort();
}
