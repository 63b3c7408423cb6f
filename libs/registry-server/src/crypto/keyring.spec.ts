import { describe, expect, it } from 'vitest';
import { formatKeyFile, newKeyMaterial, parseKeyFile } from './key-file.ts';
import { Keyring, sealContext } from './keyring.ts';

const material = newKeyMaterial(0);
const keyring = new Keyring(material);
const plain = Buffer.from('{"secret":1}');

describe('Keyring', () => {
  it('opens what it sealed, for the same instance and etag only', () => {
    const { keyId, sealed } = keyring.seal(plain, sealContext('vm-1', 'e1'));

    expect(Buffer.from(keyring.open(keyId, sealed, sealContext('vm-1', 'e1')))).toEqual(plain);
    expect(() => keyring.open(keyId, sealed, sealContext('vm-2', 'e1'))).toThrow(/does not open/);
    expect(() => keyring.open(keyId, sealed, sealContext('vm-1', 'e2'))).toThrow(/does not open/);
  });

  it('refuses every changed byte', () => {
    const { keyId, sealed } = keyring.seal(plain, 'c');
    for (let index = 0; index < sealed.length; index += 1) {
      const changed = Buffer.from(sealed);
      changed[index] = (changed[index] ?? 0) ^ 1;
      expect(() => keyring.open(keyId, changed, 'c')).toThrow(/does not open/);
    }
    expect(() => keyring.open(keyId, sealed.subarray(0, 5), 'c')).toThrow(/does not open/);
  });

  it('seals the same text differently each time', () => {
    expect(keyring.seal(plain, 'c').sealed).not.toEqual(keyring.seal(plain, 'c').sealed);
  });

  it('tells a missing key from a wrong one', () => {
    const other = new Keyring({
      active: material.active,
      keys: new Map([[material.active, Buffer.alloc(32)]]),
    });
    const { keyId, sealed } = keyring.seal(plain, 'c');

    expect(() => new Keyring(newKeyMaterial(1)).open(keyId, sealed, 'c')).toThrow(/does not have/);
    expect(() => other.open(keyId, sealed, 'c')).toThrow(/does not open/);
    expect(() => other.verifyCheck(keyId, keyring.makeCheck(keyId))).toThrow(/does not open/);
  });

  it('stores in clear only without keys', () => {
    expect(new Keyring(undefined).seal(plain, 'c')).toEqual({ keyId: 'none', sealed: plain });
  });
});

describe('a key file', () => {
  it('is read as it was written', () => {
    expect(parseKeyFile(formatKeyFile(material), 'f')).toEqual(material);
  });

  it.each([
    'not json "c2VjcmV0"',
    '{}',
    '{"version":2,"active":"k","keys":{}}',
    '{"version":1,"active":"k","keys":{}}',
    '{"version":1,"active":"k","keys":{"k":"c2hvcnQ="}}',
    `{"version":1,"active":"none","keys":{"none":"${Buffer.alloc(32).toString('base64')}"}}`,
  ])('is refused without showing it: %s', (text) => {
    expect(() => parseKeyFile(text, 'the file')).toThrow(/^the file/);
    expect(() => parseKeyFile(text, 'the file')).not.toThrow(/c2VjcmV0|c2hvcnQ/);
  });
});
