import {
  createHash,
  createPrivateKey,
  createPublicKey,
  randomBytes,
  webcrypto,
  type KeyObject,
} from 'node:crypto';
import { messageOf } from '@microbosh/errors';
import type * as X509Library from '@peculiar/x509';
import { parseIp } from '../../ip-address.ts';
import type { CertificateOptions, KeyUsageName } from './certificate-options.ts';
import { GenerationError } from './generation-error.ts';
import { generateRsaKeyPair, privateKeyPem, rsaNumbers } from './rsa-keys.ts';

export interface CertificateValue {
  readonly ca: string;
  readonly certificate: string;
  readonly private_key: string;
}

/** The signing certificate and its key, PEM. */
export interface SigningCa {
  readonly certificate: string;
  readonly privateKey: string;
}

const DAY_MS = 86_400_000;
const signing = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
const serverAuth = '1.3.6.1.5.5.7.3.1';
const clientAuth = '1.3.6.1.5.5.7.3.2';

/** Bits of the keyUsage extension, RFC 5280 §4.2.1.3. */
const keyUsageBits: Readonly<Record<KeyUsageName, number>> = {
  digital_signature: 1,
  non_repudiation: 2,
  key_encipherment: 4,
  data_encipherment: 8,
  key_agreement: 16,
  key_cert_sign: 32,
  crl_sign: 64,
  encipher_only: 128,
  decipher_only: 256,
};

/**
 * A new RSA key and a certificate for it, signed by `ca` or by itself. Fields as in reference create-env §3.5.
 * The certificate is valid from `now` on.
 */
export async function generateCertificate(
  options: CertificateOptions,
  ca: SigningCa | undefined,
  now: Date,
): Promise<CertificateValue> {
  // Loaded only when something is generated: most runs find every value in the store.
  // The X.509 library wants the polyfill to be there before it.
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  const pair = await generateRsaKeyPair(options.keyLength);
  const keyId = keyIdentifier(pair.publicKey);
  const signer = ca === undefined ? undefined : openSigner(x509, ca);
  const subject: Record<string, string[]>[] = [{ C: ['US'] }, { O: [options.organization] }];
  if (options.commonName !== '') subject.push({ CN: [options.commonName] });
  const extensions = [
    new x509.KeyUsagesExtension(
      options.keyUsage.reduce((bits, name) => bits | keyUsageBits[name], 0),
      true,
    ),
    ...(options.extendedKeyUsage.length === 0
      ? []
      : [
          new x509.ExtendedKeyUsageExtension(
            options.extendedKeyUsage.map((name) => (name === 'server_auth' ? serverAuth : clientAuth)),
          ),
        ]),
    new x509.BasicConstraintsExtension(options.isCa, undefined, true),
    new x509.SubjectKeyIdentifierExtension(keyId),
    new x509.AuthorityKeyIdentifierExtension(signer?.keyId ?? keyId),
    ...(options.alternativeNames.length === 0
      ? []
      : [
          new x509.SubjectAlternativeNameExtension(
            options.alternativeNames.map((value) => ({
              type: parseIp(value) === undefined ? 'dns' : 'ip',
              value,
            })),
          ),
        ]),
  ];
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: randomBytes(16).toString('hex'),
    subject: new x509.Name(subject),
    issuer: signer?.subject ?? new x509.Name(subject),
    notBefore: now,
    notAfter: new Date(now.getTime() + options.durationDays * DAY_MS),
    signingAlgorithm: signing,
    publicKey: await importPublic(pair.publicKey),
    signingKey: await importPrivate(signer?.privateKey ?? pair.privateKey),
    extensions,
  });
  const pem = withNewline(certificate.toString('pem'));
  return {
    ca: ca === undefined ? pem : withNewline(ca.certificate),
    certificate: pem,
    private_key: privateKeyPem(pair.privateKey),
  };
}

type X509 = typeof X509Library;

function openSigner(
  x509: X509,
  ca: SigningCa,
): { readonly subject: InstanceType<X509['Name']>; readonly keyId: string; readonly privateKey: KeyObject } {
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey(ca.privateKey);
  } catch {
    // The library's message could quote the key.
    throw new GenerationError('Parsing private key: the CA has no readable private key');
  }
  if (privateKey.asymmetricKeyType !== 'rsa')
    throw new GenerationError('Parsing private key: the CA key is not RSA');
  try {
    const certificate = new x509.X509Certificate(ca.certificate);
    const extension = certificate.getExtension(x509.SubjectKeyIdentifierExtension);
    return {
      subject: certificate.subjectName,
      keyId: extension?.keyId ?? keyIdentifier(createPublicKey(privateKey)),
      privateKey,
    };
  } catch (error) {
    throw new GenerationError(`Parsing certificate: ${messageOf(error)}`);
  }
}

/** SHA-1 of the modulus, as create-env computes it. */
function keyIdentifier(publicKey: KeyObject): string {
  return createHash('sha1').update(rsaNumbers(publicKey).modulus).digest('hex');
}

function importPublic(key: KeyObject): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey('spki', key.export({ type: 'spki', format: 'der' }), signing, true, [
    'verify',
  ]);
}

function importPrivate(key: KeyObject): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey('pkcs8', key.export({ type: 'pkcs8', format: 'der' }), signing, false, [
    'sign',
  ]);
}

function withNewline(text: string): string {
  return text.endsWith('\n') ? text : `${text}\n`;
}
