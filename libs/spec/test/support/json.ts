import type { Json } from '@microbosh/errors';

/** A generated value as it is after a journey through JSON. */
export function asJson(value: unknown): Json {
  return JSON.parse(JSON.stringify(value)) as Json;
}
