import { OperationalError, messageOf } from '@microbosh/errors';
import { parseYaml } from '../yaml/parse-yaml.ts';
import { scalarText } from '../yaml/emit-yaml.ts';
import { formatPosition } from '../yaml/source-file.ts';
import { childOf, isNull, nullNode, positionOf, type YamlNode } from '../yaml/yaml-node.ts';
import { PathMismatch, applyOperation, type Operation } from './apply-operation.ts';
import { PathSyntaxError, parseOpPath, type OpPath } from './op-path.ts';

/** An ops file cannot be read as a list of operations. */
export class OpsFileInvalid extends OperationalError {
  readonly code = 'E_OPS_FILE_INVALID';
}

/** An operation does not fit the document it is applied to. */
export class OperationFailed extends OperationalError {
  readonly code = 'E_OPERATION_FAILED';
}

export interface OpsFile {
  readonly file: string;
  readonly operations: readonly { readonly node: YamlNode; readonly operation: Operation }[];
}

/** Reads an ops file (reference create-env §4). Throws `YamlSyntaxError`, `OpsFileInvalid`. */
export function parseOpsFile(text: string, file: string): OpsFile {
  const root = parseYaml(text, { file });
  if (isNull(root)) return { file, operations: [] };
  if (root.kind !== 'sequence') {
    throw new OpsFileInvalid(
      `${formatPosition(positionOf(root))}: Deserializing ops file '${file}': not a list`,
      {
        advice: 'An ops file is a YAML list of operations: `- type: replace`, `path`, `value`.',
      },
    );
  }
  const operations = root.items.map((node, index) => ({ node, operation: parseOperation(node, index) }));
  return { file, operations };
}

/** Applies all operations in order. The document may be changed in place. Throws `OperationFailed`. */
export function applyOpsFile(document: YamlNode, ops: OpsFile): YamlNode {
  let result = document;
  for (const [index, { node, operation }] of ops.operations.entries()) {
    try {
      result = applyOperation(result, operation);
    } catch (error) {
      if (!(error instanceof PathMismatch)) throw error;
      throw new OperationFailed(
        `${formatPosition(positionOf(node))}: Error 'operation [${index}] in ${ops.file} failed': ${error.message}`,
        { details: { ...positionOf(node), operation: index } },
      );
    }
  }
  return result;
}

const titles: Readonly<Record<string, string>> = { replace: 'Replace', remove: 'Remove', test: 'Test' };

function parseOperation(node: YamlNode, index: number): Operation {
  const type = textField(node, 'type') ?? '';
  const title = titles[type];
  if (node.kind !== 'mapping' || title === undefined) {
    throw invalid(node, `Unknown operation [${index}] with type '${type}' within\n${redacted(node)}`);
  }
  const value = childOf(node, 'value');
  const fail = (problem: string): OpsFileInvalid =>
    invalid(node, `${title} operation [${index}]: ${problem} within\n${redacted(node)}`);
  const path = pathOf(node, fail);
  switch (type) {
    case 'replace':
      if (value === undefined || isNull(value)) throw fail('Missing value');
      return { type, path: path(), value };
    case 'remove':
      if (!isNull(value)) throw fail('Cannot specify value');
      return { type, path: path() };
    default: {
      const absent = childOf(node, 'absent');
      if (isNull(value) && isNull(absent)) throw fail('Missing value or absent');
      if (absent?.kind === 'scalar' && absent.value === true)
        return { type: 'test', path: path(), absent: true };
      return { type: 'test', path: path(), absent: false, value: value ?? nullNode(node.place) };
    }
  }
}

/** Checks in the original's order: a missing path first, its syntax after the value has been looked at. */
function pathOf(node: YamlNode, fail: (problem: string) => OpsFileInvalid): () => OpPath {
  const text = textField(node, 'path');
  if (text === undefined) throw fail('Missing path');
  return () => {
    try {
      return parseOpPath(text);
    } catch (error) {
      if (!(error instanceof PathSyntaxError)) throw error;
      throw fail(`Invalid path: ${messageOf(error)}`);
    }
  };
}

function textField(node: YamlNode, name: string): string | undefined {
  const field = childOf(node, name);
  if (field === undefined || field.kind !== 'scalar' || field.type === 'null') return undefined;
  return field.text ?? scalarText(field);
}

/** The operation without its value, which may be a secret. */
function redacted(node: YamlNode): string {
  const type = textField(node, 'type');
  const path = textField(node, 'path');
  const absent = childOf(node, 'absent');
  const error = textField(node, 'error');
  return JSON.stringify(
    {
      ...(type === undefined || type === '' ? {} : { Type: type }),
      ...(path === undefined ? {} : { Path: path }),
      ...(isNull(childOf(node, 'value')) ? {} : { Value: '<redacted>' }),
      ...(absent?.kind === 'scalar' && absent.type === 'bool' ? { Absent: absent.value } : {}),
      ...(error === undefined ? {} : { Error: error }),
    },
    undefined,
    2,
  );
}

function invalid(node: YamlNode, problem: string): OpsFileInvalid {
  const position = positionOf(node);
  return new OpsFileInvalid(`${formatPosition(position)}: Building ops: ${problem}`, {
    details: { ...position },
  });
}
