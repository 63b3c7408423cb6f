import Type from 'typebox';
import { Check, Errors } from 'typebox/value';
import type { Static, TSchema } from 'typebox';

export const MintTokenBody = Type.Object(
  {
    /** Not given: the token does not expire. */
    ttl_seconds: Type.Optional(Type.Integer({ minimum: 1, maximum: 10 * 365 * 86_400 })),
    /** Not given: any number of confirmed reads. */
    max_reads: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000 })),
    /** SHA-256 of a token that the caller made itself. */
    token_sha256: Type.Optional(Type.String({ pattern: '^[0-9a-f]{64}$' })),
  },
  { additionalProperties: false },
);

export const LeaseBody = Type.Object(
  {
    owner: Type.String({ minLength: 1, maxLength: 255 }),
    ttl_seconds: Type.Integer({ minimum: 1, maximum: 86_400 }),
    nonce: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9_-]{16,128}$' })),
    exclusive: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false },
);

export const ExpireBody = Type.Object(
  {
    older_than_seconds: Type.Integer({ minimum: 60 }),
    dry_run: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false },
);

export type Parsed<T> = { readonly value: T } | { readonly problem: string };

/** Parses a JSON body. No body is an empty object. The problem names the place, never the value. */
export function parseBody<S extends TSchema>(schema: S, body: unknown): Parsed<Static<S>> {
  let value: unknown;
  try {
    value =
      body instanceof Uint8Array && body.length > 0 ? JSON.parse(Buffer.from(body).toString('utf8')) : {};
  } catch {
    return { problem: 'The body is not JSON.' };
  }
  if (isOf(schema, value)) return { value };
  const [first] = Errors(schema, value);
  return {
    problem: `The body does not fit: ${first ? `${first.instancePath || '/'} ${first.message}` : 'wrong form'}.`,
  };
}

function isOf<S extends TSchema>(schema: S, value: unknown): value is Static<S> {
  return Check(schema, value);
}
