import { goFloatText } from '../yaml/emit-yaml.ts';
import { resolveScalar } from '../yaml/resolve-scalar.ts';
import {
  childOf,
  equalNodes,
  mappingNode,
  nullNode,
  sequenceNode,
  setKey,
  stringNode,
  type YamlMapping,
  type YamlNode,
  type YamlSequence,
} from '../yaml/yaml-node.ts';
import { escapeToken, formatOpPath, type Modifier, type OpPath, type PathToken } from './op-path.ts';

export type Operation =
  | { readonly type: 'replace'; readonly path: OpPath; readonly value: YamlNode }
  | { readonly type: 'remove'; readonly path: OpPath }
  | { readonly type: 'test'; readonly path: OpPath; readonly absent: true }
  | { readonly type: 'test'; readonly path: OpPath; readonly absent: false; readonly value: YamlNode };

/** An operation that does not fit the document. `missingAt`: the path of the absent key or index, if that is it. */
export class PathMismatch extends Error {
  readonly missingAt: string | undefined;

  constructor(message: string, missingAt?: string) {
    super(message);
    this.missingAt = missingAt;
  }
}

/**
 * Applies one operation and gives the new document. The document may be changed in place. Throws `PathMismatch` with
 * the original's text (reference create-env §4.3).
 */
export function applyOperation(document: YamlNode, operation: Operation): YamlNode {
  switch (operation.type) {
    case 'replace':
      return replace(document, operation.path, copyOfValue(operation.value));
    case 'remove':
      return remove(document, operation.path);
    case 'test':
      check(document, operation);
      return document;
  }
}

/** A deep copy, with numbers as they read after being written: `1.0` becomes the integer 1. */
function copyOfValue(node: YamlNode): YamlNode {
  if (node.kind === 'sequence') return sequenceNode(node.items.map(copyOfValue), node.place);
  if (node.kind === 'scalar') {
    if (node.type !== 'float') return node;
    return { kind: 'scalar', ...resolveScalar(goFloatText(node.value), 'go-yaml-v2'), place: node.place };
  }
  const copy = mappingNode(node.place);
  for (const [identity, entry] of node.entries) {
    copy.entries.set(identity, { key: entry.key, value: copyOfValue(entry.value) });
  }
  return copy;
}

/** The node at the path. The result may be virtual (made up for optional tokens). Throws `PathMismatch`. */
export function findNode(document: YamlNode, path: OpPath): YamlNode {
  let node = document;
  for (const [position, token] of path.entries()) {
    const here = path.slice(0, position + 1);
    const next = path[position + 1];
    switch (token.kind) {
      case 'index':
        node = itemAt(listAt(node, here), token.index, token.modifiers, here);
        break;
      case 'after-last':
        throw new PathMismatch(
          `Expected not to find after last index token in path '${formatOpPath(path)}' ` +
            '(not supported in find operations)',
        );
      case 'match': {
        const list = listAt(node, here);
        const matches = matchingIndexes(list, token);
        if (token.optional && matches.length === 0) node = matchedItem(token);
        else node = itemAt(list, onlyMatch(matches, here), token.modifiers, here);
        break;
      }
      case 'key': {
        const mapping = mapAt(node, here);
        const child = childOf(mapping, token.key);
        if (child !== undefined) node = child;
        else if (!token.optional) throw missingKey(mapping, token.key, here);
        else if (next === undefined) node = nullNode(mapping.place);
        else if (next.kind === 'key') node = mappingNode(mapping.place);
        else if (next.kind === 'match') node = sequenceNode([], mapping.place);
        else {
          const at = formatOpPath(path.slice(0, position + 2));
          throw new PathMismatch(`Expected to find key or matching index token at path '${at}'`);
        }
      }
    }
  }
  return node;
}

