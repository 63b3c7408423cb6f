import { createPrivateKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { messageOf } from '@microbosh/errors';
import { TunnelKeyUnusable } from '../errors.ts';

/**
 * The key in a form that the SSH library reads: OpenSSH's own and the older PEM forms as they are, PKCS #8, which OpenSSL
 * writes by default, in the older form of its kind. Any other is refused before anything is made.
 */
export async function tunnelKey(privateKey: string): Promise<string> {
  const { default: ssh2 } = await import('ssh2');
  const parsed = ssh2.utils.parseKey(privateKey);
  if (!(parsed instanceof Error)) return privateKey;
  const older = olderForm(privateKey);
  if (older !== undefined) return older;
  throw new TunnelKeyUnusable(`The private key of the SSH tunnel cannot be used: ${messageOf(parsed)}`, {
    advice:
      'Give a key without passphrase in the form of OpenSSH or PEM, as ssh-keygen writes it, and its public part to the cloud.',
  });
}

function olderForm(privateKey: string): string | undefined {
  let key: KeyObject;
  try {
    key = createPrivateKey(privateKey);
  } catch {
    return undefined;
  }
  const types = { rsa: 'pkcs1', ec: 'sec1' } as const;
  const kind = key.asymmetricKeyType;
  if (kind !== 'rsa' && kind !== 'ec') return undefined;
  return key.export({ type: types[kind], format: 'pem' }).toString();
}
