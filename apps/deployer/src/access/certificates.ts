import { generateCertificate } from '@microbosh/spec';
import type { CertificateValue } from '@microbosh/spec';

/** As long as an environment may live without being deployed again. */
export const validityDays = 3650;

const common = { organization: 'microbosh', durationDays: validityDays, keyLength: 2048 } as const;

/** An authority of one deployment, for one purpose. */
export function makeCa(commonName: string, now: Date): Promise<CertificateValue> {
  return generateCertificate(
    {
      ...common,
      commonName,
      alternativeNames: [],
      isCa: true,
      ca: undefined,
      extendedKeyUsage: [],
      keyUsage: ['key_cert_sign', 'crl_sign'],
    },
    undefined,
    now,
  );
}

/** For a server at exactly one address or name. */
export function makeServerCertificate(
  ca: Pick<CertificateValue, 'certificate' | 'private_key'>,
  host: string,
  now: Date,
): Promise<CertificateValue> {
  return generateCertificate(
    {
      ...common,
      commonName: host,
      alternativeNames: [host],
      isCa: false,
      ca: 'ca',
      extendedKeyUsage: ['server_auth'],
      keyUsage: ['key_encipherment', 'digital_signature'],
    },
    { certificate: ca.certificate, privateKey: ca.private_key },
    now,
  );
}
