import { messageOf } from '@microbosh/errors';
import { parseYaml } from '../yaml/parse-yaml.ts';
import { scalarText } from '../yaml/emit-yaml.ts';
import { SourceFile, formatPosition } from '../yaml/source-file.ts';
import {
  isNull,
  mappingNode,
  positionOf,
  setKey,
  stringNode,
  type YamlMapping,
  type YamlNode,
} from '../yaml/yaml-node.ts';
import { VariableSourceInvalid } from './variable-errors.ts';

/** Variable flags in the order they were given, files already read. Reference create-env §3.2. */
export interface VariableSources {
  /** `--vars-env PREFIX` with the environment it selects from. */
  readonly prefixes?: readonly string[];
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** `--vars-file PATH`. */
  readonly files?: readonly { readonly file: string; readonly text: string }[];
  /** `--var-file NAME=PATH`, content as it is. */
  readonly contents?: readonly { readonly name: string; readonly file: string; readonly text: string }[];
  /** `--var NAME=VALUE`, as given. */
  readonly assignments?: readonly string[];
}

const yamlAdvice = 'Correct the YAML at this place, or put the value into quotes.';

export type StaticVariables = ReadonlyMap<string, YamlNode>;

/** All static variables by name; names with dots have become maps. Throws `VariableSourceInvalid`. */
export function readStaticVariables(sources: VariableSources): StaticVariables {
  const flat = new Map<string, YamlNode>();
  for (const prefix of sources.prefixes ?? []) addEnvironment(flat, prefix, sources.environment ?? {});
  for (const { file, text } of sources.files ?? []) addFile(flat, file, text);
  for (const { name, file, text } of sources.contents ?? []) {
    put(flat, name, stringNode(text, { source: new SourceFile(file, text), offset: 0 }));
  }
  for (const assignment of sources.assignments ?? []) {
    const { name, value } = splitAssignment(assignment, 'value');
    put(flat, name, parseAssigned(name, value));
  }
  return withDotsAsMaps(flat);
}

/** Splits `name=value` or `name=path` at the first `=`. */
export function splitAssignment(text: string, what: 'value' | 'path'): { name: string; value: string } {
  const equals = text.indexOf('=');
  if (equals === -1) throw invalid(`Expected var '${text}' to be in format 'name=${what}'`);
  const name = text.slice(0, equals);
  const value = text.slice(equals + 1);
  if (name === '') throw invalid(`Expected var '${text}' to specify non-empty name`);
  if (value === '') throw invalid(`Expected var '${text}' to specify non-empty ${what}`);
  return { name, value };
}

function addEnvironment(
  flat: Map<string, YamlNode>,
  prefix: string,
  environment: Readonly<Record<string, string | undefined>>,
): void {
  if (prefix === '') throw invalid('Expected environment variable prefix to be non-empty');
  const start = `${prefix}_`;
  for (const [variable, value] of Object.entries(environment)) {
    const name = variable.slice(start.length);
    if (value === undefined || !variable.startsWith(start) || name === '') continue;
    try {
      put(flat, name, parseYaml(value, { file: `environment variable ${variable}` }));
    } catch (error) {
      throw invalid(
        `Deserializing YAML from environment variable '${variable}': ${messageOf(error)}`,
        yamlAdvice,
      );
    }
  }
}

function addFile(flat: Map<string, YamlNode>, file: string, text: string): void {
  let root: YamlNode;
  try {
    root = parseYaml(text, { file });
  } catch (error) {
    throw invalid(`Deserializing variables file '${file}': ${messageOf(error)}`, yamlAdvice);
  }
  if (isNull(root)) return;
  if (root.kind !== 'mapping') {
    throw invalid(`${formatPosition(positionOf(root))}: Deserializing variables file '${file}': not a map`);
  }
  for (const { key, value } of root.entries.values()) put(flat, key.text ?? scalarText(key), value);
}

/** A later value of one name replaces an earlier one, and stands at its own place in the order. */
function put(flat: Map<string, YamlNode>, name: string, value: YamlNode): void {
  flat.delete(name);
  flat.set(name, value);
}

/** A value that YAML reads as a string is used as it was typed, minus one pair of outer quotes. */
function parseAssigned(name: string, text: string): YamlNode {
  let node: YamlNode;
  try {
    node = parseYaml(text, { file: `--var ${name}` });
  } catch (error) {
    // The argument itself stays out of the message: it may be a secret.
    throw invalid(`Deserializing variables '${name}=…': ${messageOf(error)}`, yamlAdvice);
  }
  if (node.kind !== 'scalar' || node.type !== 'string') return node;
  return stringNode(withoutQuotes(text), node.place);
}

function withoutQuotes(text: string): string {
  const quote = text.charAt(0);
  const quoted = text.length >= 2 && (quote === '"' || quote === "'") && text.endsWith(quote);
  return quoted ? text.slice(1, -1) : text;
}

function withDotsAsMaps(flat: ReadonlyMap<string, YamlNode>): Map<string, YamlNode> {
  const result = new Map<string, YamlNode>();
  const plainFirst = [...flat].sort(
    ([left], [right]) => Number(left.includes('.')) - Number(right.includes('.')),
  );
  for (const [name, value] of plainFirst) {
    const [first = '', ...rest] = name.split('.');
    const last = rest.pop();
    if (last === undefined) {
      result.set(name, value);
      continue;
    }
    let parent = ownMap(result.get(first), name, value);
    result.set(first, parent);
    for (const key of rest) {
      const child = ownMap(parent.entries.get(key)?.value, name, value);
      setKey(parent, key, child);
      parent = child;
    }
    setKey(parent, last, value);
  }
  return result;
}

/** A map that may be changed: a copy of the one that is there, or a new one. */
function ownMap(existing: YamlNode | undefined, name: string, value: YamlNode): YamlMapping {
  if (existing === undefined) return mappingNode(value.place);
  if (existing.kind !== 'mapping') {
    throw invalid(
      `${formatPosition(positionOf(value))}: Variable '${name}' needs a map, but a part of its name has another value ` +
        `(${formatPosition(positionOf(existing))})`,
    );
  }
  return { kind: 'mapping', entries: new Map(existing.entries), place: existing.place };
}

function invalid(message: string, advice?: string): VariableSourceInvalid {
  return new VariableSourceInvalid(message, advice === undefined ? {} : { advice });
}