function replace(document: YamlNode, path: OpPath, value: YamlNode): YamlNode {
  if (path.length === 0) return value;
  let node = document;
  for (const [position, token] of path.entries()) {
    const here = path.slice(0, position + 1);
    const last = position === path.length - 1;
    switch (token.kind) {
      case 'index': {
        const list = listAt(node, here);
        if (last) insert(list, token.index, token.modifiers, value, here);
        else node = itemAt(list, token.index, token.modifiers, here);
        break;
      }
      case 'after-last':
        listAt(node, here).items.push(value);
        break;
      case 'match': {
        const list = listAt(node, here);
        const matches = matchingIndexes(list, token);
        if (token.optional && matches.length === 0) {
          const item = last ? value : matchedItem(token, value);
          list.items.push(item);
          node = item;
        } else {
          const index = onlyMatch(matches, here);
          if (last) insert(list, index, token.modifiers, value, here);
          else node = itemAt(list, index, token.modifiers, here);
        }
        break;
      }
      case 'key': {
        const mapping = mapAt(node, here);
        const child = childOf(mapping, token.key);
        if (child === undefined && !token.optional) throw missingKey(mapping, token.key, here);
        if (last) setKey(mapping, token.key, value);
        else if (child !== undefined) node = child;
        else {
          node = containerFor(path, position + 1, value);
          setKey(mapping, token.key, node);
        }
      }
    }
  }
  return document;
}

function remove(document: YamlNode, path: OpPath): YamlNode {
  if (path.length === 0) throw new PathMismatch('Cannot remove entire document');
  let node = document;
  for (const [position, token] of path.entries()) {
    const here = path.slice(0, position + 1);
    const last = position === path.length - 1;
    switch (token.kind) {
      case 'index': {
        const list = listAt(node, here);
        const index = concreteIndex(list, token.index, token.modifiers, here);
        if (last) list.items.splice(index, 1);
        else node = list.items[index] ?? node;
        break;
      }
      case 'after-last':
        throw new PathMismatch(
          `Expected to not find token 'patch.AfterLastIndexToken' at path '${formatOpPath(here)}'`,
        );
      case 'match': {
        const list = listAt(node, here);
        const matches = matchingIndexes(list, token);
        if (token.optional && matches.length === 0) return document;
        const index = concreteIndex(list, onlyMatch(matches, here), token.modifiers, here);
        if (last) list.items.splice(index, 1);
        else node = list.items[index] ?? node;
        break;
      }
      case 'key': {
        const mapping = mapAt(node, here);
        const child = childOf(mapping, token.key);
        if (child === undefined) {
          if (token.optional) return document;
          throw missingKey(mapping, token.key, here);
        }
        if (last) mapping.entries.delete(token.key);
        else node = child;
      }
    }
  }
  return document;
}

function check(document: YamlNode, operation: Extract<Operation, { type: 'test' }>): void {
  if (!operation.absent) {
    if (!equalNodes(findNode(document, operation.path), operation.value)) {
      throw new PathMismatch('Found value does not match expected value');
    }
    return;
  }
  const path = formatOpPath(operation.path);
  try {
    findNode(document, operation.path);
  } catch (error) {
    if (error instanceof PathMismatch && error.missingAt === path) return;
    throw error;
  }
  throw new PathMismatch(`Expected to not find '${path}'`);
}

function listAt(node: YamlNode, here: OpPath): YamlSequence {
  if (node.kind === 'sequence') return node;
  throw new PathMismatch(
    `Expected to find an array at path '${formatOpPath(here)}' but found '${goType(node)}'`,
  );
}

function mapAt(node: YamlNode, here: OpPath): YamlMapping {
  if (node.kind === 'mapping') return node;
  throw new PathMismatch(
    `Expected to find a map at path '${formatOpPath(here)}' but found '${goType(node)}'`,
  );
}

function matchingIndexes(list: YamlSequence, token: Extract<PathToken, { kind: 'match' }>): number[] {
  const indexes: number[] = [];
  list.items.forEach((item, index) => {
    const value = childOf(item, token.key);
    if (value?.kind === 'scalar' && value.type === 'string' && value.value === token.value)
      indexes.push(index);
  });
  return indexes;
}

function onlyMatch(matches: readonly number[], here: OpPath): number {
  const [first, second] = matches;
  if (first !== undefined && second === undefined) return first;
  throw new PathMismatch(
    `Expected to find exactly one matching array item for path '${formatOpPath(here)}' but found ${matches.length}`,
  );
}

