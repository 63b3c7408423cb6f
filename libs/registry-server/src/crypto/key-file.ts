import { randomBytes } from 'node:crypto';
import { link, readFile, stat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errorCode, isJsonObject } from '@microbosh/errors';
import { syncDirectory, writeFileDurably } from '@microbosh/host';
import { KeyFileRefused } from '../errors.ts';
import { KEY_BYTES } from './keyring.ts';
import type { KeyMaterial } from './keyring.ts';

/**
 * The text of a key file, also what a key command prints:
 *
 *     {"version": 1, "active": "k2", "keys": {"k1": "<base64 of 32 bytes>", "k2": "…"}}
 */
export function parseKeyFile(text: string, origin: string): KeyMaterial {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    // The text is key material: nothing of it, not even a parser's excerpt, goes into the message.
    throw new KeyFileRefused(`${origin} is not JSON.`);
  }
  if (!isJsonObject(document) || document.version !== 1 || typeof document.active !== 'string') {
    throw new KeyFileRefused(`${origin} is not a key file of version 1.`);
  }
  if (!isJsonObject(document.keys)) throw new KeyFileRefused(`${origin} has no keys.`);
  const keys = new Map<string, Uint8Array>();
  for (const [id, value] of Object.entries(document.keys)) {
    const key = typeof value === 'string' ? Buffer.from(value, 'base64') : undefined;
    if (key?.length !== KEY_BYTES || !/^[A-Za-z0-9._-]{1,64}$/.test(id) || id === 'none') {
      throw new KeyFileRefused(`${origin}: the key '${id}' is not the base64 form of ${KEY_BYTES} bytes.`);
    }
    keys.set(id, key);
  }
  if (!keys.has(document.active)) {
    throw new KeyFileRefused(`${origin}: the active key '${document.active}' is not among the keys.`);
  }
  return { active: document.active, keys };
}

export function formatKeyFile(material: KeyMaterial): string {
  const keys = Object.fromEntries(
    [...material.keys].map(([id, key]) => [id, Buffer.from(key).toString('base64')]),
  );
  return `${JSON.stringify({ version: 1, active: material.active, keys }, null, 2)}\n`;
}

export function newKeyMaterial(nowMs: number): KeyMaterial {
  const id = newKeyId(nowMs);
  return { active: id, keys: new Map([[id, randomBytes(KEY_BYTES)]]) };
}

export function newKeyId(nowMs: number): string {
  return `k${new Date(nowMs).toISOString().replace(/[-:]/g, '').slice(0, 15)}-${randomBytes(3).toString('hex')}`;
}

/** Refuses a file that others than its owner can read. */
export async function readKeyFile(path: string): Promise<KeyMaterial> {
  const { mode } = await stat(path);
  if ((mode & 0o077) !== 0) {
    throw new KeyFileRefused(`The key file '${path}' can be read by others than its owner.`, {
      advice: `Run: chmod 600 ${path}`,
    });
  }
  return parseKeyFile(await readFile(path, 'utf8'), `The key file '${path}'`);
}

/** Reads the key file, or makes one with a new key. Two processes that start together end with the same file. */
export async function readOrMakeKeyFile(path: string, nowMs: number): Promise<KeyMaterial> {
  try {
    return await readKeyFile(path);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
  const draft = `${path}.${randomBytes(6).toString('hex')}.new`;
  try {
    await writeFileDurably(draft, formatKeyFile(newKeyMaterial(nowMs)));
    // A link, not a rename: the first of two processes wins, the other one reads what the first one made.
    await link(draft, path).catch((error: unknown) => {
      if (errorCode(error) !== 'EEXIST') throw error;
    });
  } finally {
    await unlink(draft).catch(() => undefined);
  }
  await syncDirectory(dirname(path));
  return readKeyFile(path);
}
