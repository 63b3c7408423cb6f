import { OperationalError } from '@microbosh/errors';
import { parseYaml } from '../yaml/parse-yaml.ts';
import type { YamlDialect } from '../yaml/resolve-scalar.ts';
import { formatPosition } from '../yaml/source-file.ts';
import { scalarText } from '../yaml/emit-yaml.ts';
import { childOf, isNull, positionOf, type YamlNode } from '../yaml/yaml-node.ts';

/** `release.MF`, `job.MF` or `stemcell.MF` does not have the shape it must have. */
export class ArtifactManifestInvalid extends OperationalError {
  readonly code = 'E_ARTIFACT_MANIFEST_INVALID';
}

export function parseArtifactDocument(text: string, file: string, dialect: YamlDialect): YamlNode {
  const root = parseYaml(text, { file, dialect });
  if (root.kind !== 'mapping') throw wrongShape(root, 'the document must be a map');
  return root;
}

/** Text as it is written (`1.10` stays `1.10`); empty when absent. */
export function writtenText(node: YamlNode, name: string): string {
  const field = childOf(node, name);
  if (field === undefined || isNull(field)) return '';
  if (field.kind !== 'scalar') throw wrongShape(field, `'${name}' must be text`);
  // `!!binary` was decoded: its written form is base64.
  return field.type === 'string' ? field.value : (field.text ?? scalarText(field));
}

export function requiredText(node: YamlNode, name: string): string {
  const text = writtenText(node, name);
  if (text === '') throw wrongShape(node, `'${name}' must be provided`);
  return text;
}

export function flag(node: YamlNode, name: string): boolean | undefined {
  const field = childOf(node, name);
  if (field === undefined || isNull(field)) return undefined;
  if (field.kind !== 'scalar' || field.type !== 'bool')
    throw wrongShape(field, `'${name}' must be true or false`);
  return field.value;
}

/** Entries of a list; empty when absent. */
export function listOf(node: YamlNode, name: string): readonly YamlNode[] {
  const field = childOf(node, name);
  if (field === undefined || isNull(field)) return [];
  if (field.kind !== 'sequence') throw wrongShape(field, `'${name}' must be a list`);
  return field.items;
}

export function textsOf(node: YamlNode, name: string): string[] {
  return listOf(node, name).map((item) => {
    if (item.kind !== 'scalar' || isNull(item)) throw wrongShape(item, `'${name}' must be a list of names`);
    return item.type === 'string' ? item.value : (item.text ?? scalarText(item));
  });
}

export function wrongShape(node: YamlNode, problem: string): ArtifactManifestInvalid {
  const position = positionOf(node);
  return new ArtifactManifestInvalid(`${formatPosition(position)}: ${problem}`, {
    details: { ...position },
    advice: 'The archive was not built correctly; build or download it again.',
  });
}
