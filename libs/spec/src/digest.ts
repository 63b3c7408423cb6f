import { OperationalError } from '@microbosh/errors';

/** A digest string (fields named `sha1`) is malformed. */
export class DigestInvalid extends OperationalError {
  readonly code = 'E_DIGEST_INVALID';
}

/** Strongest first. */
export const digestAlgorithms = ['sha512', 'sha256', 'sha1'] as const;
export type DigestAlgorithm = (typeof digestAlgorithms)[number];

export interface Digest {
  /** One of `digestAlgorithms`, or a name that this program does not know. */
  readonly algorithm: string;
  readonly hex: string;
}

/**
 * Reads a digest string: plain hex (SHA-1) or `algorithm:hex`, several joined by `;`
 * (reference create-env §6.1). Example: `sha1:a9993e36…;sha256:ba7816bf…`. Throws `DigestInvalid`.
 */
export function parseDigest(text: string): readonly Digest[] {
  const digests = text
    .split(';')
    .map((piece) => piece.trim())
    .filter((piece) => piece !== '')
    .map((piece) => parseOne(piece, text));
  if (digests.length === 0)
    throw invalid(text, 'No digest algorithm found. Supported algorithms: sha1, sha256, sha512');
  const seen = new Set<string>();
  for (const { algorithm } of digests) {
    if (seen.has(algorithm)) throw invalid(text, `Multiple digests of the algorithm '${algorithm}' found`);
    seen.add(algorithm);
  }
  return digests;
}

/** The digest that is verified. Throws `DigestInvalid` when no algorithm is known. */
export function strongestDigest(digests: readonly Digest[]): { algorithm: DigestAlgorithm; hex: string } {
  for (const algorithm of digestAlgorithms) {
    const found = digests.find((digest) => digest.algorithm === algorithm);
    if (found !== undefined) return { algorithm, hex: found.hex };
  }
  const names = digests.map(({ algorithm }) => algorithm).join(', ');
  throw new DigestInvalid(`No supported digest algorithm among: ${names}`, {
    advice: 'Give a sha1, sha256 or sha512 digest.',
  });
}

export function formatDigest(digests: readonly Digest[]): string {
  return digests.map(({ algorithm, hex }) => (algorithm === 'sha1' ? hex : `${algorithm}:${hex}`)).join(';');
}

function parseOne(piece: string, text: string): Digest {
  const match = /^(?:([0-9A-Za-z]+):)?([0-9A-Za-z]+)$/.exec(piece);
  if (match?.[2] === undefined) throw invalid(text, `Unable to parse digest '${piece}'`);
  return { algorithm: match[1] ?? 'sha1', hex: match[2] };
}

function invalid(text: string, problem: string): DigestInvalid {
  return new DigestInvalid(problem, {
    details: { digest: text.slice(0, 300) },
    advice: 'A digest is 40 hex digits (SHA-1) or sha256:<hex> or sha512:<hex>; join several with ";".',
  });
}
