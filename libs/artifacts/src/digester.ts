import { createHash, type Hash } from 'node:crypto';
import { parseDigest, strongestDigest, type DigestAlgorithm } from '@microbosh/spec';
import { DigestMismatch } from './errors.ts';

/** Computes digests of a stream while something else consumes it. */
export class Digester {
  readonly #hashes: ReadonlyMap<DigestAlgorithm, Hash>;
  #sizeBytes = 0;
  #hex: Map<DigestAlgorithm, string> | undefined;

  constructor(algorithms: Iterable<DigestAlgorithm>) {
    this.#hashes = new Map([...new Set(algorithms)].map((algorithm) => [algorithm, createHash(algorithm)]));
  }

  /** Computes what is needed to verify a digest string, and SHA-256 as well. */
  static for(digest: string | undefined): Digester {
    return new Digester([...algorithmsOf(digest), 'sha256']);
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  update(chunk: Uint8Array): void {
    this.#sizeBytes += chunk.length;
    for (const hash of this.#hashes.values()) hash.update(chunk);
  }

  /** Ends the computation. undefined: not computed. */
  hex(algorithm: DigestAlgorithm): string | undefined {
    this.#hex ??= new Map([...this.#hashes].map(([name, hash]) => [name, hash.digest('hex')]));
    return this.#hex.get(algorithm);
  }

  /** `sha256:<hex>`, the form of every digest that this program makes. */
  get sha256(): string {
    return `sha256:${this.hex('sha256') ?? ''}`;
  }

  /** Throws DigestMismatch unless the strongest digest of the string is that of the content. */
  verify(digest: string, what: string, advice: string): void {
    const expected = strongestDigest(parseDigest(digest));
    const actual = this.hex(expected.algorithm);
    if (actual === expected.hex) return;
    throw new DigestMismatch(
      `${what} has the ${expected.algorithm} digest ${actual ?? 'not computed'}, expected ${expected.hex}.`,
      {
        advice,
        details: { algorithm: expected.algorithm, expected: expected.hex, actual: actual ?? null },
      },
    );
  }
}

/** Algorithms that verifying a digest string takes: one, or none when there is no digest. */
export function algorithmsOf(digest: string | undefined): DigestAlgorithm[] {
  if (digest === undefined || digest.trim() === '') return [];
  return [strongestDigest(parseDigest(digest)).algorithm];
}
