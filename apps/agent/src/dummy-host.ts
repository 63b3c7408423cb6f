import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AgentSettings } from '@microbosh/spec';
import { ActionError } from './errors.ts';
import type { AgentHost } from './ports/host.ts';

/** What the dummy machine was asked to do. */
export type HostEffect = readonly [operation: string, ...args: string[]];

/**
 * `-P dummy`: settings from `bosh/dummy-cpi-agent-env.json`, disks only in memory, no bootstrap. As the originals'
 * dummy platform, for building micro stemcells and for tests: the machine is not touched, every effect is recorded.
 */
export function createDummyHost(baseDir: string, effects: HostEffect[] = []): AgentHost {
  let settings: AgentSettings | undefined;
  const hints = new Map<string, string>();
  const mounted = new Set<string>();
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
      update: async () => {
        effects.push(['update_settings']);
        return { restart: false };
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
        mounted.add(cid);
      },
      unmount: async (cid) => {
        known(cid);
        effects.push(['unmount', cid]);
        return mounted.delete(cid);
      },
      migrate: async (from, to) => {
        effects.push(['migrate', from, to]);
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
