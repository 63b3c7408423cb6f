import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { DigestVerifier, parseDigest, strongestAlgorithm } from './digest.ts';

const content = Buffer.from('hello');
const hex = (algorithm: string) => createHash(algorithm).update(content).digest('hex');

function verify(digest: string): void {
  const verifier = new DigestVerifier(digest);
  verifier.update(content);
  verifier.verify('the blob');
}

describe('parseDigest', () => {
  it('takes a bare digest for SHA-1', () => {
    expect([...parseDigest(hex('sha1')).keys()]).toEqual(['sha1']);
  });

  it.each([
    ['', /no digest algorithm found. Supported algorithms: sha1, sha256, sha512/],
    [' ; ', /no digest algorithm found/],
    ['sha1:ab;ab', /Multiple digests of the same algorithm 'sha1' found in digests/],
    ['sha256:a:b', /Unable to parse/],
    ['sha256:', /Unable to parse/],
  ])('refuses %j', (text, problem) => {
    expect(() => parseDigest(text)).toThrow(problem);
  });

  it('keeps unknown algorithms, which fail only when nothing known is there', () => {
    expect(strongestAlgorithm(parseDigest(`md9:aa;${hex('sha1')}`))).toBe('sha1');
    expect(() => strongestAlgorithm(parseDigest('md9:aa'))).toThrow(/no digest algorithm found/);
  });
});

describe('DigestVerifier', () => {
  it.each(['sha1', 'sha256', 'sha512'])('accepts a right %s', (algorithm) => {
    expect(() => verify(`${algorithm}:${hex(algorithm)}`)).not.toThrow();
  });

  it('believes the strongest digest only', () => {
    expect(() => verify(`0000;sha256:${hex('sha256')}`)).not.toThrow();
    expect(() => verify(`${hex('sha1')};sha256:0000`)).toThrow(
      /Expected the blob to have digest 'sha256:0000'/,
    );
  });
});
