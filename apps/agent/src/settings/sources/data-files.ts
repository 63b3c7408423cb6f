import { errorCode, messageOf, type Json, type JsonObject } from '@microbosh/errors';
import { readFile } from 'node:fs/promises';
import { SettingsUnavailable } from '../errors.ts';
import { objectOf, stringOf, valueOf } from '../json-keys.ts';
import { decodeUserData } from '../settings-document.ts';
import type { MachineData } from './settings-source.ts';

export interface DataFiles {
  /** Tried in this order; the first one that can be read is the document. */
  readonly documents: readonly string[];
  /** EC2's meta-data document: instance id and public key. */
  readonly metaData?: string;
}

/** Reads the documents that a cloud leaves as files: on a config drive, on a CD-ROM, or in the image. */
export async function readDataFiles(files: DataFiles, source: string): Promise<MachineData> {
  const problems: string[] = [];
  for (const path of files.documents) {
    try {
      const document = decodeUserData(await readFile(path, 'utf8'), path);
      const metaData = await readMetaData(files.metaData);
      const instanceId = stringOf(metaData, 'instance-id') ?? stringOf(metaData, 'uuid');
      return { document, ...(instanceId === undefined ? {} : { instanceId }) };
    } catch (error) {
      problems.push(errorCode(error) === 'ENOENT' ? `${path} does not exist` : messageOf(error));
    }
  }
  throw new SettingsUnavailable(
    `${source} has no settings: ${problems.join('; ') || 'no file is configured'}.`,
    { advice: 'Check the sources in agent.json against what the CPI provides.' },
  );
}

/** `public-keys.0.openssh-key` of EC2's meta-data document. */
export async function readPublicKeyFile(metaData: string | undefined): Promise<string | undefined> {
  const document = await readMetaData(metaData);
  const first = objectOf(objectOf(document, 'public-keys'), '0');
  return stringOf(first, 'openssh-key')?.trim();
}

async function readMetaData(path: string | undefined): Promise<JsonObject | undefined> {
  if (path === undefined) return undefined;
  try {
    const document = decodeUserData(await readFile(path, 'utf8'), path);
    // OpenStack's own document numbers the keys as a list.
    const keys = valueOf(document, 'public-keys');
    return Array.isArray(keys)
      ? { ...document, 'public-keys': { 0: (keys as Json[])[0] ?? null } }
      : document;
  } catch {
    // Only complements the user data; what needs it reports its absence.
    return undefined;
  }
}
