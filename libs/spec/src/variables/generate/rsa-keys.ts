import { createHash, generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';

const generate = promisify(generateKeyPair);

export interface RsaKeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

export function generateRsaKeyPair(modulusLength: number): Promise<RsaKeyPair> {
  return generate('rsa', { modulusLength, publicExponent: 0x10001 });
}

/** `-----BEGIN RSA PRIVATE KEY-----`, the form that create-env stores. */
export function privateKeyPem(key: KeyObject): string {
  return key.export({ type: 'pkcs1', format: 'pem' }).toString();
}

export function publicKeyPem(key: KeyObject): string {
  return key.export({ type: 'spki', format: 'pem' }).toString();
}

/** Modulus and exponent, big-endian without leading zeros. */
export function rsaNumbers(publicKey: KeyObject): { modulus: Buffer; exponent: Buffer } {
  const { n, e } = publicKey.export({ format: 'jwk' });
  if (n === undefined || e === undefined) throw new Error('not an RSA key');
  return { modulus: Buffer.from(n, 'base64url'), exponent: Buffer.from(e, 'base64url') };
}

/** The key in the form of an OpenSSH authorized_keys entry. */
export function sshPublicKey(publicKey: KeyObject): {
  readonly line: string;
  readonly md5Fingerprint: string;
} {
  const { modulus, exponent } = rsaNumbers(publicKey);
  const blob = Buffer.concat([sshString(Buffer.from('ssh-rsa')), sshInteger(exponent), sshInteger(modulus)]);
  const digest = createHash('md5').update(blob).digest('hex');
  return {
    line: `ssh-rsa ${blob.toString('base64')}\n`,
    md5Fingerprint: (digest.match(/../g) ?? []).join(':'),
  };
}

function sshString(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/** Positive: a set top bit needs a zero byte before it. */
function sshInteger(bytes: Buffer): Buffer {
  return sshString((bytes[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.of(0), bytes]) : bytes);
}
