import { createHash } from 'node:crypto';

const ALPHABET = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const ROUNDS = 5000;

/**
 * The crypt(3) hash `$6$<salt>$…` of a password, as login and CredHub's `user` type use it (the public "Unix crypt
 * using SHA-512" specification, default number of rounds). The salt is up to 16 characters of `[./0-9A-Za-z]`.
 */
export function sha512Crypt(password: string, salt: string): string {
  if (!/^[./0-9A-Za-z]{1,16}$/.test(salt)) throw new RangeError('invalid salt');
  const key = Buffer.from(password);
  const saltBytes = Buffer.from(salt);
  const alternate = sha512(key, saltBytes, key);
  const mixed = [key, saltBytes, stretch(alternate, key.length)];
  for (let bits = key.length; bits > 0; bits >>= 1) mixed.push(bits & 1 ? alternate : key);
  let digest = sha512(...mixed);
  const keySequence = stretch(sha512(...repeat(key, key.length)), key.length);
  const saltSequence = stretch(sha512(...repeat(saltBytes, 16 + (digest[0] ?? 0))), saltBytes.length);
  for (let round = 0; round < ROUNDS; round += 1) {
    const odd = round % 2 === 1;
    const parts = [odd ? keySequence : digest];
    if (round % 3 !== 0) parts.push(saltSequence);
    if (round % 7 !== 0) parts.push(keySequence);
    parts.push(odd ? digest : keySequence);
    digest = sha512(...parts);
  }
  return `$6$${salt}$${encode(digest)}`;
}

function sha512(...parts: readonly Buffer[]): Buffer {
  const hash = createHash('sha512');
  for (const part of parts) hash.update(part);
  return hash.digest();
}

function repeat(bytes: Buffer, times: number): Buffer[] {
  return Array.from({ length: times }, () => bytes);
}

/** The digest repeated and cut to a length. */
function stretch(digest: Buffer, length: number): Buffer {
  return Buffer.concat(repeat(digest, Math.ceil(length / digest.length)), length);
}

/** Base 64 with crypt's alphabet and crypt's order: byte triples (i, i+21, i+42), rotated by one each time. */
function encode(digest: Buffer): string {
  let text = '';
  let [a, b, c] = [0, 21, 42];
  for (let group = 0; group < 21; group += 1) {
    text += encodeBits(((digest[a] ?? 0) << 16) | ((digest[b] ?? 0) << 8) | (digest[c] ?? 0), 4);
    [a, b, c] = [b + 1, c + 1, a + 1];
  }
  return text + encodeBits(digest[63] ?? 0, 2);
}

function encodeBits(value: number, characters: number): string {
  let text = '';
  for (let index = 0; index < characters; index += 1) text += ALPHABET.charAt((value >> (6 * index)) & 63);
  return text;
}
