import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DigestInvalid, digestAlgorithms, formatDigest, parseDigest, strongestDigest } from './digest.ts';

const sha1 = 'a'.repeat(40);

/** Rows are the rules of reference create-env §6.1. */
describe('digest strings', () => {
  it.each([
    [sha1, [['sha1', sha1]]],
    [`sha1:${sha1}`, [['sha1', sha1]]],
    ['sha256:abc', [['sha256', 'abc']]],
    [
      `${sha1};sha256:abc`,
      [
        ['sha1', sha1],
        ['sha256', 'abc'],
      ],
    ],
    [`;;sha256:abc;`, [['sha256', 'abc']]],
    ['sha512:ABC', [['sha512', 'ABC']]],
    ['blake2:abc', [['blake2', 'abc']]],
  ])('%s', (text, wanted) => {
    expect(parseDigest(text).map(({ algorithm, hex }) => [algorithm, hex])).toEqual(wanted);
  });

  it.each(['', ';', 'sha256:', ':abc', 'sha256:a:b', 'a b', `${sha1};sha1:${sha1}`, 'sha256:é'])(
    'refuses %j',
    (text) => {
      expect(() => parseDigest(text)).toThrow(DigestInvalid);
    },
  );

  it('verifies the strongest that is known', () => {
    expect(strongestDigest(parseDigest('abc;sha512:d;sha256:e;blake2:f'))).toEqual({
      algorithm: 'sha512',
      hex: 'd',
    });
    expect(strongestDigest(parseDigest('abc;sha256:e'))).toEqual({ algorithm: 'sha256', hex: 'e' });
    expect(() => strongestDigest(parseDigest('blake2:f'))).toThrow('No supported digest algorithm');
  });

  it('reads back what it wrote', () => {
    const one = fc.record({
      algorithm: fc.constantFrom(...digestAlgorithms),
      hex: fc.stringMatching(/^[0-9a-f]{1,64}$/),
    });
    fc.assert(
      fc.property(
        fc.uniqueArray(one, { minLength: 1, selector: ({ algorithm }) => algorithm }),
        (digests) => {
          expect(parseDigest(formatDigest(digests))).toEqual(digests);
        },
      ),
    );
  });

  it('answers any text with digests or DigestInvalid', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('a', '1', ':', ';', ' ', 's', 'é', '-') }), (text) => {
        try {
          expect(parseDigest(text).length).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(DigestInvalid);
        }
      }),
    );
  });
});
