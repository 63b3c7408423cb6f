import { createHmac } from 'node:crypto';
import { isJsonObject } from '@microbosh/errors';
import type { Json } from '@microbosh/errors';

/** What the manifest sets: digests of values by their path, in the notation of `interpolate --path`. */
export type ManifestProperties = Readonly<Record<string, string>>;

export interface PropertyChange {
  readonly path: string;
  readonly change: 'added' | 'changed' | 'removed';
}

/** Digests are keyed, and short: they tell whether a value changed, and are of no use to guess it by. */
export function manifestProperties(document: Json, key: string): ManifestProperties {
  const found: Record<string, string> = {};
  const visit = (value: Json, path: string): void => {
    const children = childrenOf(value);
    for (const [name, child] of children) visit(child, `${path}/${name}`);
    if (children.length > 0) return;
    found[path] = createHmac('sha256', key).update(JSON.stringify(value)).digest('hex').slice(0, 12);
  };
  visit(document, '');
  return found;
}

/** Members of a list are told by their name where all have one. */
function childrenOf(value: Json): (readonly [string, Json])[] {
  if (Array.isArray(value)) {
    const items = value as readonly Json[];
    const names = items.map((item) => (isJsonObject(item) ? item['name'] : undefined));
    const isNamed = names.every((name) => typeof name === 'string') && new Set(names).size === names.length;
    return items.map((item, index) => [
      isNamed ? `name=${escape(String(names[index]))}` : String(index),
      item,
    ]);
  }
  if (!isJsonObject(value)) return [];
  return Object.entries(value).map(([name, child]) => [escape(name), child]);
}

function escape(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1');
}

/** What is there as a whole on one side only is named once. */
export function changedProperties(before: ManifestProperties, after: ManifestProperties): PropertyChange[] {
  const changed = Object.keys(after).filter(
    (path) => before[path] !== undefined && before[path] !== after[path],
  );
  return [
    ...changed.map((path): PropertyChange => ({ path, change: 'changed' })),
    ...onlyIn(after, before).map((path): PropertyChange => ({ path, change: 'added' })),
    ...onlyIn(before, after).map((path): PropertyChange => ({ path, change: 'removed' })),
  ].sort((a, b) => (a.path < b.path ? -1 : 1));
}

function onlyIn(one: ManifestProperties, other: ManifestProperties): string[] {
  const known = new Set(Object.keys(other).flatMap(prefixesOf));
  const absent = Object.keys(one).filter((path) => other[path] === undefined);
  return [...new Set(absent.map((path) => prefixesOf(path).find((prefix) => !known.has(prefix)) ?? path))];
}

/** `/a/b/c`: `/a`, `/a/b`, `/a/b/c`. */
function prefixesOf(path: string): string[] {
  const names = path.split('/').slice(1);
  return names.map((_name, index) => `/${names.slice(0, index + 1).join('/')}`);
}
