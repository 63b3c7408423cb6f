import { chmod, chown, mkdir, readFile, rm } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { isJsonObject, type Json } from '@microbosh/errors';
import { writeFileDurably } from '@microbosh/host';
import type { NetworksSpec } from '@microbosh/spec';
import { vcapGroup } from '../apply/ownership.ts';
import { ActionError, wrapping } from '../errors.ts';
import type { ActionTable } from '../handlers/dispatcher.ts';
import type { AgentParts } from './context.ts';

const udevRules = '/etc/udev/rules.d/70-persistent-net.rules';

/** Settings, users, names, neighbours, power. */
export function machineActions(parts: AgentParts): ActionTable {
  const { layout, runner, host, blobs } = parts;
  const forgetNetworks = async () => {
    await rm(udevRules, { force: true });
    await rm(join(layout.bosh, 'settings.json'), { force: true });
  };
  const syncDns = async (source: Parameters<typeof blobs.fetch>[0], version: number) => {
    if ((await storedVersion(layout.instance)) >= version) return 'synced';
    const blob = await wrapping('reading dns blob', () => blobs.fetch(source));
    try {
      await storeDns(parts, await readFile(blob.path, 'utf8'), version);
    } finally {
      await blob.dispose();
    }
    return 'synced';
  };
  return {
    update_settings: async ([update]) => {
      const { restart } = await host.settings.update(update);
      if (restart) {
        await parts.tasks.complete('update_settings', 'ok');
        parts.restartAgent('the message bus or the blobstore changed');
      }
      return 'ok';
    },
    ssh: async ([command, args]) => {
      if (command === 'setup') return setupSsh(parts, args.user ?? '', args.public_key ?? '');
      if (command === 'cleanup') return cleanupSsh(parts, args.user_regex ?? '');
      throw new ActionError('Unknown command for SSH method', { code: 'E_SSH' });
    },
    delete_arp_entries: async ([{ ips }]) => {
      for (const ip of ips.filter((address) => isIP(address) !== 0)) {
        await runner.run(['ip', 'neigh', 'flush', 'to', ip]).catch(() => undefined);
      }
      return {};
    },
    sync_dns: async ([blobId, digest, version]) => syncDns({ blobId, digest }, version),
    sync_dns_with_signed_url: async ([sent]) =>
      syncDns(
        {
          blobId: 'dns records',
          digest: sent.multi_digest,
          signedUrl: sent.signed_url,
          headers: sent.blobstore_headers ?? {},
        },
        sent.version,
      ),
    shutdown: async () => {
      parts.publish('shutdown', null);
      await runner.run(['shutdown', '-P', '0']);
      return '';
    },
    prepare_network_change: async () => {
      await forgetNetworks();
      parts.restartAgent('networks change');
      return 'ok';
    },
    prepare_configure_networks: async () => {
      await forgetNetworks();
      return 'ok';
    },
    configure_networks: async () => {
      await parts.tasks.complete('configure_networks', 'ok');
      parts.restartAgent('networks come from fresh settings');
      return 'ok';
    },
  };
}

async function setupSsh(parts: AgentParts, user: string, publicKey: string): Promise<Json> {
  if (!/^[a-z_][a-z0-9_-]{0,31}$/.test(user))
    throw new ActionError('The user name is not valid', { code: 'E_SSH' });
  if (/[\r\n]./.test(publicKey.trim()) || publicKey.trim() === '') {
    throw new ActionError('The public key is not one line', { code: 'E_SSH' });
  }
  const { runner, layout } = parts;
  const ip = defaultIp(parts.host.settings.current().networks);
  if (ip === undefined) throw new ActionError('No default ip could be found', { code: 'E_SSH' });
  const hostKey = await readFile('/etc/ssh/ssh_host_rsa_key.pub', 'utf8').catch(() => '');
  const base = join(layout.base, 'bosh_ssh');
  const home = join(base, user);
  await mkdir(base, { recursive: true, mode: 0o755 });
  if ((await accounts()).every(([name]) => name !== user)) {
    await wrapping('Creating user', () => runner.run(['useradd', '-m', '-b', base, '-s', '/bin/bash', user]));
  }
  await chmod(home, 0o700);
  const groups = await existingGroups(['vcap', 'admin', 'bosh_sudoers', 'bosh_sshers']);
  if (groups.length > 0) await runner.run(['usermod', '-G', groups.join(','), user]);
  const entry = (await accounts()).find(([name]) => name === user);
  const [uid, gid] = [Number(entry?.[2]), Number(entry?.[3])];
  const ssh = join(home, '.ssh');
  await mkdir(ssh, { recursive: true, mode: 0o700 });
  await writeFileDurably(join(ssh, 'authorized_keys'), `${publicKey.trim()}\n`);
  for (const path of [ssh, join(ssh, 'authorized_keys')]) await chown(path, uid, gid);
  return { command: 'setup', status: 'success', ip, host_public_key: hostKey };
}

