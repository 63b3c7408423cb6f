import { PathMismatch, findNode, goType } from '../ops/apply-operation.ts';
import { parseOpPath, type OpPath } from '../ops/op-path.ts';
import { scalarText } from '../yaml/emit-yaml.ts';
import { formatPosition } from '../yaml/source-file.ts';
import {
  cloneNode,
  keyIdentity,
  positionOf,
  type YamlMapping,
  type YamlNode,
  type YamlScalar,
} from '../yaml/yaml-node.ts';
import { VariableReferenceInvalid } from './variable-errors.ts';

/**
 * Answers references. `lookup` gets the first segment of a reference and the scalar that contains it; undefined
 * means that there is no value.
 */
export type VariableLookup = (name: string, at: YamlScalar) => YamlNode | undefined;

const reference = /\(\( ?(!?[-/.\w\p{L}]+) ?\)\)/gu;
const wholeReference = /^\(\( ?(!?[-/.\w\p{L}]+) ?\)\)$/u;

/** The variables (first segments) that a text refers to. */
export function referencedNames(text: string): string[] {
  return [...text.matchAll(reference)].map((match) => splitReference(match[1] ?? '').name);
}

/**
 * Replaces references in all values and keys of the node, in place where it can. A value that was put in is not
 * scanned again. Throws `VariableReferenceInvalid`.
 */
export function interpolateNode(node: YamlNode, lookup: VariableLookup): YamlNode {
  switch (node.kind) {
    case 'scalar':
      return node.type === 'string' && node.value.includes('((')
        ? interpolateText(node, node.value, lookup)
        : node;
    case 'sequence':
      for (const [index, item] of node.items.entries()) node.items[index] = interpolateNode(item, lookup);
      return node;
    case 'mapping':
      interpolateMapping(node, lookup);
      return node;
  }
}

function interpolateMapping(node: YamlMapping, lookup: VariableLookup): void {
  const renamed: { from: string; key: YamlScalar; value: YamlNode }[] = [];
  for (const [identity, entry] of node.entries) {
    entry.value = interpolateNode(entry.value, lookup);
    const key = interpolateNode(entry.key, lookup);
    if (key === entry.key) continue;
    if (key.kind !== 'scalar') throw invalid(entry.key, 'A map or a list cannot be a map key');
    renamed.push({ from: identity, key, value: entry.value });
  }
  for (const { from, key, value } of renamed) {
    node.entries.delete(from);
    node.entries.set(keyIdentity(key), { key, value });
  }
}

function interpolateText(node: YamlScalar, text: string, lookup: VariableLookup): YamlNode {
  const whole = wholeReference.exec(text)?.[1];
  if (whole !== undefined) {
    const value = resolveReference(whole, node, lookup);
    return value === undefined ? node : cloneNode(value);
  }
  let changed = false;
  const result = text.replaceAll(reference, (match: string, spelled: string) => {
    const value = resolveReference(spelled, node, lookup);
    // A spaced reference inside a longer text is looked up, but stays.
    if (value === undefined || match !== `((${spelled}))`) return match;
    changed = true;
    return textInside(value, spelled, node);
  });
  return changed ? { kind: 'scalar', type: 'string', value: result, place: node.place } : node;
}

function resolveReference(spelled: string, node: YamlScalar, lookup: VariableLookup): YamlNode | undefined {
  const { name, full, rest } = splitReference(spelled);
  const value = lookup(name, node);
  if (value === undefined || rest === undefined) return value;
  try {
    return findInValue(value, rest);
  } catch (error) {
    if (!(error instanceof PathMismatch)) throw error;
    throw new VariableReferenceInvalid(
      `${formatPosition(positionOf(node))}: Finding variable '${full}': ${error.message}`,
      { details: { ...positionOf(node), variable: full } },
    );
  }
}

/** Numeric segments are list indexes; when that fails, all of them are map keys. */
function findInValue(value: YamlNode, rest: string): YamlNode {
  const path = parseOpPath(`/${rest}`);
  try {
    return findNode(value, path);
  } catch (error) {
    if (!(error instanceof PathMismatch)) throw error;
    const asKeys: OpPath = path.map((token) =>
      token.kind === 'index' ? { kind: 'key', key: String(token.index), optional: false } : token,
    );
    return findNode(value, asKeys);
  }
}

function splitReference(spelled: string): { name: string; full: string; rest: string | undefined } {
  const full = spelled.replace(/^!/, '');
  const [name = '', ...segments] = full.split('.');
  return { name, full, rest: segments.length === 0 ? undefined : segments.join('/') };
}

function textInside(value: YamlNode, spelled: string, node: YamlScalar): string {
  if (value.kind === 'scalar' && (value.type === 'string' || value.type === 'int')) return scalarText(value);
  const name = spelled.replace(/^!/, '');
  // The value itself stays out of the message: it may be a secret.
  throw invalid(
    node,
    `Invalid type '${goType(value)}' for the value of variable '${name}'. ` +
      'Supported types for interpolation within a string are integers and strings.',
  );
}

function invalid(node: YamlNode, problem: string): VariableReferenceInvalid {
  const position = positionOf(node);
  return new VariableReferenceInvalid(`${formatPosition(position)}: ${problem}`, {
    details: { ...position },
  });
}