function matchedItem(token: Extract<PathToken, { kind: 'match' }>, near?: YamlNode): YamlMapping {
  const item = mappingNode(near?.place);
  setKey(item, token.key, stringNode(token.value, near?.place));
  return item;
}

function itemAt(list: YamlSequence, index: number, modifiers: readonly Modifier[], here: OpPath): YamlNode {
  const item = list.items[concreteIndex(list, index, modifiers, here)];
  if (item === undefined) throw new Error('a checked index is out of range');
  return item;
}

function concreteIndex(
  list: YamlSequence,
  start: number,
  modifiers: readonly Modifier[],
  here: OpPath,
): number {
  let index = start;
  for (const modifier of modifiers) {
    if (modifier === 'prev') index -= 1;
    else if (modifier === 'next') index += 1;
    else {
      throw new PathMismatch(
        "Expected to find one of the following modifiers: 'prev', 'next', but found modifier " +
          `'${goModifier(modifier)}'`,
      );
    }
  }
  const length = list.items.length;
  if (index >= length || -index - 1 >= length) {
    const path = formatOpPath(here);
    throw new PathMismatch(
      `Expected to find array index '${index}' but found array of length '${length}' for path '${path}'`,
      path,
    );
  }
  return index < 0 ? length + index : index;
}

function insert(
  list: YamlSequence,
  start: number,
  modifiers: readonly Modifier[],
  value: YamlNode,
  here: OpPath,
): void {
  const shifts: Modifier[] = [];
  let side: 'before' | 'after' | undefined;
  for (const modifier of modifiers) {
    if (side !== undefined) {
      throw new PathMismatch(
        `Expected to not find any modifiers after '${side}' modifier, but found modifier '${goModifier(modifier)}'`,
      );
    }
    if (modifier === 'before' || modifier === 'after') side = modifier;
    else shifts.push(modifier);
  }
  const index = concreteIndex(list, start, shifts, here);
  if (side === undefined) list.items[index] = value;
  else list.items.splice(side === 'after' ? index + 1 : index, 0, value);
}

/** What an absent optional key becomes, judged by the token that follows it. */
function containerFor(path: OpPath, position: number, value: YamlNode): YamlNode {
  const next = path[position];
  if (next?.kind === 'key') return mappingNode(value.place);
  if (next?.kind === 'match' || next?.kind === 'after-last') return sequenceNode([], value.place);
  throw new PathMismatch(
    "Expected to find key, matching index or after last index token at path '" +
      `${formatOpPath(path.slice(0, position + 1))}'`,
  );
}

function missingKey(mapping: YamlMapping, key: string, here: OpPath): PathMismatch {
  const path = formatOpPath(here);
  const names = [...mapping.entries.values()].flatMap(({ key: sibling }) =>
    sibling.type === 'string' ? [sibling.value] : [],
  );
  names.sort(compareBytes);
  const found =
    mapping.entries.size === 0 ? 'found no other map keys' : `found map keys: '${names.join("', '")}'`;
  return new PathMismatch(`Expected to find a map key '${key}' for path '${path}' (${found})`, path);
}

/** Order of UTF-8 bytes, which is the order of code points. */
export function compareBytes(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}

/** The type as the original names it in its messages. */
export function goType(node: YamlNode): string {
  if (node.kind === 'sequence') return '[]interface {}';
  if (node.kind === 'mapping') return 'map[interface {}]interface {}';
  switch (node.type) {
    case 'null':
      return '<nil>';
    case 'bool':
      return 'bool';
    case 'int':
      return typeof node.value === 'bigint' && node.value > 2n ** 63n - 1n ? 'uint64' : 'int';
    case 'float':
      return 'float64';
    case 'string':
      return 'string';
  }
}

function goModifier(modifier: Modifier): string {
  return `patch.${modifier.charAt(0).toUpperCase()}${modifier.slice(1)}Modifier`;
}

/** The path of a child, for messages that name a place in a document. */
export function childPath(parent: string, child: string | number): string {
  return `${parent}/${typeof child === 'number' ? child : escapeToken(child)}`;
}
