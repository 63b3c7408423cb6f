import { createHash, randomUUID } from 'node:crypto';
import { isJsonObject } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import { Value } from 'typebox/value';
import type { TSchema } from 'typebox';
import { StateUnreadable } from '../errors.ts';
import { originalStateSchema, ownStateSchema } from './environment-state.ts';
import type { EnvironmentState, OwnState } from './environment-state.ts';

const originalKeys = [
  'director_id',
  'installation_id',
  'current_vm_cid',
  'current_stemcell_id',
  'current_disk_id',
  'current_release_ids',
  'current_manifest_sha',
  'disks',
  'stemcells',
  'releases',
] as const;
const ownKey = 'microbosh';

export interface DecodedState {
  readonly state: EnvironmentState;
  /** The checksum does not match: someone else changed the file since it was saved here. */
  readonly editedByOthers: boolean;
}

export function emptyOwnState(): OwnState {
  return {
    schema_version: 1,
    serial: 0,
    checksum: '',
    instance_id: randomUUID(),
    leftover_vms: [],
    stemcell_digests: {},
    disk_roles: {},
    artifacts: [],
    stopped: false,
  };
}

export function newState(): EnvironmentState {
  return {
    director_id: randomUUID(),
    installation_id: randomUUID(),
    current_vm_cid: '',
    current_stemcell_id: '',
    current_disk_id: '',
    current_release_ids: null,
    current_manifest_sha: '',
    disks: null,
    stemcells: null,
    releases: null,
    own: emptyOwnState(),
    unknown: {},
  };
}

function refuse(path: string, problem: string, previousCopy: string): never {
  throw new StateUnreadable(`State file '${path}': ${problem}`, {
    details: { path },
    advice: `Nothing was changed. Repair the file, or restore the copy of the state before the last run: ${previousCopy}`,
  });
}

function check<S extends TSchema>(schema: S, value: unknown, path: string, previousCopy: string): void {
  if (Value.Check(schema, value)) return;
  const [first] = Value.Errors(schema, value);
  refuse(
    path,
    `${first?.instancePath ?? ''} ${first?.message ?? 'has an unexpected form'}`.trim(),
    previousCopy,
  );
}

/** Reads a state file of this program, of create-env or of bosh-init. Keys of others are kept. */
export function decodeState(textOfFile: string, path: string, previousCopy: string): DecodedState {
  let document: unknown;
  try {
    document = JSON.parse(textOfFile);
  } catch {
    return refuse(path, 'is not valid JSON', previousCopy);
  }
  if (!isJsonObject(document)) return refuse(path, 'is not a JSON object', previousCopy);
  const newer = isJsonObject(document[ownKey]) ? document[ownKey].schema_version : undefined;
  if (typeof newer === 'number' && newer > 1) {
    return refuse(path, `was written by a newer version of this program (schema ${newer})`, previousCopy);
  }
  check(originalStateSchema, document, path, previousCopy);
  const original = Value.Parse(originalStateSchema, document);
  let own = emptyOwnState();
  if (document[ownKey] !== undefined) {
    check(ownStateSchema, document[ownKey], path, previousCopy);
    own = Value.Parse(ownStateSchema, document[ownKey]);
  }
  const unknown = Object.fromEntries(
    Object.entries(document).filter(
      ([key]) => key !== ownKey && !originalKeys.some((known) => known === key),
    ),
  );
  const state: EnvironmentState = {
    director_id: original.director_id || randomUUID(),
    installation_id: original.installation_id || randomUUID(),
    current_vm_cid: original.current_vm_cid ?? '',
    current_stemcell_id: original.current_stemcell_id ?? '',
    current_disk_id: original.current_disk_id ?? '',
    current_release_ids: original.current_release_ids ?? null,
    current_manifest_sha: original.current_manifest_sha ?? '',
    disks: original.disks ?? null,
    stemcells: original.stemcells ?? null,
    releases: original.releases ?? null,
    own,
    unknown,
  };
  return { state, editedByOthers: own.checksum !== '' && own.checksum !== checksumOf(state) };
}

/** The file's content: create-env's keys in its order and form, then ours. */
export function encodeState(state: EnvironmentState): string {
  return JSON.stringify(
    documentOf({ ...state, own: { ...state.own, checksum: checksumOf(state) } }),
    null,
    4,
  );
}

function documentOf(state: EnvironmentState): Record<string, unknown> {
  const { own, unknown, ...original } = state;
  const ordered = Object.fromEntries(originalKeys.map((key) => [key, original[key]]));
  return { ...ordered, ...unknown, [ownKey]: own };
}

function checksumOf(state: EnvironmentState): string {
  const canonical = canonicalJson(documentOf({ ...state, own: { ...state.own, checksum: '' } }));
  return createHash('sha256').update(canonical).digest('hex');
}

/** JSON with sorted keys: the same value always gives the same text. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    isJsonObject(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : inner,
  );
}

/** The value as JSON has it: without undefined members. */
export function plainJson(value: object): JsonObject {
  const copy: unknown = JSON.parse(JSON.stringify(value));
  if (!isJsonObject(copy)) throw new Error('not a JSON object');
  return copy;
}

export function digestOf(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex');
}
