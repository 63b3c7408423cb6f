import { mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errorCode } from '@microbosh/errors';
import { parseYaml, toJson } from '@microbosh/spec/documents';
import type { VarsStorePort } from '@microbosh/spec/documents';
import { unreadable } from './read-input.ts';
import { StoreCipher, isEncrypted, readVarsKey } from './store-cipher.ts';
import type { Environment } from './store-cipher.ts';

export interface StoreContent {
  /** Undefined: there is no file yet. */
  readonly text: string | undefined;
  /** Undefined: the file is not encrypted. */
  readonly cipher: StoreCipher | undefined;
}

/**
 * The store is the only record of generated values: replaced atomically, mode 0600. One that is encrypted stays so; a new
 * one becomes so when the environment gives a key.
 */
export function varsStoreFile(path: string, env: Environment): VarsStorePort {
  let cipher: StoreCipher | undefined;
  return {
    file: path,
    load: async () => {
      const read = await readStore(path, env);
      ({ cipher } = read);
      return read.text;
    },
    save: (text) => writeStore(path, cipher?.encrypt(text) ?? text),
    exclusively: (work) => withStoreFolder(path, work),
  };
}

export async function readStore(path: string, env: Environment): Promise<StoreContent> {
  const text = await readStoreFile(path);
  if (text !== undefined && !isEncrypted(text)) return { text, cipher: undefined };
  const key = await readVarsKey(env);
  if (text !== undefined) return StoreCipher.open(text, key, path);
  return { text, cipher: key === undefined ? undefined : await StoreCipher.create(key) };
}

async function readStoreFile(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw unreadable('variables store', path, error);
  }
}

export async function writeStore(path: string, text: string): Promise<void> {
  // Loaded only when something was generated.
  const { writeFileDurably } = await import('@microbosh/host');
  await mkdir(dirname(path), { recursive: true });
  await writeFileDurably(path, text, { mode: 0o600 });
}

/** Runs `work` while no other process changes a store in this folder. */
export async function withStoreFolder<T>(path: string, work: () => Promise<T>): Promise<T> {
  const { withDirectoryLock } = await import('@microbosh/host');
  const folder = dirname(path);
  // As wide as the operator's umask lets it be: the lock would make it private.
  await mkdir(folder, { recursive: true });
  return withDirectoryLock(folder, undefined, work);
}

/** Everything in the vars-store that is not public by nature; nothing of it may be printed. */
export async function secretsOfVarsStore(
  path: string | undefined,
  env: Environment,
): Promise<readonly string[]> {
  if (path === undefined) return [];
  const { text } = await readStore(path, env);
  if (text === undefined) return [];
  const secrets: string[] = [];
  collectSecrets(toJson(parseYaml(text, { file: path })), '', secrets);
  return secrets;
}

const publicKeys = new Set(['ca', 'certificate', 'public_key', 'public_key_fingerprint', 'username']);

function collectSecrets(value: unknown, key: string, found: string[]): void {
  if (publicKeys.has(key)) return;
  if (typeof value === 'string') {
    if (value.length >= 8) found.push(value);
  } else if (typeof value === 'object' && value !== null) {
    for (const [innerKey, inner] of Object.entries(value)) collectSecrets(inner, innerKey, found);
  }
}
