import { evaluateManifest, type EvaluateManifestInput } from '../evaluate-manifest.ts';
import { scalarText } from '../yaml/emit-yaml.ts';
import { formatPosition } from '../yaml/source-file.ts';
import { childOf, isNull, positionOf } from '../yaml/yaml-node.ts';
import { checkVariables, type VariableFinding, type VariableFindingKind } from './check-variables.ts';
import { rotate, withStore } from './rotate-variables.ts';
import type { VariableDefinition } from './variable-definitions.ts';
import { VariableDefinitionInvalid } from './variable-errors.ts';
import type { VarsStorePort } from './vars-store.ts';

export interface ConvergeInput extends EvaluateManifestInput {
  readonly varsStore: VarsStorePort;
  /** Certificates that end within this many days are made again. Default 30. */
  readonly warnDays?: number;
}

export interface ConvergedVariables {
  /** Made again, in the order of the manifest. */
  readonly rotated: readonly string[];
  /** What only the operator can settle. */
  readonly left: readonly VariableFinding[];
}

/** A value that cannot be read may be the operator's own: it is not replaced. */
const fixable: ReadonlySet<VariableFindingKind> = new Set([
  'expired',
  'expires-soon',
  'options-changed',
  'ca-changed',
  'missing',
]);

const updateModes = ['converge', 'overwrite', 'no-overwrite'] as const;

/**
 * Generates again what `checkVariables` finds, and everything that a CA among it signs, and stores all of it at once or
 * nothing. `update_mode` of a definition: `overwrite` is made again every time, `no-overwrite` never.
 * Throws what `rotateVariables` throws.
 */
export async function convergeVariables(input: ConvergeInput): Promise<ConvergedVariables> {
  return withStore(input.varsStore, () => converge(input));
}

async function converge({ warnDays, ...input }: ConvergeInput): Promise<ConvergedVariables> {
  const manifest = await evaluateManifest({
    ...input,
    generate: false,
    requireAll: false,
    requireUsed: false,
  });
  const findings = checkVariables(manifest, {
    now: (input.now ?? (() => new Date()))(),
    ...(warnDays === undefined ? {} : { warnDays }),
  });
  const keep = new Set<string>();
  const names = new Set(findings.filter(({ kind }) => fixable.has(kind)).map(({ name }) => name));
  for (const definition of manifest.definitions) {
    const { name, type } = definition;
    const mode = updateModeOf(definition);
    const value = manifest.variable(name);
    const isGiven = value !== undefined && !value.stored;
    if (isGiven || (mode === 'no-overwrite' && value !== undefined)) keep.add(name);
    else if (mode === 'overwrite' && type !== '') names.add(name);
  }
  const wanted = [...names].filter((name) => !keep.has(name));
  if (wanted.length === 0) return { rotated: [], left: findings };
  const rotated = await rotate({ ...input, names: wanted }, keep);
  return { rotated, left: findings.filter(({ name }) => !rotated.includes(name)) };
}

function updateModeOf(definition: VariableDefinition): (typeof updateModes)[number] {
  const node = childOf(definition.node, 'update_mode');
  if (node === undefined || isNull(node)) return 'converge';
  const text = node.kind === 'scalar' ? scalarText(node) : '';
  const mode = updateModes.find((known) => known === text);
  if (mode !== undefined) return mode;
  const position = positionOf(node);
  throw new VariableDefinitionInvalid(
    `${formatPosition(position)}: update_mode of variable '${definition.name}' must be one of ${updateModes.join(', ')}`,
    { details: { ...position, variable: definition.name } },
  );
}
