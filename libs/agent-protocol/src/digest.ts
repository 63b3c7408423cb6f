import { createHash, type Hash } from 'node:crypto';
import { OperationalError } from '@microbosh/errors';

export type DigestAlgorithm = 'sha1' | 'sha256' | 'sha512';

/** Weakest first. */
const algorithms: readonly DigestAlgorithm[] = ['sha1', 'sha256', 'sha512'];
const hexLength: Readonly<Record<DigestAlgorithm, number>> = { sha1: 40, sha256: 64, sha512: 128 };

export class DigestInvalid extends OperationalError {
  readonly code = 'E_DIGEST_INVALID';
}

export class DigestMismatch extends OperationalError {
  readonly code = 'E_DIGEST_MISMATCH';
  override readonly retryable = true;
}

/** The digests of one content: algorithm → lower-case hex. Unknown algorithms are kept, but never verified. */
export type Digest = ReadonlyMap<string, string>;

/**
 * Reads a digest string: `<hex>` or `sha1:<hex>` is SHA-1; several are joined by `;`. Empty parts are skipped; nothing
 * left, or the same algorithm twice, is an error. Texts as the Go agent's.
 *
 * @example "da39a3ee5e6b4b0d3255bfef95601890afd80709;sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
 */
export function parseDigest(text: string): Digest {
  const digests = new Map<string, string>();
  for (const part of text.split(';')) {
    const trimmed = part.trim();
    if (trimmed === '') continue;
    const match = /^(?:([A-Za-z0-9]+):)?([A-Za-z0-9]+)$/.exec(trimmed);
    if (!match?.[2]) {
      throw new DigestInvalid(`Unable to parse one digest of '${text}'`, {
        advice: 'A digest is <hex>, sha1:<hex>, sha256:<hex> or sha512:<hex>, several joined by ";".',
      });
    }
    const algorithm = (match[1] ?? 'sha1').toLowerCase();
    if (digests.has(algorithm)) {
      throw new DigestInvalid(
        `Multiple digests of the same algorithm '${algorithm}' found in digests '${text}'`,
      );
    }
    digests.set(algorithm, match[2].toLowerCase());
  }
  if (digests.size === 0) throw noAlgorithm();
  return digests;
}

/** The strongest algorithm of a digest that can be verified. */
export function strongestAlgorithm(digest: Digest): DigestAlgorithm {
  const found = algorithms.findLast((algorithm) => digest.has(algorithm));
  if (!found) throw noAlgorithm();
  return found;
}

export function formatDigest(algorithm: DigestAlgorithm, hex: string): string {
  return algorithm === 'sha1' ? hex : `${algorithm}:${hex}`;
}

/** Hashes a content while it streams by; `verify` compares with the strongest digest that is present. */
export class DigestVerifier {
  readonly #expected: string;
  readonly #algorithm: DigestAlgorithm;
  readonly #hash: Hash;

  constructor(digest: string | Digest) {
    const parsed = typeof digest === 'string' ? parseDigest(digest) : digest;
    this.#algorithm = strongestAlgorithm(parsed);
    this.#expected = parsed.get(this.#algorithm) ?? '';
    this.#hash = createHash(this.#algorithm);
  }

  update(chunk: Uint8Array): void {
    this.#hash.update(chunk);
  }

  /** Throws DigestMismatch; call once, at the end. */
  verify(what: string): void {
    const actual = this.#hash.digest('hex');
    if (this.#expected.length === hexLength[this.#algorithm] && actual === this.#expected) return;
    throw new DigestMismatch(
      `Expected ${what} to have digest '${formatDigest(this.#algorithm, this.#expected)}' but was '${formatDigest(this.#algorithm, actual)}'`,
      { advice: 'The content was changed or cut on its way; upload it again.' },
    );
  }
}

function noAlgorithm(): DigestInvalid {
  return new DigestInvalid('no digest algorithm found. Supported algorithms: sha1, sha256, sha512');
}
