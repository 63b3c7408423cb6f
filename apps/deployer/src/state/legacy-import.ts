import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { errorCode, isJsonObject, messageOf } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import { writeFileDurably } from '@microbosh/host';
import { chooseLegacyDeployment, convertLegacyDeployment, parseLegacyDeployments } from '@microbosh/spec';
import type { LegacyDeployment } from '@microbosh/spec';
import { StateUnreadable } from '../errors.ts';
import type { EnvironmentState, ImportedDeployment } from './environment-state.ts';
import { newState } from './state-document.ts';

/** For which manifest a state of the micro plug-in may be taken over. */
export interface TakeOver {
  /** Absolute path of the manifest: the old file is beside it. */
  readonly manifest: string;
  /** Name of the deployment. */
  readonly name: string;
}

export interface ImportedState {
  readonly file: string;
  readonly state: EnvironmentState;
}

/** Beside the old file, which stays as it is: what of it no longer exists. */
const deletedFileOf = (file: string) => `${file}.deleted`;

export function legacyFileOf(manifest: string, cwd: string): string {
  return join(dirname(resolve(cwd, manifest)), 'bosh-deployments.yml');
}

/**
 * The state that `bosh-deployments.yml` of the micro plug-in records beside a manifest. The file is only read: other
 * deployments may be in it. Undefined when there is none, or when delete-env has taken away what it records.
 */
export async function importLegacyState(wanted: TakeOver): Promise<ImportedState | undefined> {
  const file = legacyFileOf(wanted.manifest, '/');
  const text = await readOptional(file);
  if (text === undefined) return undefined;
  // What was deleted is left out afterwards: else the row of another deployment would seem to be the only one.
  const row = chooseLegacyDeployment(parseLegacyDeployments(text, file), wanted.name, file);
  if (row === undefined || (row.vmCid === '' && row.diskCid === '' && row.stemcellCid === ''))
    return undefined;
  if ((await readDeleted(file)).some((deleted) => isSame(deleted, describe(row, file)))) return undefined;
  const empty = newState();
  const state: EnvironmentState = {
    ...empty,
    ...convertLegacyDeployment(row, randomUUID),
    installation_id: empty.installation_id,
    own: { ...empty.own, imported: describe(row, file) },
  };
  return { file, state };
}

/** Everything of an imported deployment is gone: the next deploy begins anew instead of importing it again. */
export async function markLegacyDeleted(imported: ImportedDeployment): Promise<void> {
  const deleted = await readDeleted(imported.file);
  await writeFileDurably(
    deletedFileOf(imported.file),
    `${JSON.stringify([...deleted, imported], undefined, 2)}\n`,
    { mode: 0o600 },
  );
}

function describe(row: LegacyDeployment, file: string): ImportedDeployment {
  return { file, name: row.name, uuid: row.uuid, vm_cid: row.vmCid, disk_cid: row.diskCid };
}

function isSame(deleted: JsonObject, row: ImportedDeployment): boolean {
  // The folder may have been moved since.
  return (['name', 'uuid', 'vm_cid', 'disk_cid'] as const).every((key) => deleted[key] === row[key]);
}

async function readDeleted(file: string): Promise<JsonObject[]> {
  const path = deletedFileOf(file);
  const text = await readOptional(path);
  if (text === undefined) return [];
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    throw unreadable(path, messageOf(error), error);
  }
  if (Array.isArray(document) && document.every(isJsonObject)) return document;
  throw unreadable(path, 'it is no list of deployments');
}

async function readOptional(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw unreadable(path, messageOf(error), error);
  }
}

function unreadable(path: string, problem: string, cause?: unknown): StateUnreadable {
  return new StateUnreadable(`'${path}' cannot be read: ${problem}`, {
    details: { path },
    advice: 'Nothing was changed. Repair the file or its permissions: it says what exists in the cloud.',
    cause,
  });
}
