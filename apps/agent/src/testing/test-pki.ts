import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Pair {
  readonly certificate: string;
  readonly privateKey: string;
}

export interface TestAuthority {
  readonly certificate: string;
  issue(commonName: string, alternativeNames?: string): Pair;
  dispose(): void;
}

/** An authority of its own, for tests that need certificates of both sides. */
export function createAuthority(name: string): TestAuthority {
  const dir = mkdtempSync(join(tmpdir(), 'pki-'));
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: dir, stdio: 'ignore' });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl(
    'req',
    '-x509',
    ...newKey,
    '-days',
    '2',
    '-subj',
    `/CN=${name}`,
    '-keyout',
    'ca.key',
    '-out',
    'ca.crt',
  );
  return {
    certificate: readFileSync(join(dir, 'ca.crt'), 'utf8'),
    issue: (commonName, alternativeNames = 'IP:127.0.0.1') => {
      writeFileSync(join(dir, 'ext'), `subjectAltName=${alternativeNames}\n`);
      openssl('req', ...newKey, '-subj', `/CN=${commonName}`, '-keyout', 'leaf.key', '-out', 'leaf.csr');
      openssl(
        ...['x509', '-req', '-in', 'leaf.csr', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial'],
        ...['-days', '2', '-extfile', 'ext', '-out', 'leaf.crt'],
      );
      return {
        certificate: readFileSync(join(dir, 'leaf.crt'), 'utf8'),
        privateKey: readFileSync(join(dir, 'leaf.key'), 'utf8'),
      };
    },
    dispose: () => rmSync(dir, { recursive: true, force: true }),
  };
}
