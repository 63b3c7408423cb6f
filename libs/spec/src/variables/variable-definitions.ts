import { scalarText } from '../yaml/emit-yaml.ts';
import { formatPosition } from '../yaml/source-file.ts';
import { childOf, isNull, positionOf, type YamlNode } from '../yaml/yaml-node.ts';
import { VariableDefinitionInvalid } from './variable-errors.ts';

/** One entry of the `variables` section. Without a type it only documents a name. */
export interface VariableDefinition {
  readonly name: string;
  readonly type: string;
  readonly options: YamlNode | undefined;
  readonly node: YamlNode;
}

/** Reads the `variables` section of a document. Keys other than name, type and options are ignored. */
export function readVariableDefinitions(document: YamlNode): VariableDefinition[] {
  const section = childOf(document, 'variables');
  if (section === undefined || isNull(section)) return [];
  if (section.kind !== 'sequence') throw invalid(section, 'variables must be a list');
  return section.items.map((node) => {
    if (node.kind !== 'mapping')
      throw invalid(node, 'A variable definition must be a map with name and type');
    return {
      name: textOf(childOf(node, 'name')),
      type: textOf(childOf(node, 'type')),
      options: childOf(node, 'options'),
      node,
    };
  });
}

function textOf(node: YamlNode | undefined): string {
  if (node === undefined || isNull(node)) return '';
  if (node.kind !== 'scalar') throw invalid(node, 'The name and the type of a variable must be text');
  return scalarText(node);
}

function invalid(node: YamlNode, problem: string): VariableDefinitionInvalid {
  const position = positionOf(node);
  return new VariableDefinitionInvalid(`${formatPosition(position)}: ${problem}`, {
    details: { ...position },
  });
}
