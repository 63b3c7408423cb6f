import type { CommandRunner } from '@microbosh/host';
import { retry, writeFileDurably } from '@microbosh/host';
import { mkdir, readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';

const directory = '/usr/local/share/ca-certificates';
const prefix = 'bosh-trusted-cert-';

/** The certificates in a bundle; text between them is dropped. */
export function splitBundle(bundle: string): readonly string[] {
  return [...bundle.matchAll(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g)].map(
    ([pem]) => `${pem}\n`,
  );
}

/** Makes the machine trust exactly the certificates of a bundle, beside those of its distribution; empty: none. */
export async function installTrustedCertificates(runner: CommandRunner, bundle: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  const certificates = splitBundle(bundle);
  const wanted = new Set(certificates.map((_, index) => `${prefix}${index + 1}.crt`));
  for (const name of await readdir(directory)) {
    if (name.startsWith(prefix) && !wanted.has(name)) await unlink(join(directory, name));
  }
  for (const [index, pem] of certificates.entries()) {
    await writeFileDurably(join(directory, `${prefix}${index + 1}.crt`), pem, { mode: 0o644 });
  }
  await retry({ attempts: 3, delayMs: 1000 }, () =>
    runner.run(['update-ca-certificates', '-f'], { timeoutMs: 60_000 }),
  );
}
