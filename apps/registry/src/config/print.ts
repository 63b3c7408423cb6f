import type { TSchema } from 'typebox';
import { isJsonObject } from '@microbosh/errors';
import type { Json, JsonObject } from '@microbosh/errors';
import { emitYaml, fromJson } from '@microbosh/spec/documents';
import { ConfigDocument } from './schema.ts';

const SECRET = /^(password|password_hash|api_key|secret_access_key)$/;
/** Sections whose absence means their defaults; the absence of any other one means that it is off. */
const ALWAYS_SHOWN = /^(encryption|settings|http\.limits|http\.failed_logins)$/;

/** The configuration file with its defaults filled in; secrets masked. */
export function printConfig(document: JsonObject): string {
  return emitYaml(fromJson(complete(ConfigDocument, document, '')));
}

function complete(schema: TSchema, value: Json | undefined, place: string): Json {
  if (Array.isArray(value)) {
    const items: unknown = 'items' in schema ? schema.items : undefined;
    return value.map((one: Json) => (isSchema(items) ? complete(items, one, place) : one));
  }
  if (value !== undefined && !isJsonObject(value)) return value;
  const result: Record<string, Json> = {};
  for (const [key, property] of Object.entries(propertiesOf(schema))) {
    const given = value?.[key];
    const path = place === '' ? key : `${place}.${key}`;
    if (!isSchema(property)) continue;
    if (given !== undefined) result[key] = SECRET.test(key) ? '<redacted>' : complete(property, given, path);
    else if ('default' in property) result[key] = property.default as Json;
    else if (ALWAYS_SHOWN.test(path)) result[key] = complete(property, undefined, path);
  }
  return result;
}

/** The properties of an object schema, or of the object among the alternatives. */
export function propertiesOf(schema: TSchema): Readonly<Record<string, unknown>> {
  if ('properties' in schema && isRecord(schema.properties)) return schema.properties;
  const alternatives: readonly unknown[] =
    'anyOf' in schema && Array.isArray(schema.anyOf) ? schema.anyOf : [];
  const found = alternatives.find((one) => isRecord(one) && 'properties' in one);
  return isRecord(found) && isRecord(found.properties) ? found.properties : {};
}

export function isSchema(value: unknown): value is TSchema {
  return isRecord(value);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
