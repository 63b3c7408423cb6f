import { messageOf } from '@microbosh/errors';
import { formatPosition } from '../yaml/source-file.ts';
import { cloneNode, positionOf, type YamlNode, type YamlScalar } from '../yaml/yaml-node.ts';
import { GenerationError } from './generate/generation-error.ts';
import { interpolateNode, referencedNames } from './interpolate-node.ts';
import {
  VariableDefinitionInvalid,
  VariableGenerationFailed,
  type MissingReference,
} from './variable-errors.ts';
import type { VariableDefinition } from './variable-definitions.ts';
import type { StaticVariables } from './variable-sources.ts';
import type { VarsStore } from './vars-store.ts';

/** Makes the value of a definition; `options` are resolved. `find` gives other variables' values, for signing CAs. */
export type GenerateVariable = (
  definition: { readonly name: string; readonly type: string; readonly options: YamlNode | undefined },
  find: (name: string) => YamlNode | undefined,
) => Promise<YamlNode>;

type Outcome = { readonly value: YamlNode } | 'missing' | 'incomplete';

/**
 * Finds the value of a variable: static sources first, then the store, which generates it from its definition.
 * All generation happens in `prepare`; after that, `lookup` answers at once and keeps account of what was asked.
 */
export class VariableResolver {
  readonly generated: string[] = [];
  readonly #static: StaticVariables;
  readonly #store: VarsStore | undefined;
  readonly #generate: GenerateVariable;
  readonly #definitions = new Map<string, VariableDefinition>();
  readonly #outcomes = new Map<string, Outcome>();
  readonly #visited = new Set<string>();
  readonly #missing = new Map<string, YamlNode>();

  constructor(
    definitions: readonly VariableDefinition[],
    variables: StaticVariables,
    store: VarsStore | undefined,
    generate: GenerateVariable,
  ) {
    this.#static = variables;
    this.#store = store;
    this.#generate = generate;
    for (const definition of definitions) {
      if (!this.#definitions.has(definition.name)) this.#definitions.set(definition.name, definition);
    }
  }

  /** Looks up, and so generates, every definition with a type, in list order. */
  async prepare(): Promise<void> {
    const typed = [...this.#definitions.values()].filter(({ type }) => type !== '');
    const resolveAll = async () => {
      for (const { name } of typed) await this.#resolve(name, []);
    };
    // Two processes that generate at the same time would each lose what the other made.
    const isComplete = typed.every(({ name }) => this.#find(name) !== 'missing');
    await (this.#store === undefined || isComplete ? resolveAll() : this.#store.exclusively(resolveAll));
  }

  lookup = (name: string, at: YamlNode): YamlNode | undefined => {
    this.#visited.add(name);
    const outcome = this.#outcomes.get(name) ?? this.#find(name);
    if (outcome === 'missing' && !this.#missing.has(name)) this.#missing.set(name, at);
    return typeof outcome === 'string' ? undefined : outcome.value;
  };

  /** The value of a variable and where it came from, without counting as a use. */
  peek(name: string): { readonly value: YamlNode; readonly stored: boolean } | undefined {
    const given = this.#static.get(name);
    if (given !== undefined) return { value: given, stored: false };
    const value = this.#store?.get(name);
    return value === undefined ? undefined : { value, stored: true };
  }

  missing(): MissingReference[] {
    return [...this.#missing]
      .map(([name, node]) => ({ name, position: positionOf(node) }))
      .sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  unused(): string[] {
    const supplied = new Set([...this.#static.keys(), ...(this.#store?.names() ?? [])]);
    return [...supplied].filter((name) => !this.#visited.has(name)).sort();
  }

  #find(name: string): Outcome {
    const value = this.#static.get(name) ?? this.#store?.get(name);
    return value === undefined ? 'missing' : { value };
  }

  async #resolve(name: string, path: readonly string[]): Promise<Outcome> {
    const known = this.#outcomes.get(name);
    if (known !== undefined) return known;
    const definition = this.#definitions.get(name);
    if (definition === undefined) return this.#find(name);
    if (path.includes(name)) {
      const user = this.#definitions.get(path.at(-1) ?? name) ?? definition;
      throw new VariableDefinitionInvalid(
        `${formatPosition(positionOf(user.node))}: Interpolating variable '${user.name}' definition options: ` +
          `Finding variable '${name}': Detected recursion`,
        { details: { ...positionOf(user.node), variables: [...path, name] } },
      );
    }
    const outcome = await this.#resolveDefinition(definition, [...path, name]);
    this.#outcomes.set(name, outcome);
    return outcome;
  }

  async #resolveDefinition(definition: VariableDefinition, path: readonly string[]): Promise<Outcome> {
    const options = await this.#resolveOptions(definition, path);
    if (options === 'incomplete') return 'incomplete';
    const found = this.#find(definition.name);
    if (found !== 'missing' || this.#store === undefined || definition.type === '') return found;
    let value: YamlNode;
    try {
      value = await this.#generate({ name: definition.name, type: definition.type, options }, (name) =>
        valueOf(this.#find(name)),
      );
    } catch (error) {
      const position = positionOf(definition.node);
      throw new VariableGenerationFailed(
        `${formatPosition(position)}: Generating variable '${definition.name}': ${messageOf(error)}`,
        {
          details: { ...position, variable: definition.name },
          ...(error instanceof GenerationError ? {} : { cause: error }),
        },
      );
    }
    await this.#store.put(definition.name, value);
    this.generated.push(definition.name);
    return { value };
  }

  /** The options with their references replaced; `incomplete` when one of those has no value. */
  async #resolveOptions(
    definition: VariableDefinition,
    path: readonly string[],
  ): Promise<YamlNode | undefined | 'incomplete'> {
    if (definition.options === undefined) return undefined;
    const values = new Map<string, Outcome>();
    for (const name of namesIn(definition.options)) values.set(name, await this.#resolve(name, path));
    if ([...values.values()].some((outcome) => typeof outcome === 'string')) return 'incomplete';
    return interpolateNode(cloneNode(definition.options), (name) => valueOf(values.get(name)));
  }
}

function valueOf(outcome: Outcome | undefined): YamlNode | undefined {
  return outcome === undefined || typeof outcome === 'string' ? undefined : outcome.value;
}

function namesIn(node: YamlNode): Set<string> {
  const names = new Set<string>();
  const visit = (current: YamlNode): void => {
    if (current.kind === 'scalar') visitScalar(current);
    else if (current.kind === 'sequence') current.items.forEach(visit);
    else {
      for (const { key, value } of current.entries.values()) {
        visitScalar(key);
        visit(value);
      }
    }
  };
  const visitScalar = (scalar: YamlScalar): void => {
    if (scalar.type === 'string') for (const name of referencedNames(scalar.value)) names.add(name);
  };
  visit(node);
  return names;
}
