import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

const KEY = { name: 'ECDSA', namedCurve: 'P-256' };
const SIGNATURE = { name: 'ECDSA', hash: 'SHA-256' };
const DAY_MS = 86_400_000;

export interface IssuedCertificate {
  readonly certificate: string;
  readonly privateKey: string;
}

/** A CA of a test, and what it signs. */
export class TestCa {
  readonly certificate: string;
  readonly #signer: x509.X509Certificate;
  readonly #key: webcrypto.CryptoKey;

  private constructor(signer: x509.X509Certificate, key: webcrypto.CryptoKey) {
    this.#signer = signer;
    this.#key = key;
    this.certificate = signer.toString('pem');
  }

  static async create(): Promise<TestCa> {
    x509.cryptoProvider.set(webcrypto);
    const keys = await newKeys();
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      name: 'CN=test CA',
      keys,
      notBefore: new Date(Date.now() - DAY_MS),
      notAfter: new Date(Date.now() + DAY_MS),
      signingAlgorithm: SIGNATURE,
      extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
    });
    return new TestCa(certificate, keys.privateKey);
  }

  /** `addresses` are the IP addresses and DNS names that the certificate stands for. */
  async issue(commonName: string, addresses: readonly string[] = ['127.0.0.1']): Promise<IssuedCertificate> {
    const keys = await newKeys();
    const certificate = await x509.X509CertificateGenerator.create({
      subject: `CN=${commonName}`,
      issuer: this.#signer.subject,
      notBefore: new Date(Date.now() - DAY_MS),
      notAfter: new Date(Date.now() + DAY_MS),
      publicKey: keys.publicKey,
      signingKey: this.#key,
      signingAlgorithm: SIGNATURE,
      extensions: [
        new x509.SubjectAlternativeNameExtension(
          addresses.map((address) => ({ type: /[a-z]/.test(address) ? 'dns' : 'ip', value: address })),
        ),
      ],
    });
    const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
    return {
      certificate: certificate.toString('pem'),
      privateKey: `-----BEGIN PRIVATE KEY-----\n${pkcs8.replace(/(.{64})/g, '$1\n').trimEnd()}\n-----END PRIVATE KEY-----\n`,
    };
  }
}

async function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(KEY, true, ['sign', 'verify']);
}
