import { randomBytes } from 'node:crypto';
import { writeFileDurably } from '@microbosh/host';
import { errorCode } from '@microbosh/errors';
import { KeyFileRefused } from '../errors.ts';
import { formatKeyFile, newKeyId, readKeyFile } from './key-file.ts';
import { KEY_BYTES } from './keyring.ts';
import type { KeyMaterial } from './keyring.ts';

/** Adds a new key to the file; it is the active one at once unless `prepareOnly`. */
export async function addKey(
  path: string,
  nowMs: number,
  options: { readonly prepareOnly: boolean },
): Promise<{ readonly material: KeyMaterial; readonly added: string }> {
  const current = await readKeyFile(path);
  const added = newKeyId(nowMs);
  const material = {
    active: options.prepareOnly ? current.active : added,
    keys: new Map([...current.keys, [added, randomBytes(KEY_BYTES)] as const]),
  };
  await writeFileDurably(path, formatKeyFile(material));
  return { material, added };
}

/** Makes a key that `addKey` has prepared the active one. */
export async function activateKey(path: string, keyId: string): Promise<KeyMaterial> {
  const current = await readKeyFile(path);
  if (!current.keys.has(keyId)) {
    throw new KeyFileRefused(`The key file '${path}' has no key '${keyId}'.`, {
      advice: `It has: ${[...current.keys.keys()].join(', ')}`,
    });
  }
  const material = { active: keyId, keys: current.keys };
  await writeFileDurably(path, formatKeyFile(material));
  return material;
}

/** Moves all keys but the active one out of the file, into `<path>.retired`: old backups still need them. */
export async function retireKeys(path: string): Promise<readonly string[]> {
  const current = await readKeyFile(path);
  const retired = [...current.keys.keys()].filter((id) => id !== current.active);
  if (retired.length === 0) return [];
  const kept = `${path}.retired`;
  const before = await readKeyFile(kept).catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  const all = new Map([...(before?.keys ?? []), ...current.keys]);
  // First the copy, then the removal: no instant at which a key is nowhere.
  await writeFileDurably(kept, formatKeyFile({ active: current.active, keys: all }));
  const active = current.keys.get(current.active);
  if (active) {
    await writeFileDurably(
      path,
      formatKeyFile({ active: current.active, keys: new Map([[current.active, active]]) }),
    );
  }
  return retired;
}
