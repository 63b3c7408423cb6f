import { isJsonObject, type Json, type JsonObject } from '@microbosh/errors';
import { createEnvManifestSchema } from './create-env-schema.ts';
import { microManifestSchema } from './micro-schema.ts';

const reference: JsonObject = { type: 'string', pattern: String.raw`^\(\( ?!?[^ ()]+ ?\)\)$` };

/**
 * The JSON Schema of a manifest for editors, generated from the definitions that validation uses. In a create-env
 * manifest a reference `((name))` may stand for any value.
 */
export function manifestJsonSchema(kind: 'create-env' | 'micro'): JsonObject {
  const schema: unknown = JSON.parse(
    JSON.stringify(kind === 'micro' ? microManifestSchema : createEnvManifestSchema),
  );
  if (!isJsonObject(schema)) throw new Error('a schema is an object');
  const root = isJsonObject(schema['properties']) ? schema['properties'] : {};
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    ...schema,
    properties: forEditors(root, kind === 'create-env'),
  };
}

/** Every property may be null (absent), and where `references` is set also a reference. */
function forEditors(properties: JsonObject, references: boolean): JsonObject {
  return Object.fromEntries(
    Object.entries(properties).map(([name, schema]) => [name, relax(schema, references)] as const),
  );
}

function relax(schema: Json, references: boolean): Json {
  if (!isJsonObject(schema) || schema['type'] === undefined) return schema;
  const { description, ...rest } = schema;
  const inner: JsonObject = {
    ...rest,
    ...(isJsonObject(rest['properties']) ? { properties: forEditors(rest['properties'], references) } : {}),
    ...(rest['items'] === undefined ? {} : { items: relax(rest['items'], references) }),
  };
  // Text already takes any string.
  const text = Array.isArray(schema['type']);
  return {
    ...(description === undefined ? {} : { description }),
    anyOf: [inner, ...(references && !text ? [reference] : []), { type: 'null' }],
  };
}
