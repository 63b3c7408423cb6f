import { mkdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pointLink } from '../apply/links.ts';
import { ActionError } from '../errors.ts';
import type { ActionTable } from '../handlers/dispatcher.ts';
import type { AgentParts } from './context.ts';

/** Persistent and dynamic disks; the machine's side is the host port's. */
export function diskActions(parts: AgentParts): ActionTable {
  const { disks } = parts.host;
  return {
    list_disk: async () => [...(await disks.list())],
    add_persistent_disk: async ([cid, hint]) => {
      await disks.addHint(cid, hint);
      return {};
    },
    remove_persistent_disk: async ([cid]) => {
      await disks.removeHint(cid);
      return {};
    },
    mount_disk: async ([cid], context) => {
      await disks.mount(cid, context.signal);
      return {};
    },
    unmount_disk: async ([cid], context) => {
      const wasMounted = await disks.unmount(cid, context.signal);
      return {
        message: wasMounted ? `Unmounted partition of {${cid}}` : `Partition of {${cid}} is not mounted`,
      };
    },
    migrate_disk: async ([from, to], context) => {
      await disks.migrate(from ?? '', to ?? '', context.signal);
      return {};
    },
    add_dynamic_disk: async ([cid, hint]) => {
      const device = typeof hint === 'string' ? hint : hint.path;
      if (device === undefined || !device.startsWith('/dev/') || device.includes('..')) {
        throw new ActionError('Getting real device path: path is missing', { code: 'E_DISK_HINT' });
      }
      if (!(await stat(device)).isBlockDevice()) {
        throw new ActionError(`'${device}' is no block device`, { code: 'E_DISK_HINT' });
      }
      await mkdir(parts.layout.dynamicDisks, { recursive: true, mode: 0o700 });
      await pointLink(join(parts.layout.dynamicDisks, segment(cid)), device);
      return {};
    },
    remove_dynamic_disk: async ([cid]) => {
      await rm(join(parts.layout.dynamicDisks, segment(cid)), { force: true });
      return {};
    },
    associate_disks: async ([{ diskAssociations }]) => {
      await parts.host.settings.update({
        disk_associations: diskAssociations.map(({ name, cid }) => ({ name, cid })),
      });
      return 'associated';
    },
    release_apply_spec: async () => {
      const path = join(parts.layout.base, 'micro', 'apply_spec.json');
      const document: unknown = JSON.parse(await readFile(path, 'utf8'));
      if (typeof document !== 'object' || document === null)
        throw new ActionError(`'${path}' is no JSON object`);
      return document as Record<string, never>;
    },
  };
}

function segment(cid: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._:-]*$/.test(cid)) return cid;
  throw new ActionError('The CID cannot be a file name', { code: 'E_DISK_CID' });
}
