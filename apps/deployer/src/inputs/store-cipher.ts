import { createCipheriv, createDecipheriv, randomBytes, scrypt } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { OperationalError, messageOf } from '@microbosh/errors';

/** The vars-store is encrypted, and what is given is not its key. */
export class VarsKeyUnusable extends OperationalError {
  readonly code = 'E_VARS_KEY';
}

const keyVariable = 'MICROBOSH_VARS_KEY';
const keyFileVariable = 'MICROBOSH_VARS_KEY_FILE';
const howToGive = `Set ${keyFileVariable} to the path of the key's file, or ${keyVariable} to the key.`;

/** No YAML map, so that a program that does not know it refuses the file instead of taking it for a store. */
const header = 'microbosh encrypted vars-store, format 1';
const sizes = { salt: 16, nonce: 12, tag: 16 } as const;
/** 32 MiB and a tenth of a second for each guess. */
const cost = { N: 2 ** 15, r: 8, p: 1, maxmem: 2 ** 26 } as const;
const shortestKey = 16;

export type Environment = Readonly<Record<string, string | undefined>>;

/** For what cannot be done without a key. */
export function keyRequired(): never {
  throw new VarsKeyUnusable('No key for the vars-store is given', { advice: howToGive });
}

export function isEncrypted(text: string): boolean {
  return text.startsWith(`${header}\n`);
}

/** The key that the environment gives: itself, or the path of its file. Undefined: none. */
export async function readVarsKey(env: Environment): Promise<string | undefined> {
  const given = env[keyVariable] ?? '';
  const path = env[keyFileVariable] ?? '';
  if (given !== '' && path !== '') {
    throw new VarsKeyUnusable(`Both ${keyVariable} and ${keyFileVariable} are set`, {
      advice: 'Set one of them.',
    });
  }
  if (given === '' && path === '') return undefined;
  const key = path === '' ? given : await readKeyFile(path);
  if (key.length < shortestKey) {
    throw new VarsKeyUnusable(
      `The key of the vars-store${path === '' ? '' : ` in '${path}'`} is shorter than ${shortestKey} characters`,
      { advice: 'Make one with: openssl rand -base64 32' },
    );
  }
  return key;
}

async function readKeyFile(path: string): Promise<string> {
  const advice = `${keyFileVariable} has to name a file that you can read, and others cannot.`;
  try {
    const { mode } = await stat(path);
    if ((mode & 0o007) !== 0) {
      throw new VarsKeyUnusable(`The key of the vars-store in '${path}' is open to everybody`, {
        details: { path },
        advice: `chmod 600 ${path}`,
      });
    }
    return (await readFile(path, 'utf8')).replace(/[\r\n]+$/, '');
  } catch (error) {
    if (error instanceof VarsKeyUnusable) throw error;
    throw new VarsKeyUnusable(`The key of the vars-store cannot be read: ${messageOf(error)}`, {
      details: { path },
      advice,
    });
  }
}

/**
 * AES-256-GCM under a key that scrypt derives. A file is the header and, in Base64, salt, nonce, tag and ciphertext; the
 * header is authenticated with it. Every write has a nonce of its own.
 */
export class StoreCipher {
  readonly #salt: Buffer;
  readonly #key: Buffer;

  private constructor(salt: Buffer, key: Buffer) {
    this.#salt = salt;
    this.#key = key;
  }

  static async create(key: string): Promise<StoreCipher> {
    return StoreCipher.#derive(key, randomBytes(sizes.salt));
  }

  /** Reads a file that `isEncrypted`. `key` undefined: none is given. Throws `VarsKeyUnusable`. */
  static async open(
    text: string,
    key: string | undefined,
    file: string,
  ): Promise<{ readonly cipher: StoreCipher; readonly text: string }> {
    if (key === undefined) {
      throw new VarsKeyUnusable(`The vars-store '${file}' is encrypted, and no key is given`, {
        details: { file },
        advice: howToGive,
      });
    }
    const content = Buffer.from(text.slice(header.length + 1), 'base64');
    const take = (from: number, length: number) => content.subarray(from, from + length);
    const cipher = await StoreCipher.#derive(key, take(0, sizes.salt));
    try {
      const decipher = createDecipheriv('aes-256-gcm', cipher.#key, take(sizes.salt, sizes.nonce), {
        authTagLength: sizes.tag,
      });
      decipher.setAAD(Buffer.from(header));
      decipher.setAuthTag(take(sizes.salt + sizes.nonce, sizes.tag));
      const sealed = content.subarray(sizes.salt + sizes.nonce + sizes.tag);
      return { cipher, text: Buffer.concat([decipher.update(sealed), decipher.final()]).toString('utf8') };
    } catch (error) {
      throw new VarsKeyUnusable(
        `The vars-store '${file}' cannot be decrypted: the key is another one, or the file is damaged`,
        {
          details: { file },
          advice: `Give the key with which it was encrypted (${keyFileVariable} or ${keyVariable}), or restore the file.`,
          cause: error,
        },
      );
    }
  }

  static #derive(key: string, salt: Buffer): Promise<StoreCipher> {
    return new Promise((resolve, reject) => {
      scrypt(key.normalize('NFKC'), salt, 32, cost, (error, derived) => {
        if (error === null) resolve(new StoreCipher(salt, derived));
        else reject(error);
      });
    });
  }

  encrypt(text: string): string {
    const nonce = randomBytes(sizes.nonce);
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce);
    cipher.setAAD(Buffer.from(header));
    const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
    const content = Buffer.concat([this.#salt, nonce, cipher.getAuthTag(), sealed]);
    return `${header}\n${content.toString('base64')}\n`;
  }
}
