import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import ssh2 from 'ssh2';
import { describe, expect, it } from 'vitest';
import { tunnelKey } from './tunnel-key.ts';

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const ed25519 = generateKeyPairSync('ed25519').privateKey;

describe('tunnelKey', () => {
  it.each([
    ['RSA', rsa],
    ['elliptic curve', ec],
  ])('turns PKCS #8 (%s) into what the SSH library reads, the same key', async (_kind, key) => {
    const pem = key.export({ type: 'pkcs8', format: 'pem' }).toString();
    expect(ssh2.utils.parseKey(pem)).toBeInstanceOf(Error);

    const usable = await tunnelKey(pem);

    expect(ssh2.utils.parseKey(usable)).not.toBeInstanceOf(Error);
    expect(createPrivateKey(usable).equals(key)).toBe(true);
  });

  it('leaves what the library reads as it is', async () => {
    const pem = rsa.export({ type: 'pkcs1', format: 'pem' }).toString();
    expect(await tunnelKey(pem)).toBe(pem);
  });

  it.each([
    ['no key', 'secret text'],
    [
      'a key with passphrase',
      rsa.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'p' }),
    ],
    ['PKCS #8 of a kind that has no older form', ed25519.export({ type: 'pkcs8', format: 'pem' })],
  ])('refuses %s, and does not quote it', async (_what, text) => {
    const failure = await tunnelKey(text.toString()).catch((error: unknown) => error);

    expect(failure).toMatchObject({ code: 'E_TUNNEL_KEY_UNUSABLE' });
    expect(String(failure)).not.toContain(text.toString().trim().split('\n').at(-2) ?? 'secret text');
    expect(String(failure)).not.toContain('secret text');
  });
});
