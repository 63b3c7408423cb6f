import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { run } from './commands.ts';

/** What a VM of the local provider could leave on this machine. */
export interface HostSnapshot {
  readonly mounts: readonly string[];
  readonly loops: readonly string[];
  readonly links: readonly string[];
  readonly namespaces: readonly string[];
  readonly processes: readonly string[];
  readonly firewall: readonly string[];
  readonly cgroups: readonly string[];
}

async function lines(argv: readonly [string, ...string[]]): Promise<string[]> {
  const { stdout } = await run(argv).catch(() => ({ stdout: '' }));
  return stdout.split('\n').filter((line) => line.trim() !== '');
}

/** Rules only: counters, comments and the empty built-in chains come with the first look at a table. */
function rules(saved: readonly string[]): string[] {
  return saved
    .filter((line) => !/^[#*]|^COMMIT|^:(PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING) /.test(line))
    .map((line) => line.replace(/\[\d+:\d+\]/g, '').trim());
}

function processes(mark: string): string[] {
  const found: string[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
      const cgroup = readFileSync(`/proc/${pid}/mountinfo`, 'utf8');
      if (Number(pid) === process.pid) continue;
      if (command.includes(mark) || environment.includes(mark) || cgroup.includes(mark))
        found.push(`${pid} ${command}`);
    } catch {
      // ended meanwhile
    }
  }
  return found;
}

/** Those of VMs of QEMU with another root folder come and go on their own. */
function namespaces(mark: string, all: readonly string[]): string[] {
  const own = `microbosh-qemu-${shortDigest(mark)}`;
  return all.filter((line) => !line.startsWith('microbosh-qemu-') || line.startsWith(own)).sort();
}

const shortDigest = (mark: string) => createHash('sha256').update(mark).digest('hex').slice(0, 8);

/** Groups of the VMs below the root folder, and those that a systemd would make had it left its own. */
function cgroups(mark: string): string[] {
  const own = `microbosh-${shortDigest(mark)}-`;
  const found: string[] = [];
  const walk = (path: string, depth: number): void => {
    if (depth > 4) return;
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      if (!entry.isDirectory()) continue;
      const isSystemds = depth < 2 && ['init.scope', 'system.slice'].includes(entry.name);
      if (entry.name.startsWith(own) || isSystemds) found.push(`${path}/${entry.name}`);
      walk(`${path}/${entry.name}`, depth + 1);
    }
  };
  try {
    walk('/sys/fs/cgroup', 0);
  } catch {
    // no cgroup file system here, or a group of someone else went meanwhile
  }
  return found.sort();
}

/** Devices that carry the folder in their alias, and those whose other end is such a one. */
async function ownLinks(mark: string): Promise<string[]> {
  const { stdout } = await run(['ip', '-json', 'link', 'show']);
  const links = JSON.parse(stdout === '' ? '[]' : stdout) as { ifname: string; ifalias?: string }[];
  return links.filter(({ ifalias }) => ifalias?.includes(mark)).map(({ ifname }) => ifname);
}

/**
 * What belongs to VMs whose root folder is `mark`: it stands in the mounts, in the backing file of loop devices, in the
 * alias of network devices, and in the environment or mounts of every process. Rules are compared as a whole.
 */
export async function hostSnapshot(mark: string): Promise<HostSnapshot> {
  const [loops, links, netns, iptables, nft] = await Promise.all([
    lines(['losetup', '-a']),
    ownLinks(mark),
    lines(['ip', 'netns', 'list']),
    lines(['iptables-save']),
    lines(['nft', '-s', 'list', 'ruleset']),
  ]);
  return {
    mounts: readFileSync('/proc/mounts', 'utf8')
      .split('\n')
      .filter((line) => line.includes(mark)),
    loops: loops.filter((line) => line.includes(mark)).sort(),
    links: links.sort(),
    namespaces: namespaces(mark, netns),
    processes: processes(mark),
    firewall: [...rules(iptables), ...nft],
    cgroups: cgroups(mark),
  };
}
