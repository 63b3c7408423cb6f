import { createHash } from 'node:crypto';
import { messageOf, type Json } from '@microbosh/errors';
import { PathMismatch, applyOperation, findNode } from './ops/apply-operation.ts';
import { PathSyntaxError, parseOpPath, type OpPath } from './ops/op-path.ts';
import { OperationFailed, applyOpsFile, parseOpsFile } from './ops/ops-file.ts';
import { variableGenerator } from './variables/generate/generate-variable.ts';
import { interpolateNode } from './variables/interpolate-node.ts';
import { readVariableDefinitions, type VariableDefinition } from './variables/variable-definitions.ts';
import {
  VariableDefinitionInvalid,
  VariablesUnresolved,
  type MissingReference,
} from './variables/variable-errors.ts';
import { VariableResolver } from './variables/variable-resolver.ts';
import { readStaticVariables, type VariableSources } from './variables/variable-sources.ts';
import { VarsStore, type VarsStorePort } from './variables/vars-store.ts';
import { emitYaml } from './yaml/emit-yaml.ts';
import { parseYaml } from './yaml/parse-yaml.ts';
import type { YamlDialect } from './yaml/resolve-scalar.ts';
import { formatPosition } from './yaml/source-file.ts';
import { positionOf, toJson, type YamlNode } from './yaml/yaml-node.ts';

export interface EvaluateManifestInput {
  readonly text: string;
  /** Name shown in positions. */
  readonly file: string;
  /** How the manifest is read; default `go-yaml-v2`. */
  readonly dialect?: YamlDialect;
  /** Ops files in the order they apply. */
  readonly ops?: readonly { readonly file: string; readonly text: string }[];
  readonly variables?: VariableSources;
  /** Absent: definitions generate nothing. */
  readonly varsStore?: VarsStorePort;
  /** Whether definitions without a value get one. Default true. */
  readonly generate?: boolean;
  /** Fail when a reference has no value. Default true, as the env commands do. */
  readonly requireAll?: boolean;
  /** Fail when a supplied variable is never referred to. Default false. */
  readonly requireUsed?: boolean;
  /** Start of validity of generated certificates. Default: the current time. */
  readonly now?: () => Date;
}

export interface EvaluatedManifest {
  readonly root: YamlNode;
  /** The document as create-env writes it (`emitYaml`). */
  readonly text: string;
  /** SHA-512 of `text`, lower-case hex: `current_manifest_sha` of the state file. */
  readonly manifestSha: string;
  readonly missing: readonly MissingReference[];
  /** Names that were generated and stored by this evaluation. */
  readonly generated: readonly string[];
  /** The `variables` section before values were found; references in its options are replaced. */
  readonly definitions: readonly VariableDefinition[];
  /** Value of a variable; `stored`: it comes from the vars-store, so it was generated. */
  readonly variable: (name: string) => { readonly value: YamlNode; readonly stored: boolean } | undefined;
  readonly toJson: () => Json;
}

/**
 * Evaluates a manifest as reference create-env §2 says: ops files, generation of variables, interpolation, removal of
 * the definitions that have a value, canonical text and its hash. Throws `YamlSyntaxError`, `OpsFileInvalid`,
 * `OperationFailed`, `VariableSourceInvalid`, `VarsStoreInvalid`, `VariableDefinitionInvalid`,
 * `VariableGenerationFailed`, `VariableReferenceInvalid`, `VariablesUnresolved`.
 */
export async function evaluateManifest(input: EvaluateManifestInput): Promise<EvaluatedManifest> {
  const variables = readStaticVariables(input.variables ?? {});
  const ops = (input.ops ?? []).map(({ text, file }) => parseOpsFile(text, file));
  let root = parseYaml(input.text, {
    file: input.file,
    ...(input.dialect === undefined ? {} : { dialect: input.dialect }),
  });
  for (const file of ops) root = applyOpsFile(root, file);
  const store = input.varsStore === undefined ? undefined : await VarsStore.open(input.varsStore);
  const definitions = readVariableDefinitions(root);
  const generate = variableGenerator(input.now ?? (() => new Date()));
  const resolver = new VariableResolver(definitions, variables, store, generate);
  if (input.generate ?? true) await resolver.prepare();
  root = interpolateNode(root, resolver.lookup);
  root = removeFoundDefinitions(root, definitions, resolver);
  const missing = resolver.missing();
  const fatalMissing = (input.requireAll ?? true) ? missing : [];
  const unused = (input.requireUsed ?? false) ? resolver.unused() : [];
  if (fatalMissing.length + unused.length > 0) throw new VariablesUnresolved(fatalMissing, unused);
  const text = emitYaml(root);
  return {
    root,
    text,
    manifestSha: createHash('sha512').update(text).digest('hex'),
    missing,
    generated: resolver.generated,
    definitions,
    variable: (name) => resolver.peek(name),
    toJson: () => toJson(root),
  };
}

/** The node at an ops path of an evaluated document (`interpolate --path`). Throws `OperationFailed`. */
export function selectPath(root: YamlNode, pathText: string): YamlNode {
  let path: OpPath;
  try {
    path = parseOpPath(pathText);
  } catch (error) {
    if (!(error instanceof PathSyntaxError)) throw error;
    throw new OperationFailed(`Invalid path '${pathText}': ${messageOf(error)}`);
  }
  try {
    return findNode(root, path);
  } catch (error) {
    if (!(error instanceof PathMismatch)) throw error;
    throw new OperationFailed(error.message, { details: { path: pathText } });
  }
}

/** What `interpolate` prints: a text as it is with a newline, anything else as YAML. */
export function renderSelection(node: YamlNode): string {
  return node.kind === 'scalar' && node.type === 'string' ? `${node.value}\n` : emitYaml(node);
}

function removeFoundDefinitions(
  root: YamlNode,
  definitions: readonly VariableDefinition[],
  resolver: VariableResolver,
): YamlNode {
  let result = root;
  const found = definitions.filter(
    (definition) => resolver.lookup(definition.name, definition.node) !== undefined,
  );
  for (const definition of found) {
    const path: OpPath = [
      { kind: 'key', key: 'variables', optional: false },
      { kind: 'match', key: 'name', value: definition.name, optional: false, modifiers: [] },
    ];
    try {
      result = applyOperation(result, { type: 'remove', path });
    } catch (error) {
      if (!(error instanceof PathMismatch)) throw error;
      const position = positionOf(definition.node);
      throw new VariableDefinitionInvalid(`${formatPosition(position)}: ${error.message}`, {
        details: { ...position, variable: definition.name },
        advice: `Define the variable '${definition.name}' once.`,
      });
    }
  }
  return result;
}
