import { emitYaml, scalarText } from '../yaml/emit-yaml.ts';
import { messageOf } from '@microbosh/errors';
import { parseYaml } from '../yaml/parse-yaml.ts';
import { formatPosition } from '../yaml/source-file.ts';
import {
  isNull,
  mappingNode,
  positionOf,
  setKey,
  type YamlMapping,
  type YamlNode,
} from '../yaml/yaml-node.ts';
import { VarsStoreInvalid } from './variable-errors.ts';

/** Where the vars-store lives. The caller makes `save` durable and private (mode 0600). */
export interface VarsStorePort {
  /** Path shown in messages. */
  readonly file: string;
  /** The file's text; undefined when there is none yet. */
  load(): Promise<string | undefined>;
  save(text: string): Promise<void>;
  /** Runs `work` while no other process changes the store. Absent: nobody else does. */
  exclusively?(work: () => Promise<void>): Promise<void>;
}

/** The values of a vars-store: a YAML map from name to value, the same as create-env's (reference §3.4). */
export class VarsStore {
  readonly #port: VarsStorePort;
  #values: YamlMapping;

  private constructor(port: VarsStorePort, values: YamlMapping) {
    this.#port = port;
    this.#values = values;
  }

  /** Throws `VarsStoreInvalid`. */
  static async open(port: VarsStorePort): Promise<VarsStore> {
    return new VarsStore(port, await loadValues(port));
  }

  /** Runs `work` on the values as they are now, while no other process changes the store. */
  async exclusively(work: () => Promise<void>): Promise<void> {
    const fresh = async () => {
      this.#values = await loadValues(this.#port);
      await work();
    };
    await (this.#port.exclusively === undefined ? fresh() : this.#port.exclusively(fresh));
  }

  get(name: string): YamlNode | undefined {
    return this.#values.entries.get(name)?.value;
  }

  names(): string[] {
    return [...this.#values.entries.values()].map(({ key }) => scalarText(key));
  }

  /** The text of the store without some values. */
  textWithout(names: ReadonlySet<string>): string {
    const rest: YamlMapping = { ...this.#values, entries: new Map(this.#values.entries) };
    for (const name of names) rest.entries.delete(name);
    return emitYaml(rest);
  }

  /** Every value is on disk before it is used for anything. */
  async put(name: string, value: YamlNode): Promise<void> {
    setKey(this.#values, name, value);
    await this.#port.save(emitYaml(this.#values));
  }
}

async function loadValues(port: VarsStorePort): Promise<YamlMapping> {
  const text = await port.load();
  return text === undefined ? mappingNode() : parseStore(text, port.file);
}

function parseStore(text: string, file: string): YamlMapping {
  let root: YamlNode;
  try {
    root = parseYaml(text, { file });
  } catch (error) {
    throw new VarsStoreInvalid(`Deserializing variables file store '${file}': ${messageOf(error)}`, {
      advice: 'Repair the file or restore it from a copy; it holds the only record of the generated values.',
    });
  }
  if (isNull(root)) return mappingNode();
  if (root.kind === 'mapping') return root;
  throw new VarsStoreInvalid(
    `${formatPosition(positionOf(root))}: Deserializing variables file store '${file}': not a map`,
    { advice: 'The vars-store is a YAML map from variable names to values.' },
  );
}
