import { createCipheriv, createDecipheriv, createSecretKey, randomBytes } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { KeyMissing, WrongKey } from '../errors.ts';
import { PLAIN_KEY_ID } from '../ports/store.ts';

export const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const CHECK_CONTEXT = 'microbosh-registry key check';

/** The keys of a registry as they stand in its key file. */
export interface KeyMaterial {
  readonly active: string;
  /** Id → 32 bytes. */
  readonly keys: ReadonlyMap<string, Uint8Array>;
}

/**
 * Seals and opens settings with AES-256-GCM. The context (instance and etag) is authenticated, so that a sealed row
 * cannot stand in for another one. Without key material everything is stored in clear, under the id `none`.
 */
export class Keyring {
  readonly activeKeyId: string;
  readonly #keys: ReadonlyMap<string, KeyObject>;

  constructor(material: KeyMaterial | undefined) {
    this.activeKeyId = material?.active ?? PLAIN_KEY_ID;
    this.#keys = new Map([...(material?.keys ?? [])].map(([id, key]) => [id, createSecretKey(key)] as const));
    if (material && !this.#keys.has(material.active)) {
      throw new KeyMissing(`The active key '${material.active}' is not among the keys.`);
    }
  }

  get keyIds(): readonly string[] {
    return [...this.#keys.keys()];
  }

  has(keyId: string): boolean {
    return keyId === PLAIN_KEY_ID || this.#keys.has(keyId);
  }

  seal(plain: Uint8Array, context: string): { readonly keyId: string; readonly sealed: Uint8Array } {
    const key = this.#keys.get(this.activeKeyId);
    if (!key) return { keyId: PLAIN_KEY_ID, sealed: plain };
    return { keyId: this.activeKeyId, sealed: sealWith(key, plain, context) };
  }

  /** Fails with KeyMissing or WrongKey; never returns bytes that were not sealed here. */
  open(keyId: string, sealed: Uint8Array, context: string): Uint8Array {
    if (keyId === PLAIN_KEY_ID) return sealed;
    const key = this.#keys.get(keyId);
    if (!key) {
      throw new KeyMissing(
        `Settings are sealed with the key '${keyId}', which this registry does not have.`,
        {
          details: { keyId },
          advice: 'Add the key to the key file (its previous version holds it) and reload.',
        },
      );
    }
    const nonce = sealed.subarray(0, NONCE_BYTES);
    const tag = sealed.subarray(sealed.length - TAG_BYTES);
    try {
      const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
      decipher.setAAD(Buffer.from(context));
      decipher.setAuthTag(tag);
      const head = decipher.update(sealed.subarray(NONCE_BYTES, sealed.length - TAG_BYTES));
      decipher.final();
      return head;
    } catch (error) {
      throw new WrongKey(`The key '${keyId}' does not open what is stored under its name.`, {
        details: { keyId },
        advice: 'Give the key file that belongs to this database, or restore the row from a backup.',
        cause: error,
      });
    }
  }

  makeCheck(keyId: string): Uint8Array {
    const key = this.#keys.get(keyId);
    if (!key) throw new KeyMissing(`There is no key '${keyId}'.`);
    return sealWith(key, Buffer.from(CHECK_CONTEXT), `${CHECK_CONTEXT}/${keyId}`);
  }

  /** Throws WrongKey when the key of this name is not the one that made the check. */
  verifyCheck(keyId: string, sealed: Uint8Array): void {
    this.open(keyId, sealed, `${CHECK_CONTEXT}/${keyId}`);
  }
}

/** What a sealed row is bound to. */
export function sealContext(instanceId: string, etag: string): string {
  return JSON.stringify(['settings', instanceId, etag]);
}

function sealWith(key: KeyObject, plain: Uint8Array, context: string): Uint8Array {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(Buffer.from(context));
  const body = cipher.update(plain);
  cipher.final();
  return Buffer.concat([nonce, body, cipher.getAuthTag()]);
}
