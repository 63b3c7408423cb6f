import { createHash, randomUUID } from 'node:crypto';
import { isJsonObject } from '@microbosh/errors';
import type { Json, JsonObject } from '@microbosh/errors';
import { emptyDeploymentState, parseDeploymentState, serializeDeploymentState } from '@microbosh/spec';
import { Value } from 'typebox/value';
import { StateUnreadable } from '../errors.ts';
import { ownStateSchema } from './environment-state.ts';
import type { EnvironmentState, OwnState } from './environment-state.ts';

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
    ...emptyDeploymentState,
    director_id: randomUUID(),
    installation_id: randomUUID(),
    own: emptyOwnState(),
  };
}

/** Reads a state file of this program, of create-env or of bosh-init. Keys of others are kept. */
export function decodeState(textOfFile: string, path: string, previousCopy: string): DecodedState {
  const document = parseDeploymentState(textOfFile, path);
  const { [ownKey]: stored, ...unknown } = document.unknown;
  const own = stored === undefined ? emptyOwnState() : decodeOwnState(stored, path, previousCopy);
  const state: EnvironmentState = {
    ...document,
    director_id: document.director_id || randomUUID(),
    installation_id: document.installation_id || randomUUID(),
    own,
    unknown,
  };
  return { state, editedByOthers: own.checksum !== '' && own.checksum !== checksumOf(state) };
}

function decodeOwnState(stored: Json, path: string, previousCopy: string): OwnState {
  const version = isJsonObject(stored) ? stored['schema_version'] : undefined;
  if (typeof version === 'number' && version > 1) {
    return refuse(
      path,
      `it was written by a newer version of this program (schema ${version})`,
      previousCopy,
    );
  }
  if (!Value.Check(ownStateSchema, stored)) {
    const [first] = Value.Errors(ownStateSchema, stored);
    return refuse(
      path,
      `/${ownKey}${first?.instancePath ?? ''} ${first?.message ?? 'is wrong'}`,
      previousCopy,
    );
  }
  return stored;
}

function refuse(path: string, problem: string, previousCopy: string): never {
  throw new StateUnreadable(`The state file '${path}' cannot be read: ${problem}`, {
    details: { path },
    advice: `Nothing was changed. Repair the file, or restore the copy of the state before the last run: ${previousCopy}`,
  });
}

/** The file's content: create-env's keys in its order and form, then ours. */
export function encodeState(state: EnvironmentState): string {
  return serialize({ ...state, own: { ...state.own, checksum: checksumOf(state) } });
}

function serialize(state: EnvironmentState): string {
  const { own, ...original } = state;
  return serializeDeploymentState({
    ...original,
    unknown: { ...original.unknown, [ownKey]: plainJson(own) },
  });
}

function checksumOf(state: EnvironmentState): string {
  const document: unknown = JSON.parse(serialize({ ...state, own: { ...state.own, checksum: '' } }));
  return createHash('sha256').update(canonicalJson(document)).digest('hex');
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