async function cleanupSsh(parts: AgentParts, pattern: string): Promise<Json> {
  let expression: RegExp;
  try {
    expression = new RegExp(pattern);
  } catch (error) {
    throw new ActionError('The user pattern is not valid', { code: 'E_SSH', cause: error });
  }
  for (const [name = ''] of await accounts()) {
    if (!name.startsWith('bosh_') || !expression.test(name)) continue;
    // 6: the mailbox or home is gone already.
    await parts.runner.run(['userdel', '-rf', name], { okExitCodes: [0, 6, 12] });
  }
  return { command: 'cleanup', status: 'success' };
}

async function accounts(): Promise<readonly string[][]> {
  return (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
}

async function existingGroups(wanted: readonly string[]): Promise<readonly string[]> {
  const names = (await readFile('/etc/group', 'utf8')).split('\n').map((line) => line.split(':', 1)[0]);
  return wanted.filter((name) => names.includes(name));
}

/** Ip of the last network with a non-empty default, else of the first. */
export function defaultIp(networks: NetworksSpec): string | undefined {
  const all = Object.values(networks);
  return (all.findLast((network) => (network.default ?? []).length > 0) ?? all[0])?.ip;
}

async function storedVersion(instance: string): Promise<number> {
  const content = await readFile(join(instance, 'dns', 'records.json'), 'utf8').catch(() => '{}');
  const document = parse(content);
  const version = isJsonObject(document) ? (document.Version ?? document.version) : undefined;
  return typeof version === 'number' ? version : -1;
}

async function storeDns(parts: AgentParts, content: string, version: number): Promise<void> {
  const document = parse(content);
  if (!isJsonObject(document))
    throw new ActionError('unmarshalling DNS records: not a JSON object', { code: 'E_DNS' });
  if ((document.Version ?? document.version) !== version) {
    throw new ActionError('version from unpacked dns blob does not match version supplied by director', {
      code: 'E_DNS',
    });
  }
  const records = (Array.isArray(document.records) ? document.records : []) as readonly Json[];
  const lines = records.map((record: Json) => {
    const [ip, name] = Array.isArray(record) ? (record as readonly Json[]) : [];
    const isRecord =
      typeof ip === 'string' &&
      isIP(ip) !== 0 &&
      typeof name === 'string' &&
      /^[A-Za-z0-9._-]{1,253}$/.test(name);
    if (!isRecord) throw new ActionError('a DNS record is not an address and a name', { code: 'E_DNS' });
    return `${ip} ${name}`;
  });
  const settings = parts.host.settings.current();
  await writeFileDurably('/etc/hosts', `${hostsHead(settings.agent_id)}${lines.join('\n')}\n`, {
    mode: 0o644,
  });
  const dir = join(parts.layout.instance, 'dns');
  await mkdir(dir, { recursive: true, mode: 0o755 });
  const path = join(dir, 'records.json');
  await writeFileDurably(path, content, { mode: 0o640 });
  const gid = await vcapGroup();
  if (gid !== undefined) await chown(path, 0, gid);
}

function hostsHead(agentId: string): string {
  return [
    `127.0.0.1 ${agentId} localhost`,
    '',
    '# The following lines are desirable for IPv6 capable hosts',
    `::1 ${agentId} localhost ip6-localhost ip6-loopback`,
    'fe00::0 ip6-localnet',
    'ff00::0 ip6-mcastprefix',
    'ff02::1 ip6-allnodes',
    'ff02::2 ip6-allrouters',
    'ff02::3 ip6-allhosts',
    '',
  ].join('\n');
}

function parse(content: string): unknown {
  try {
    return JSON.parse(content) as unknown;
  } catch {
    return undefined;
  }
}
