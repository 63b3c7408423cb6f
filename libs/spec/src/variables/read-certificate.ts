import { X509Certificate } from 'node:crypto';
import { parseIp } from '../ip-address.ts';
import type { ExtendedKeyUsageName, KeyUsageName } from './generate/certificate-options.ts';

/** What a certificate says, in the words of the options that it could have been generated from. */
export interface CertificateFacts {
  readonly commonName: string;
  readonly organization: string;
  readonly alternativeNames: readonly string[];
  readonly isCa: boolean;
  readonly extendedKeyUsage: readonly string[];
  readonly keyUsage: readonly KeyUsageName[];
  readonly keyLength: number | undefined;
  readonly durationDays: number;
  readonly notAfter: Date;
}

const DAY_MS = 86_400_000;
const extendedNames: Readonly<Record<string, ExtendedKeyUsageName>> = {
  '1.3.6.1.5.5.7.3.1': 'server_auth',
  '1.3.6.1.5.5.7.3.2': 'client_auth',
};
const keyUsageByBit: readonly KeyUsageName[] = [
  'digital_signature',
  'non_repudiation',
  'key_encipherment',
  'data_encipherment',
  'key_agreement',
  'key_cert_sign',
  'crl_sign',
  'encipher_only',
  'decipher_only',
];

/** undefined when the text is no certificate. */
export function readCertificate(pem: string): CertificateFacts | undefined {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(pem);
  } catch {
    return undefined;
  }
  const notBefore = new Date(certificate.validFrom);
  const notAfter = new Date(certificate.validTo);
  return {
    commonName: subjectField(certificate.subject, 'CN'),
    organization: subjectField(certificate.subject, 'O'),
    alternativeNames: alternativeNames(certificate.subjectAltName ?? ''),
    isCa: certificate.ca,
    extendedKeyUsage: extendedKeyUsages(certificate).map((oid) => extendedNames[oid] ?? oid),
    keyUsage: keyUsages(certificate.raw),
    keyLength: certificate.publicKey.asymmetricKeyDetails?.modulusLength,
    durationDays: Math.round((notAfter.getTime() - notBefore.getTime()) / DAY_MS),
    notAfter,
  };
}

/** Whether the CA's key made the certificate's signature. */
export function isSignedBy(pem: string, caPem: string): boolean {
  try {
    return new X509Certificate(pem).verify(new X509Certificate(caPem).publicKey);
  } catch {
    return false;
  }
}

/** One spelling per address. */
export function normalName(name: string): string {
  const address = parseIp(name);
  return address === undefined ? name.toLowerCase() : `ip:${address.family}:${address.value}`;
}

function subjectField(subject: string, field: string): string {
  const line = subject.split('\n').find((candidate) => candidate.startsWith(`${field}=`));
  return line === undefined ? '' : line.slice(field.length + 1);
}

function alternativeNames(text: string): string[] {
  return text
    .split(', ')
    .map((entry) => entry.replace(/^(?:DNS|IP Address):/, ''))
    .filter((entry) => entry !== '');
}

/** Node calls the extended usages `keyUsage`; absent for certificates without the extension. */
function extendedKeyUsages(certificate: X509Certificate): readonly string[] {
  const usages: unknown = certificate.keyUsage;
  return Array.isArray(usages) ? usages.filter((usage): usage is string => typeof usage === 'string') : [];
}

/** The bits of the keyUsage extension (2.5.29.15), which Node does not show. */
function keyUsages(der: Buffer): KeyUsageName[] {
  const oid = der.indexOf(Buffer.from('0603551d0f', 'hex'));
  if (oid === -1) return [];
  let at = oid + 5;
  // critical: BOOLEAN TRUE
  if (der[at] === 0x01) at += 3;
  // OCTET STRING around BIT STRING: 04 len 03 len unused bits…
  if (der[at] !== 0x04 || der[at + 2] !== 0x03) return [];
  const bits = der.subarray(at + 5, at + 4 + (der[at + 3] ?? 0));
  return keyUsageByBit.filter((_, bit) => ((bits[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0);
}
