import { join } from 'node:path';
import { isJsonObject, type JsonObject } from '@microbosh/errors';
import { ActionError } from '../errors.ts';
import type { ActionTable } from '../handlers/dispatcher.ts';
import { readTextIfPresent } from '../platform/files.ts';
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
    add_dynamic_disk: async ([cid, hint], context) => {
      await disks.addDynamic(segment(cid), hint, context.signal);
      return {};
    },
    remove_dynamic_disk: async ([cid]) => {
      await disks.removeDynamic(segment(cid));
      return {};
    },
    associate_disks: async ([{ diskAssociations }]) => {
      await parts.host.settings.associateDisks(diskAssociations.map(({ name, cid }) => ({ name, cid })));
      return 'associated';
    },
    release_apply_spec: () => releaseApplySpec(join(parts.layout.base, 'micro')),
  };
}

/** What the build of a micro stemcell left: `apply_spec.json` (Go), else `apply_spec.yml` (Ruby). */
async function releaseApplySpec(dir: string): Promise<JsonObject> {
  for (const name of ['apply_spec.json', 'apply_spec.yml']) {
    const text = await readTextIfPresent(join(dir, name));
    if (text === undefined) continue;
    const document = name.endsWith('.json') ? fromJson(text) : await fromYaml(text);
    if (!isJsonObject(document)) {
      throw new ActionError(`Opening micro apply spec: '${join(dir, name)}' is not a mapping`, {
        code: 'E_MICRO_SPEC',
        advice: 'Build the micro stemcell again.',
      });
    }
    return document;
  }
  throw new ActionError(`Opening micro apply spec: '${dir}' has none`, {
    code: 'E_MICRO_SPEC',
    advice: 'Only micro stemcells have one.',
  });
}

/** The way in for YAML is large and rarely needed: it is loaded then. */
async function fromYaml(text: string): Promise<unknown> {
  const { parseYaml, toJson } = await import('@microbosh/spec/documents');
  return toJson(parseYaml(text, { file: 'apply_spec.yml', dialect: 'psych' }));
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function segment(cid: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._:-]*$/.test(cid)) return cid;
  throw new ActionError('The CID cannot be a file name', { code: 'E_DISK_CID' });
}
