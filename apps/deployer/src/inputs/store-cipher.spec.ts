import { VarsStore, emitYaml, parseYaml } from '@microbosh/spec/documents';
import { beforeAll, describe, expect, it } from 'vitest';
import { StoreCipher, isEncrypted, readVarsKey } from './store-cipher.ts';

const key = 'a key that is long enough';
const text = 'password: geheimes-wort\nname: größer\n';

/** Of 24 bytes per 32 characters, the one at `index` of the content. */
function flip(encrypted: string, index: number): string {
  const [header = '', body = ''] = encrypted.split('\n');
  const bytes = Buffer.from(body, 'base64');
  bytes.writeUInt8(bytes.readUInt8(index) ^ 1, index);
  return `${header}\n${bytes.toString('base64')}\n`;
}

describe('an encrypted vars-store', () => {
  let cipher: StoreCipher;
  let encrypted: string;

  // A key takes its time to derive, by design.
  beforeAll(async () => {
    cipher = await StoreCipher.create(key);
    encrypted = cipher.encrypt(text);
  });

  it('gives its text back for the same key', async () => {
    const opened = await StoreCipher.open(encrypted, key, 'creds.yml');

    expect(isEncrypted(encrypted)).toBe(true);
    expect(encrypted).not.toContain('geheim');
    expect(opened.text).toBe(text);
    expect((await StoreCipher.open(opened.cipher.encrypt('a: 1\n'), key, 'creds.yml')).text).toBe('a: 1\n');
  });

  it('is another text each time', async () => {
    const texts = [encrypted, cipher.encrypt(text), (await StoreCipher.create(key)).encrypt(text)];

    expect(new Set(texts).size).toBe(3);
  });

  it.each([
    ['no key', (whole: string) => whole, undefined, 'is encrypted, and no key is given'],
    ['another key', (whole: string) => whole, 'another key, long enough', 'the key is another one'],
    ['a changed salt', (whole: string) => flip(whole, 0), key, 'or the file is damaged'],
    ['a changed nonce', (whole: string) => flip(whole, 17), key, 'or the file is damaged'],
    ['a changed tag', (whole: string) => flip(whole, 30), key, 'or the file is damaged'],
    ['a changed text', (whole: string) => flip(whole, 50), key, 'or the file is damaged'],
    ['half a file', (whole: string) => whole.slice(0, 80), key, 'or the file is damaged'],
    ['nothing but the header', (whole: string) => whole.split('\n')[0] + '\n', key, 'or the file is damaged'],
  ])('is refused with %s', async (_name, change, given, says) => {
    const refused = StoreCipher.open(change(encrypted), given, 'creds.yml');

    await expect(refused).rejects.toMatchObject({
      code: 'E_VARS_KEY',
      message: expect.stringContaining(says) as string,
    });
    await expect(refused).rejects.not.toThrow(key);
  });

  it('is no store for a program that does not know it', async () => {
    const port = { file: 'creds.yml', load: async () => encrypted, save: async () => undefined };

    expect(parseYaml(encrypted, { file: 'creds.yml' }).kind).toBe('scalar');
    await expect(VarsStore.open(port)).rejects.toThrow('not a map');
    expect(isEncrypted(emitYaml(parseYaml(text, { file: 'creds.yml' })))).toBe(false);
  });
});

describe('the key', () => {
  it.each([
    [{}, undefined],
    [{ MICROBOSH_VARS_KEY: '', MICROBOSH_VARS_KEY_FILE: '' }, undefined],
    [{ MICROBOSH_VARS_KEY: key }, key],
  ])('of %j is %j', async (env, wanted) => {
    expect(await readVarsKey(env)).toBe(wanted);
  });

  it.each([
    [{ MICROBOSH_VARS_KEY: key, MICROBOSH_VARS_KEY_FILE: '/x' }, 'Both MICROBOSH_VARS_KEY and'],
    [{ MICROBOSH_VARS_KEY: 'short' }, 'is shorter than 16 characters'],
    [{ MICROBOSH_VARS_KEY_FILE: '/nowhere/at-all' }, 'cannot be read: ENOENT'],
  ])('is refused: %j', async (env, says) => {
    await expect(readVarsKey(env)).rejects.toThrow(says);
    await expect(readVarsKey(env)).rejects.toMatchObject({ code: 'E_VARS_KEY' });
  });
});
