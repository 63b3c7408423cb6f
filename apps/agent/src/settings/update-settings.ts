import { isJsonObject, type Json, type JsonObject } from '@microbosh/errors';
import type { AgentSettings } from '@microbosh/spec';
import { isDeepStrictEqual } from 'node:util';
import { objectOf, stringOf, stringsOf, valueOf } from './json-keys.ts';

/** What `update_settings` has left on this machine: `{trusted_certs, disk_associations, mbus, blobstores}`. */
export type UpdateSettings = JsonObject;

/**
 * The original's merge: `trusted_certs` and `disk_associations` are always replaced, `mbus` when the new value is not
 * empty and differs, `blobstores` when it is present and differs. The latter two make the agent restart itself.
 */
export function mergeUpdate(
  current: UpdateSettings,
  update: JsonObject,
): { readonly merged: UpdateSettings; readonly restart: boolean } {
  const merged: Record<string, Json> = {
    ...current,
    trusted_certs: valueOf(update, 'trusted_certs') ?? '',
    disk_associations: valueOf(update, 'disk_associations') ?? [],
  };
  let restart = false;
  const mbus = valueOf(update, 'mbus');
  if (isJsonObject(mbus) && hasContent(mbus) && !isDeepStrictEqual(mbus, current['mbus'])) {
    merged['mbus'] = mbus;
    restart = true;
  }
  const blobstores = valueOf(update, 'blobstores');
  if (blobstores !== undefined && !isDeepStrictEqual(blobstores, current['blobstores'])) {
    merged['blobstores'] = blobstores;
    restart = true;
  }
  return { merged, restart };
}

function hasContent(value: Json): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (isJsonObject(value)) return Object.values(value).some(hasContent);
  return value !== null && value !== '';
}

/**
 * The settings with their effective values in place: message bus from `update_settings`, else `env.bosh.mbus`, else
 * `mbus`; blobstore likewise; time servers from `env.bosh.ntp` when that is there, also when it is empty.
 */
export function effectiveSettings(settings: AgentSettings, update: UpdateSettings): AgentSettings {
  const env = isJsonObject(settings.env) ? settings.env : {};
  const bosh = objectOf(env, 'bosh') ?? {};
  const mbus = { ...objectOf(bosh, 'mbus') };
  const updatedMbus = objectOf(update, 'mbus');

  const urls = nonEmpty(stringsOf(updatedMbus, 'urls')) ?? nonEmpty(stringsOf(mbus, 'urls'));
  if (urls) mbus['urls'] = urls;
  const updatedCert = objectOf(updatedMbus, 'cert');
  if (updatedCert && stringOf(updatedCert, 'ca') !== undefined) mbus['cert'] = updatedCert;

  const blobstore = firstObject(valueOf(update, 'blobstores')) ?? firstObject(valueOf(bosh, 'blobstores'));
  const ntp = stringsOf(bosh, 'ntp') ?? settings.ntp;
  const effectiveBosh = { ...bosh, ...(Object.keys(mbus).length === 0 ? {} : { mbus }) };
  return {
    ...settings,
    mbus: urls?.[0] ?? settings.mbus,
    ...(blobstore === undefined ? {} : { blobstore: blobstoreOf(blobstore) }),
    ...(ntp === undefined ? {} : { ntp }),
    env: { ...env, ...(Object.keys(effectiveBosh).length === 0 ? {} : { bosh: effectiveBosh }) },
  };
}

function blobstoreOf(value: JsonObject): NonNullable<AgentSettings['blobstore']> {
  const provider = stringOf(value, 'provider');
  const options = objectOf(value, 'options');
  return { ...(provider === undefined ? {} : { provider }), ...(options === undefined ? {} : { options }) };
}

function firstObject(value: Json | undefined): JsonObject | undefined {
  const first: Json | undefined = Array.isArray(value) ? (value as Json[])[0] : undefined;
  return isJsonObject(first) ? first : undefined;
}

function nonEmpty(list: readonly string[] | undefined): readonly string[] | undefined {
  return list === undefined || list.length === 0 ? undefined : list;
}
