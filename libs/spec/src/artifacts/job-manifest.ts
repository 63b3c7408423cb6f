import type { Json } from '@microbosh/errors';
import type { JobManifest, LinkDeclaration } from '../release-model.ts';
import { childOf, isNull, toJson, type YamlNode } from '../yaml/yaml-node.ts';
import { scalarText } from '../yaml/emit-yaml.ts';
import {
  flag,
  listOf,
  parseArtifactDocument,
  requiredText,
  textsOf,
  writtenText,
  wrongShape,
} from './artifact-document.ts';

/** Reads `job.MF` (reference create-env §6.4). Throws `ArtifactManifestInvalid`, `YamlSyntaxError`. */
export function parseJobManifest(text: string, file: string): JobManifest {
  const root = parseArtifactDocument(text, file, 'go-yaml-v2');
  return {
    name: requiredText(root, 'name'),
    templates: Object.fromEntries(
      entriesOf(root, 'templates').map(([source, target]) => {
        if (target.kind !== 'scalar' || isNull(target))
          throw wrongShape(target, `template '${source}' has no target`);
        checkLocalPath(target, source, 'source');
        checkLocalPath(target, scalarText(target), 'destination');
        return [source, scalarText(target)];
      }),
    ),
    packages: textsOf(root, 'packages'),
    properties: Object.fromEntries(
      entriesOf(root, 'properties').map(([name, node]) => [name, readProperty(node)]),
    ),
    consumes: listOf(root, 'consumes').map(readLink),
    provides: listOf(root, 'provides').map(readLink),
  };
}

function readProperty(node: YamlNode): { description?: string; default?: Json } {
  if (isNull(node)) return {};
  if (node.kind !== 'mapping') throw wrongShape(node, 'a property declaration must be a map');
  const description = writtenText(node, 'description');
  const value = childOf(node, 'default');
  return {
    ...(description === '' ? {} : { description }),
    ...(value === undefined ? {} : { default: toJson(value) }),
  };
}

function readLink(node: YamlNode): LinkDeclaration {
  const optional = flag(node, 'optional');
  const properties = textsOf(node, 'properties');
  return {
    name: requiredText(node, 'name'),
    type: requiredText(node, 'type'),
    ...(optional === undefined ? {} : { optional }),
    ...(properties.length === 0 ? {} : { properties }),
  };
}

function entriesOf(node: YamlNode, name: string): [string, YamlNode][] {
  const field = childOf(node, name);
  if (field === undefined || isNull(field)) return [];
  if (field.kind !== 'mapping') throw wrongShape(field, `'${name}' must be a map`);
  return [...field.entries.values()].map(({ key, value }) => [key.text ?? scalarText(key), value]);
}

/** Relative, and never above the directory it starts in. */
function checkLocalPath(node: YamlNode, path: string, what: 'source' | 'destination'): void {
  let depth = 0;
  let safe = path !== '' && !path.startsWith('/') && !path.includes('\0');
  for (const piece of path.split('/')) {
    if (piece === '..') depth -= 1;
    else if (piece !== '' && piece !== '.') depth += 1;
    if (depth < 0) safe = false;
  }
  if (!safe) throw wrongShape(node, `Invalid template ${what} '${path}': must be a safe local path`);
}
