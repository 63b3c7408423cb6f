import { errorCode, isJsonObject, type JsonObject } from '@microbosh/errors';
import { readFile, stat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncDirectory } from '@microbosh/host';
import type { Stats } from 'node:fs';

/** The content of a text file, or undefined when there is none. */
export async function readTextIfPresent(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** The JSON object in a file; undefined when the file is absent or holds something else (a cut-off write of an older agent). */
export async function readJsonObjectIfPresent(path: string): Promise<JsonObject | undefined> {
  const text = await readTextIfPresent(path);
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isJsonObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

export async function statIfPresent(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** Removes a file so that it stays removed after a power loss. True when there was one. */
export async function removeFileDurably(path: string): Promise<boolean> {
  try {
    await unlink(path);
  } catch (error) {
    if (isAbsent(error)) return false;
    throw error;
  }
  await syncDirectory(dirname(path));
  return true;
}

function isAbsent(error: unknown): boolean {
  const code = errorCode(error);
  return code === 'ENOENT' || code === 'ENOTDIR';
}
