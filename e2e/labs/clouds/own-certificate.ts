import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NodeCommandRunner } from '@microbosh/host';

export interface OwnCertificate {
  readonly certificatePath: string;
  readonly keyPath: string;
  readonly cert: string;
  readonly key: string;
}

/** A certificate for this machine's loopback address that vouches for itself. */
export async function ownCertificate(work: string): Promise<OwnCertificate> {
  const [certificatePath, keyPath] = [join(work, 'lab.pem'), join(work, 'lab.key')];
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'];
  await new NodeCommandRunner().run([
    ...(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'] as const),
    ...['-nodes', '-days', '2', '-keyout', keyPath, '-out', certificatePath, ...subject],
  ]);
  const [cert, key] = [await readFile(certificatePath, 'utf8'), await readFile(keyPath, 'utf8')];
  return { certificatePath, keyPath, cert, key };
}
