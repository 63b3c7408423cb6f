import { goFloatText } from '../../src/yaml/emit-yaml.ts';
import type { YamlNode } from '../../src/yaml/yaml-node.ts';

/** A node in the notation of the golden files: kind, then value; map pairs in a fixed order. */
export function canonical(node: YamlNode): unknown {
  if (node.kind === 'sequence') return ['list', ...node.items.map(canonical)];
  if (node.kind === 'mapping') {
    return sortPairs([
      'map',
      [...node.entries.values()].map(({ key, value }) => [canonical(key), canonical(value)]),
    ]);
  }
  switch (node.type) {
    case 'null':
      return 'null';
    case 'int':
      return ['int', String(node.value)];
    case 'float':
      return ['float', Number.isFinite(node.value) ? goFloatText(node.value) : special(node.value)];
    default:
      return [node.type, node.value];
  }
}

/** Golden values with the pairs of maps in the same fixed order. */
export function sortPairs(value: unknown): unknown {
  if (!isList(value)) return value;
  if (value[0] !== 'map' || !isList(value[1])) return value.map(sortPairs);
  const pairs = value[1].map((pair) => sortPairs(pair));
  return ['map', pairs.sort((left, right) => (JSON.stringify(left) < JSON.stringify(right) ? -1 : 1))];
}

function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value);
}

function special(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  return value > 0 ? '+Inf' : '-Inf';
}
