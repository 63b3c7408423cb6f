import { scalarText } from '../../yaml/emit-yaml.ts';
import { isNull, type YamlNode } from '../../yaml/yaml-node.ts';
import { invalidParameters } from './generation-error.ts';

/** Typed access to a definition's options; every problem names the type and the option. */
export class GenerationOptions {
  readonly #type: string;
  readonly #values = new Map<string, YamlNode>();

  /** Fails for options that the type does not know. */
  constructor(type: string, options: YamlNode | undefined, known: readonly string[]) {
    this.#type = type;
    if (options === undefined || isNull(options)) return;
    if (options.kind !== 'mapping') throw invalidParameters(type, 'Expected a map');
    for (const { key, value } of options.entries.values()) {
      const name = scalarText(key);
      if (!known.includes(name)) throw invalidParameters(type, `Unsupported parameter '${name}'`);
      if (!isNull(value)) this.#values.set(name, value);
    }
  }

  text(name: string): string | undefined {
    const node = this.#values.get(name);
    if (node === undefined) return undefined;
    if (node.kind !== 'scalar') throw invalidParameters(this.#type, `Expected '${name}' to be text`);
    return scalarText(node);
  }

  flag(name: string): boolean {
    const node = this.#values.get(name);
    if (node === undefined) return false;
    if (node.kind !== 'scalar' || node.type !== 'bool') {
      throw invalidParameters(this.#type, `Expected '${name}' to be true or false`);
    }
    return node.value;
  }

  integer(name: string): number | undefined {
    const node = this.#values.get(name);
    if (node === undefined) return undefined;
    if (node.kind !== 'scalar' || node.type !== 'int' || typeof node.value !== 'number') {
      throw invalidParameters(this.#type, `Expected '${name}' to be an integer`);
    }
    return node.value;
  }

  list(name: string): string[] | undefined {
    const node = this.#values.get(name);
    if (node === undefined) return undefined;
    if (node.kind !== 'sequence') throw invalidParameters(this.#type, `Expected '${name}' to be a list`);
    return node.items.map((item) => {
      if (item.kind !== 'scalar')
        throw invalidParameters(this.#type, `Expected '${name}' to be a list of texts`);
      return scalarText(item);
    });
  }
}
