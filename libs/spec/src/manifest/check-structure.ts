import type { TSchema } from 'typebox';
import { childPath } from '../ops/apply-operation.ts';
import { scalarText } from '../yaml/emit-yaml.ts';
import { isNull, positionOf, type YamlMapping, type YamlNode } from '../yaml/yaml-node.ts';
import type { ManifestProblem } from './manifest-problem.ts';
import { suggest } from './suggest.ts';

/** The part of JSON Schema that the document schemas use. */
interface SchemaView {
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, TSchema>>;
  readonly items?: TSchema;
  readonly additionalProperties?: boolean;
}

/**
 * Compares the shape of a document with its schema: kinds of nodes are errors, unknown keys warnings with a
 * suggestion. Null counts as absent everywhere.
 */
export function checkStructure(root: YamlNode, schema: TSchema): ManifestProblem[] {
  const problems: ManifestProblem[] = [];
  walk(root, viewOf(schema), '', problems);
  return problems;
}

function viewOf(schema: TSchema): SchemaView {
  return schema;
}

function walk(node: YamlNode, schema: SchemaView, path: string, problems: ManifestProblem[]): void {
  if (isNull(node) && path !== '') return;
  const expected = schema.type;
  if (expected === undefined) return;
  if (expected === 'object') {
    if (node.kind !== 'mapping') mismatch(node, 'a map', path, problems);
    else if (schema.additionalProperties === false)
      walkKnownKeys(node, schema.properties ?? {}, path, problems);
    else checkKeysAreStrings(node, path, problems);
  } else if (expected === 'array') {
    const items = schema.items;
    if (node.kind !== 'sequence') mismatch(node, 'a list', path, problems);
    else if (items !== undefined) {
      node.items.forEach((item, index) => walk(item, viewOf(items), childPath(path, index), problems));
    }
  } else if (expected === 'integer') {
    const whole =
      node.kind === 'scalar' &&
      (node.type === 'int' || (node.type === 'float' && Number.isInteger(node.value)));
    if (!whole) mismatch(node, 'a whole number', path, problems);
  } else if (node.kind !== 'scalar') {
    mismatch(node, 'text', path, problems);
  }
}

function walkKnownKeys(
  node: YamlMapping,
  known: Readonly<Record<string, TSchema>>,
  path: string,
  problems: ManifestProblem[],
): void {
  for (const { key, value } of node.entries.values()) {
    const name = scalarText(key);
    const schema = known[name];
    if (schema !== undefined && Object.hasOwn(known, name)) {
      walk(value, viewOf(schema), childPath(path, name), problems);
      continue;
    }
    const suggestion = suggest(
      name,
      Object.keys(known).filter((candidate) => !node.entries.has(candidate)),
    );
    problems.push({
      severity: 'warning',
      message: `Unknown key '${name}' is ignored`,
      position: positionOf(key),
      path: childPath(path, name),
      ...(suggestion === undefined ? {} : { suggestion }),
    });
  }
}

/** Free maps become JSON for CPI, agent and templates. */
function checkKeysAreStrings(node: YamlNode, path: string, problems: ManifestProblem[]): void {
  if (node.kind === 'sequence') {
    node.items.forEach((item, index) => checkKeysAreStrings(item, childPath(path, index), problems));
  } else if (node.kind === 'mapping') {
    for (const { key, value } of node.entries.values()) {
      const child = childPath(path, scalarText(key));
      if (key.type !== 'string') {
        problems.push({
          severity: 'error',
          message: `Map contains non-string key '${scalarText(key)}'`,
          position: positionOf(key),
          path: child,
        });
      }
      checkKeysAreStrings(value, child, problems);
    }
  } else if (node.type === 'float' && !Number.isFinite(node.value)) {
    problems.push({
      severity: 'error',
      message: `The number '${scalarText(node)}' cannot be expressed in JSON`,
      position: positionOf(node),
      path,
    });
  }
}

function mismatch(node: YamlNode, expected: string, path: string, problems: ManifestProblem[]): void {
  const found = node.kind === 'scalar' ? 'a single value' : node.kind === 'sequence' ? 'a list' : 'a map';
  problems.push({
    severity: 'error',
    message: `Expected ${expected} but found ${found}`,
    position: positionOf(node),
    path,
  });
}
