import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { RegistryMisconfigured } from '../errors.ts';

/** 2^15 · 8 · 128 bytes = 32 MiB and some 60 ms for each guess. */
const COST = 2 ** 15;
const BLOCK = 8;
const HASH_BYTES = 32;

/** The slow, salted hash of passwords. A port, so that tests can count how often it is asked. */
export interface PasswordHasher {
  /** `scrypt$<cost>$<block>$<salt>$<hash>`, the last two base64url. */
  hash(password: string): Promise<string>;
  verify(password: string, hash: string): Promise<boolean>;
  /** A hash of no password: costs as much to verify as a real one, and nothing to make. */
  decoy(): string;
}

export const scryptHasher: PasswordHasher = {
  async hash(password) {
    const salt = randomBytes(16);
    const key = await derive(password, salt, COST, BLOCK);
    return `scrypt$${COST}$${BLOCK}$${salt.toString('base64url')}$${key.toString('base64url')}`;
  },
  async verify(password, hash) {
    const { cost, block, salt, key } = parsePasswordHash(hash);
    return timingSafeEqual(await derive(password, salt, cost, block), key);
  },
  decoy() {
    return `scrypt$${COST}$${BLOCK}$${randomBytes(16).toString('base64url')}$${randomBytes(HASH_BYTES).toString('base64url')}`;
  },
};

/** Refuses a text that is not a hash of ours, and costs that would stop the server. */
export function parsePasswordHash(hash: string): {
  readonly cost: number;
  readonly block: number;
  readonly salt: Buffer;
  readonly key: Buffer;
} {
  const [scheme, cost, block, salt, key, ...rest] = hash.split('$');
  const parsed = {
    cost: Number(cost),
    block: Number(block),
    salt: Buffer.from(salt ?? '', 'base64url'),
    key: Buffer.from(key ?? '', 'base64url'),
  };
  const power = Math.log2(parsed.cost);
  const usable =
    scheme === 'scrypt' &&
    rest.length === 0 &&
    Number.isInteger(power) &&
    power >= 14 &&
    power <= 18 &&
    parsed.block === BLOCK &&
    parsed.salt.length >= 16 &&
    parsed.key.length === HASH_BYTES;
  if (!usable) {
    throw new RegistryMisconfigured('A password hash is not of the form scrypt$cost$8$salt$hash.', {
      advice: 'Make one with: microbosh-registry hash-password',
    });
  }
  return parsed;
}

function derive(password: string, salt: Buffer, cost: number, block: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const options = { N: cost, r: block, p: 1, maxmem: 256 * cost * block };
    scrypt(password, salt, HASH_BYTES, options, (error, key) => (error ? reject(error) : resolve(key)));
  });
}
