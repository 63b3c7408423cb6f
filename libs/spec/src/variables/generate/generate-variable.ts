import { randomBytes } from 'node:crypto';
import { childOf, fromJson, type YamlNode } from '../../yaml/yaml-node.ts';
import type { GenerateVariable } from '../variable-resolver.ts';
import { readCertificateOptions } from './certificate-options.ts';
import { generateCertificate, type SigningCa } from './certificate.ts';
import { GenerationError } from './generation-error.ts';
import { passwordLength, randomPassword } from './password.ts';
import { GenerationOptions } from './read-options.ts';
import { generateRsaKeyPair, privateKeyPem, publicKeyPem, sshPublicKey } from './rsa-keys.ts';
import { sha512Crypt } from './sha512-crypt.ts';

const KEY_BITS = 2048;

/** Generates values of every type (reference create-env §3.5), and `user` in CredHub's shape. */
export function variableGenerator(now: () => Date): GenerateVariable {
  return async ({ type, options }, find) => {
    switch (type) {
      case 'password':
        return fromJson(randomPassword(passwordLength(new GenerationOptions(type, options, ['length']))));
      case 'certificate': {
        const read = readCertificateOptions(options);
        const ca = read.ca === undefined ? undefined : signingCa(read.ca, find(read.ca));
        return fromJson({ ...(await generateCertificate(read, ca, now())) });
      }
      case 'ssh':
        return fromJson(await sshValue());
      case 'rsa': {
        const pair = await generateRsaKeyPair(KEY_BITS);
        return fromJson({
          private_key: privateKeyPem(pair.privateKey),
          public_key: publicKeyPem(pair.publicKey),
        });
      }
      case 'user':
        return fromJson(userValue(new GenerationOptions(type, options, ['username', 'length'])));
      default:
        throw new GenerationError(`Unsupported value type: ${type}`);
    }
  };
}

async function sshValue(): Promise<Record<string, string>> {
  const pair = await generateRsaKeyPair(KEY_BITS);
  const publicKey = sshPublicKey(pair.publicKey);
  return {
    private_key: privateKeyPem(pair.privateKey),
    public_key: publicKey.line,
    public_key_fingerprint: publicKey.md5Fingerprint,
  };
}

function userValue(options: GenerationOptions): Record<string, string> {
  const password = randomPassword(passwordLength(options));
  const salt = randomBytes(12).toString('base64').replaceAll('+', '.');
  return {
    username: options.text('username') ?? randomPassword(20),
    password,
    password_hash: sha512Crypt(password, salt),
  };
}

function signingCa(name: string, value: YamlNode | undefined): SigningCa {
  const certificate = childOf(value, 'certificate');
  const privateKey = childOf(value, 'private_key');
  if (certificate?.kind !== 'scalar' || typeof certificate.value !== 'string') {
    throw new GenerationError(`Expected to find variable '${name}' with a certificate`);
  }
  if (privateKey?.kind !== 'scalar' || typeof privateKey.value !== 'string') {
    throw new GenerationError(`Expected to find variable '${name}' with a private key`);
  }
  return { certificate: certificate.value, privateKey: privateKey.value };
}
