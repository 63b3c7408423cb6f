import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { mkdir, readFile, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileDurably } from '@microbosh/host';

const cipher = 'aes-256-gcm';
const nonceBytes = 12;
const tagBytes = 16;

/**
 * What templates rendered to, by a digest of everything they were rendered from. It holds the secrets of the manifest, so a
 * file is sealed with a key that is made of that digest: only who has the inputs can name the file, and read it.
 */
export class RenderedCache {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Undefined: not there, or not readable as what it should be; then it is rendered again. */
  async find(inputs: Buffer): Promise<Buffer[] | undefined> {
    const { path, key } = this.#placeOf(inputs);
    try {
      const contents = open(await readFile(path), key);
      // Cleaned up by when it was used last, also where the file system keeps no times of reading.
      await utimes(path, new Date(), new Date());
      return contents;
    } catch {
      return undefined;
    }
  }

  async keep(inputs: Buffer, contents: readonly Buffer[]): Promise<void> {
    const { path, key } = this.#placeOf(inputs);
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    await writeFileDurably(path, seal(contents, key), { mode: 0o600 });
  }

  #placeOf(inputs: Buffer): { readonly path: string; readonly key: Buffer } {
    const derived = Buffer.from(hkdfSync('sha256', inputs, '', 'microbosh rendered templates', 64));
    return {
      path: join(this.#folder, `${derived.subarray(0, 32).toString('hex')}.sealed`),
      key: derived.subarray(32),
    };
  }
}

function seal(contents: readonly Buffer[], key: Buffer): Buffer {
  const nonce = randomBytes(nonceBytes);
  const sealing = createCipheriv(cipher, key, nonce);
  const plain = JSON.stringify(contents.map((content) => content.toString('base64')));
  const body = Buffer.concat([sealing.update(plain), sealing.final()]);
  return Buffer.concat([nonce, sealing.getAuthTag(), body]);
}

/** Throws when it was not sealed with this key, or is damaged. */
function open(sealed: Buffer, key: Buffer): Buffer[] {
  const opening = createDecipheriv(cipher, key, sealed.subarray(0, nonceBytes), { authTagLength: tagBytes });
  opening.setAuthTag(sealed.subarray(nonceBytes, nonceBytes + tagBytes));
  const plain = Buffer.concat([opening.update(sealed.subarray(nonceBytes + tagBytes)), opening.final()]);
  return (JSON.parse(plain.toString()) as string[]).map((content) => Buffer.from(content, 'base64'));
}
