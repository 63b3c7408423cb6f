import type { Json } from '@microbosh/errors';
import { NonStringKey, UnrepresentableValue } from './yaml-errors.ts';
import { SourceFile, type Position } from './source-file.ts';

/** Where a node was written. */
export interface Place {
  readonly source: SourceFile;
  readonly offset: number;
}

/**
 * A scalar after resolution. Integers that JavaScript numbers cannot hold exactly are bigints; `float` is kept
 * apart from `int` because the original tells them apart (`1.0` may not stand inside a string, `1` may).
 */
export type YamlScalar = (
  | { readonly kind: 'scalar'; readonly type: 'null'; readonly value: null }
  | { readonly kind: 'scalar'; readonly type: 'bool'; readonly value: boolean }
  | { readonly kind: 'scalar'; readonly type: 'int'; readonly value: number | bigint }
  | { readonly kind: 'scalar'; readonly type: 'float'; readonly value: number }
  | { readonly kind: 'scalar'; readonly type: 'string'; readonly value: string }
) & {
  readonly place: Place;
  /** The scalar's text as written, before resolution; absent for values that no file contains. */
  readonly text?: string;
};

export interface YamlSequence {
  readonly kind: 'sequence';
  readonly items: YamlNode[];
  readonly place: Place;
}

export interface YamlEntry {
  readonly key: YamlScalar;
  value: YamlNode;
}

export interface YamlMapping {
  readonly kind: 'mapping';
  /** Key identity (see `keyIdentity`) → entry, in document order. A string key is its own identity. */
  readonly entries: Map<string, YamlEntry>;
  readonly place: Place;
}

export type YamlNode = YamlScalar | YamlSequence | YamlMapping;

const nowhere: Place = { source: new SourceFile('', ''), offset: 0 };

export function positionOf(node: YamlNode): Position {
  return node.place.source.positionAt(node.place.offset);
}

/** Keys of different types never collide: `1` and `"1"` are two keys. */
export function keyIdentity(key: YamlScalar): string {
  return key.type === 'string' ? key.value : `\u0000${key.type}:${String(key.value)}`;
}

export function stringNode(value: string, place: Place = nowhere): YamlScalar {
  return { kind: 'scalar', type: 'string', value, place };
}

export function nullNode(place: Place = nowhere): YamlScalar {
  return { kind: 'scalar', type: 'null', value: null, place };
}

export function sequenceNode(items: YamlNode[] = [], place: Place = nowhere): YamlSequence {
  return { kind: 'sequence', items, place };
}

export function mappingNode(place: Place = nowhere): YamlMapping {
  return { kind: 'mapping', entries: new Map(), place };
}

export function setKey(mapping: YamlMapping, name: string, value: YamlNode): void {
  mapping.entries.set(name, { key: mapping.entries.get(name)?.key ?? stringNode(name, value.place), value });
}

/** The value under a string key. */
export function childOf(node: YamlNode | undefined, name: string): YamlNode | undefined {
  return node?.kind === 'mapping' ? node.entries.get(name)?.value : undefined;
}

export function isNull(node: YamlNode | undefined): boolean {
  return node === undefined || (node.kind === 'scalar' && node.type === 'null');
}

/** A deep copy that shares nothing mutable with the original. */
export function cloneNode(node: YamlNode): YamlNode {
  switch (node.kind) {
    case 'scalar':
      return node;
    case 'sequence':
      return { kind: 'sequence', items: node.items.map(cloneNode), place: node.place };
    case 'mapping': {
      const copy = mappingNode(node.place);
      for (const [identity, entry] of node.entries) {
        copy.entries.set(identity, { key: entry.key, value: cloneNode(entry.value) });
      }
      return copy;
    }
  }
}

/** Equality of values, whatever the places and the order of keys. */
export function equalNodes(left: YamlNode, right: YamlNode): boolean {
  if (left.kind === 'scalar') {
    return right.kind === 'scalar' && left.type === right.type && left.value === right.value;
  }
  if (left.kind === 'sequence') {
    return (
      right.kind === 'sequence' &&
      left.items.length === right.items.length &&
      left.items.every((item, index) => {
        const other = right.items[index];
        return other !== undefined && equalNodes(item, other);
      })
    );
  }
  if (right.kind !== 'mapping' || right.entries.size !== left.entries.size) return false;
  for (const [identity, entry] of left.entries) {
    const other = right.entries.get(identity);
    if (other === undefined || !equalNodes(entry.value, other.value)) return false;
  }
  return true;
}

/**
 * The node as JSON data. Fails on what JSON has no word for: keys that are not strings (`Map contains non-string
 * key …`), infinities and NaN.
 */
export function toJson(node: YamlNode): Json {
  switch (node.kind) {
    case 'scalar':
      if (typeof node.value === 'bigint') return Number(node.value);
      if (typeof node.value === 'number' && !Number.isFinite(node.value)) {
        throw new UnrepresentableValue(String(node.value), positionOf(node));
      }
      return node.value;
    case 'sequence':
      return node.items.map(toJson);
    case 'mapping': {
      const result: Record<string, Json> = {};
      for (const entry of node.entries.values()) {
        if (entry.key.type !== 'string')
          throw new NonStringKey(String(entry.key.value), positionOf(entry.key));
        // defineProperty: `__proto__` is a key like any other.
        Object.defineProperty(result, entry.key.value, {
          value: toJson(entry.value),
          enumerable: true,
          configurable: true,
          writable: true,
        });
      }
      return result;
    }
  }
}

/** JSON data as a node, for values that are computed and not read. */
export function fromJson(value: Json, place: Place = nowhere): YamlNode {
  if (value === null) return nullNode(place);
  switch (typeof value) {
    case 'string':
      return stringNode(value, place);
    case 'boolean':
      return { kind: 'scalar', type: 'bool', value, place };
    case 'number':
      return Number.isSafeInteger(value)
        ? { kind: 'scalar', type: 'int', value, place }
        : { kind: 'scalar', type: 'float', value, place };
    default:
  }
  if (isList(value))
    return sequenceNode(
      value.map((item) => fromJson(item, place)),
      place,
    );
  const mapping = mappingNode(place);
  for (const [key, item] of Object.entries(value)) setKey(mapping, key, fromJson(item, place));
  return mapping;
}

function isList(value: readonly Json[] | object): value is readonly Json[] {
  return Array.isArray(value);
}
