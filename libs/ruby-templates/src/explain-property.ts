import { isJsonObject, type Json, type JsonObject } from '@microbosh/errors';
import { formatPosition } from '@microbosh/spec';
import type { PropertyLayer, TemplateContext } from './evaluation-context.ts';

/** One sentence: where the manifest sets a property that a template looked up, or why the template cannot see it. */
export function explainProperty(context: TemplateContext, name: string): string {
  const declared = Object.keys(context.defaults ?? {});
  const covering = declared.find((candidate) => name === candidate || name.startsWith(`${candidate}.`));
  const seesAll = context.defaults === undefined;
  if (!seesAll && covering === undefined && !declared.some((candidate) => candidate.startsWith(`${name}.`))) {
    const similar = closest(name, declared);
    const suggestion = similar === undefined ? '' : ` It declares '${similar}'.`;
    return `Job '${context.job}' does not declare the property '${name}' in its spec, so its templates cannot see it.${suggestion}`;
  }

  const visible = context.layers.filter((layer) => layer.isVisible && layer.takes?.(name) !== false);
  const places = visible.map((layer) => place(layer, name)).join(' or ');
  for (const layer of visible) {
    const found = find(layer.properties, name);
    if (found.kind === 'value') return `'${name}' is set in ${place(layer, name)} (${kindOf(found.value)}).`;
    if (found.kind === 'blocked')
      return `'${found.at}' in ${place(layer, found.at)} is ${kindOf(found.value)}, so there is no '${name}' in it.`;
  }
  const fallback = covering === undefined ? undefined : context.defaults?.[covering];
  if (covering !== undefined && fallback !== null && fallback !== undefined)
    return `'${name}' is not set in the manifest; the job's default for '${covering}' counts.`;
  const hidden = context.layers.find(
    (layer) => !layer.isVisible && find(layer.properties, name).kind === 'value',
  );
  if (hidden !== undefined)
    return `'${name}' is set in ${place(hidden, name)}, but job '${context.job}' has properties of its own, and then only those count: set it in ${places}.`;
  const without = seesAll ? '' : ` and job '${context.job}' has no default for it`;
  return `Nothing sets '${name}'${without}: set it in ${places}.`;
}

/** The layer, with the place in the manifest when that is known: of the property, or of the nearest thing above it. */
function place(layer: PropertyLayer, name: string): string {
  if (layer.locate === undefined) return layer.path;
  const keys = name.split('.');
  const { position, found } = layer.locate(keys);
  const near = found > 0 && found < keys.length ? ` near '${keys.slice(0, found).join('.')}'` : '';
  return `${layer.path}${near} (${formatPosition(position)})`;
}

type Found =
  | { readonly kind: 'value'; readonly value: Json }
  | { readonly kind: 'blocked'; readonly at: string; readonly value: Json }
  | { readonly kind: 'absent' };

function find(properties: JsonObject, name: string): Found {
  let current: Json = properties;
  const walked: string[] = [];
  for (const key of name.split('.')) {
    if (!isJsonObject(current)) return { kind: 'blocked', at: walked.join('.'), value: current };
    const next: Json | undefined = current[key];
    if (next === undefined || next === null) return { kind: 'absent' };
    current = next;
    walked.push(key);
  }
  return { kind: 'value', value: current };
}

function kindOf(value: Json): string {
  if (Array.isArray(value)) return 'a list';
  if (isJsonObject(value)) return 'a map';
  return { string: 'a string', number: 'a number', boolean: 'a boolean' }[typeof value as string] ?? 'null';
}

function closest(name: string, candidates: readonly string[]): string | undefined {
  const ranked = candidates
    .map((candidate) => ({ candidate, distance: editDistance(name, candidate) }))
    .sort((left, right) => left.distance - right.distance);
  const best = ranked[0];
  return best !== undefined && best.distance <= Math.max(2, Math.floor(name.length / 4))
    ? best.candidate
    : undefined;
}

function editDistance(left: string, right: string): number {
  let previous = Array.from({ length: right.length + 1 }, (_unused, index) => index);
  for (let row = 1; row <= left.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= right.length; column += 1) {
      const replaced = (previous[column - 1] ?? 0) + (left[row - 1] === right[column - 1] ? 0 : 1);
      current.push(Math.min(replaced, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[right.length] ?? 0;
}
