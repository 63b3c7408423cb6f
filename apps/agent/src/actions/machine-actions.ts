import { chown, mkdir, readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { isJsonObject, type Json } from '@microbosh/errors';
import { writeFileDurably } from '@microbosh/host';
import type { NetworksSpec } from '@microbosh/spec';
import { vcapGroup } from '../apply/ownership.ts';
import { ActionError, wrapping } from '../errors.ts';
import type { ActionTable } from '../handlers/dispatcher.ts';
import type { Machine } from '../ports/host.ts';
import type { AgentParts } from './context.ts';

/** Settings, users, names, neighbours, power. */
export function machineActions(parts: AgentParts): ActionTable {
  const { layout, host, blobs } = parts;
  const { machine } = host;
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
      if (command === 'cleanup') return cleanupSsh(machine, args.user_regex ?? '');
      throw new ActionError('Unknown command for SSH method', { code: 'E_SSH' });
    },
    delete_arp_entries: async ([{ ips }]) => {
      for (const ip of ips.filter((address) => isIP(address) !== 0)) {
        // Without an entry there is nothing to forget; the original ignores failures too.
        await machine.flushNeighbour(ip).catch(() => undefined);
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
      await machine.powerOff();
      return '';
    },
    prepare_network_change: async () => {
      await machine.forgetNetworkIdentity();
      parts.restartAgent('networks change');
      return 'ok';
    },
    prepare_configure_networks: async () => {
      await machine.forgetNetworkIdentity();
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
  const ip = defaultIp(parts.host.settings.current().networks);
  if (ip === undefined) throw new ActionError('No default ip could be found', { code: 'E_SSH' });
  const { hostPublicKey } = await parts.host.machine.addSshUser(user, publicKey.trim());
  return { command: 'setup', status: 'success', ip, host_public_key: hostPublicKey };
}

async function cleanupSsh(machine: Machine, pattern: string): Promise<Json> {
  if (pattern.length > maxPatternLength || !isPattern(pattern)) {
    throw new ActionError('The user pattern is not a regular expression of at most 256 characters', {
      code: 'E_SSH',
    });
  }
  await machine.removeSshUsers(pattern);
  return { command: 'cleanup', status: 'success' };
}

const maxPatternLength = 256;

function isPattern(text: string): boolean {
  try {
    new RegExp(text);
    return true;
  } catch {
    return false;
  }
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
  const hosts = records.map((record: Json) => {
    const [ip, name] = Array.isArray(record) ? (record as readonly Json[]) : [];
    const isRecord =
      typeof ip === 'string' &&
      isIP(ip) !== 0 &&
      typeof name === 'string' &&
      /^[A-Za-z0-9._-]{1,253}$/.test(name);
    if (!isRecord) throw new ActionError('a DNS record is not an address and a name', { code: 'E_DNS' });
    return { ip, name };
  });
  await parts.host.machine.writeHosts(hosts);
  const dir = join(parts.layout.instance, 'dns');
  await mkdir(dir, { recursive: true, mode: 0o755 });
  const path = join(dir, 'records.json');
  await writeFileDurably(path, content, { mode: 0o640 });
  const gid = await vcapGroup();
  if (gid !== undefined) await chown(path, 0, gid);
}

function parse(content: string): unknown {
  try {
    return JSON.parse(content) as unknown;
  } catch {
    return undefined;
  }
}
