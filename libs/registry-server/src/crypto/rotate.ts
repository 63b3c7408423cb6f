import { randomBytes } from 'node:crypto';
import { stat } from 'node:fs/promises';
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
  await replaceKeys(path, material, { like: path });
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
  await replaceKeys(path, material, { like: path });
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
  await replaceKeys(kept, { active: current.active, keys: all }, { like: path });
  const active = current.keys.get(current.active);
  if (active) {
    const material = { active: current.active, keys: new Map([[current.active, active]]) };
    await replaceKeys(path, material, { like: path });
  }
  return retired;
}

/** With owner and mode of the file `like`: the command may run as root, the registry that reads the file does not. */
async function replaceKeys(
  path: string,
  material: KeyMaterial,
  { like }: { readonly like: string },
): Promise<void> {
  const { uid, gid, mode } = await stat(like);
  await writeFileDurably(path, formatKeyFile(material), {
    mode: mode & 0o700,
    ...(process.geteuid?.() === 0 ? { owner: { uid, gid } } : {}),
  });
}
