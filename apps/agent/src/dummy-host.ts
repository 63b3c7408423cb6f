import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isJsonObject, type Json } from '@microbosh/errors';
import type { AgentSettings } from '@microbosh/spec';
import { ActionError } from './errors.ts';
import type { AgentHost } from './ports/host.ts';
import { mergeUpdate, type UpdateSettings } from './settings/update-settings.ts';

/** What the dummy machine was asked to do. */
export type HostEffect = readonly [operation: string, ...args: string[]];

/**
 * `-P dummy`: settings from `bosh/dummy-cpi-agent-env.json`, disks only in memory, no bootstrap. As the originals'
 * dummy platform, for building micro stemcells and for tests: the machine is not touched, every effect is recorded.
 */
export function createDummyHost(baseDir: string, effects: HostEffect[] = []): AgentHost {
  let settings: AgentSettings | undefined;
  let update: UpdateSettings = {};
  const hints = new Map<string, string>();
  const mounted: string[] = [];
  const store = () => mounted[0];
  const load = async () => {
    const path = join(baseDir, 'bosh', 'dummy-cpi-agent-env.json');
    settings = JSON.parse(await readFile(path, 'utf8')) as AgentSettings;
    return settings;
  };
  const known = (cid: string) => {
    if (hints.has(cid) || Object.hasOwn(settings?.disks.persistent ?? {}, cid)) return;
    throw new ActionError(`Persistent disk with volume id '${cid}' could not be found`, {
      code: 'E_DISK_UNKNOWN',
    });
  };
  return {
    settings: {
      current: () => {
        if (!settings) throw new ActionError('The settings have not been loaded yet', { code: 'E_SETTINGS' });
        return settings;
      },
      refresh: load,
      update: async (sent) => {
        const { merged, restart } = mergeUpdate(update, sent);
        const associations = merged['disk_associations'];
        for (const item of Array.isArray(associations) ? (associations as Json[]) : []) {
          if (isJsonObject(item) && typeof item.cid === 'string') known(item.cid);
        }
        effects.push(['update_settings']);
        update = merged;
        return { restart };
      },
      associateDisks: async (associations) => {
        for (const { cid } of associations) known(cid);
        effects.push(['associate_disks', ...associations.map(({ name, cid }) => `${name}=${cid}`)]);
      },
    },
    disks: {
      list: async () => [...mounted],
      addHint: async (cid) => {
        effects.push(['add_hint', cid]);
        hints.set(cid, cid);
      },
      removeHint: async (cid) => {
        effects.push(['remove_hint', cid]);
        hints.delete(cid);
      },
      mount: async (cid) => {
        known(cid);
        effects.push(['mount', cid]);
        if (!mounted.includes(cid)) mounted.push(cid);
      },
      unmount: async (cid) => {
        known(cid);
        effects.push(['unmount', cid]);
        if (!mounted.includes(cid)) return false;
        mounted.splice(mounted.indexOf(cid), 1);
        return true;
      },
      migrate: async (sentFrom, sentTo) => {
        const from = sentFrom === '' ? (store() ?? '') : sentFrom;
        const to = sentTo === '' ? (mounted[1] ?? '') : sentTo;
        known(to);
        if (store() !== from || !mounted.includes(to) || from === to) {
          throw new ActionError(`The disks '${from}' and '${to}' are not mounted for a migration`, {
            code: 'E_DISK_MIGRATION',
          });
        }
        effects.push(['migrate', from, to]);
        mounted.splice(0, mounted.length, to);
      },
      addDynamic: async (cid) => {
        effects.push(['add_dynamic', cid]);
      },
      removeDynamic: async (cid) => {
        effects.push(['remove_dynamic', cid]);
      },
    },
    machine: {
      addSshUser: async (user) => {
        effects.push(['add_ssh_user', user]);
        return { hostPublicKey: 'ssh-rsa AAAA dummy' };
      },
      removeSshUsers: async (pattern) => {
        effects.push(['remove_ssh_users', pattern]);
      },
      writeHosts: async (records) => {
        effects.push(['write_hosts', ...records.map(({ ip, name }) => `${ip} ${name}`)]);
      },
      flushNeighbour: async (ip) => {
        effects.push(['flush_neighbour', ip]);
      },
      refreshFirewall: async () => {
        effects.push(['refresh_firewall']);
      },
      forgetNetworkIdentity: async () => {
        effects.push(['forget_network_identity']);
      },
      giveFile: async (_path, user) => {
        effects.push(['give_file', user]);
      },
      powerOff: async () => {
        effects.push(['power_off']);
      },
    },
    bootstrap: {
      run: async () => {
        await load();
        return { startedAt: new Date().toISOString(), steps: [] };
      },
    },
  };
}
