import { isJsonObject, type Json, type JsonObject } from '@microbosh/errors';

/** The value of `key`, matched in any case as Go's decoder does; null counts as absent. */
export function valueOf(object: JsonObject, key: string): Json | undefined {
  if (Object.hasOwn(object, key)) return object[key] ?? undefined;
  const wanted = key.toLowerCase();
  const found = Object.keys(object).find((candidate) => candidate.toLowerCase() === wanted);
  return found === undefined ? undefined : (object[found] ?? undefined);
}

export function objectOf(object: JsonObject | undefined, key: string): JsonObject | undefined {
  const value = object === undefined ? undefined : valueOf(object, key);
  return isJsonObject(value) ? value : undefined;
}

export function stringOf(object: JsonObject | undefined, key: string): string | undefined {
  const value = object === undefined ? undefined : valueOf(object, key);
  return typeof value === 'string' && value !== '' ? value : undefined;
}

export function stringsOf(object: JsonObject | undefined, key: string): readonly string[] | undefined {
  const value = object === undefined ? undefined : valueOf(object, key);
  if (!Array.isArray(value)) return undefined;
  return value.filter((item: Json): item is string => typeof item === 'string');
}
