import { isJsonObject, type JsonObject } from '@microbosh/errors';
import { childPath } from '../ops/apply-operation.ts';
import { scalarText } from '../yaml/emit-yaml.ts';
import { childOf, isNull, positionOf, toJson, type YamlNode } from '../yaml/yaml-node.ts';
import type { Position } from '../yaml/source-file.ts';
import type { ManifestProblem } from './manifest-problem.ts';

/**
 * A place in a document that may be absent. Reads what is there in the expected kind (anything else reads as absent:
 * `checkStructure` has reported it) and notes problems with the position of the nearest node that exists.
 */
export class DocumentCursor {
  readonly path: string;
  readonly #node: YamlNode | undefined;
  readonly #nearest: YamlNode;
  readonly #problems: ManifestProblem[];

  private constructor(
    node: YamlNode | undefined,
    nearest: YamlNode,
    path: string,
    problems: ManifestProblem[],
  ) {
    this.#node = node;
    this.#nearest = nearest;
    this.path = path;
    this.#problems = problems;
  }

  static atRoot(root: YamlNode, problems: ManifestProblem[]): DocumentCursor {
    return new DocumentCursor(root, root, '', problems);
  }

  /** Whether there is a value other than null. */
  get present(): boolean {
    return !isNull(this.#node);
  }

  get isMap(): boolean {
    return this.#node?.kind === 'mapping';
  }

  get isList(): boolean {
    return this.#node?.kind === 'sequence';
  }

  /** Of the nearest node that exists. */
  get position(): Position {
    return positionOf(this.#nearest);
  }

  get(name: string): DocumentCursor {
    const child = childOf(this.#node, name);
    const path = childPath(this.path, name);
    return new DocumentCursor(
      isNull(child) ? undefined : child,
      child ?? this.#nearest,
      path,
      this.#problems,
    );
  }

  items(): DocumentCursor[] {
    if (this.#node?.kind !== 'sequence') return [];
    return this.#node.items.map(
      (item, index) =>
        new DocumentCursor(
          isNull(item) ? undefined : item,
          item,
          childPath(this.path, index),
          this.#problems,
        ),
    );
  }

  /** Empty when absent. */
  text(): string {
    return this.present && this.#node?.kind === 'scalar' ? scalarText(this.#node) : '';
  }

  texts(): string[] {
    return this.items().map((item) => item.text());
  }

  /** 0 when absent. */
  integer(): number {
    const node = this.#node;
    if (node?.kind !== 'scalar' || (node.type !== 'int' && node.type !== 'float')) return 0;
    return Number(node.value);
  }

  /** Empty when absent, or when it holds what JSON cannot express. */
  map(): JsonObject {
    if (this.#node?.kind !== 'mapping') return {};
    try {
      const value = toJson(this.#node);
      return isJsonObject(value) ? value : {};
    } catch {
      // checkStructure has reported the key or number.
      return {};
    }
  }

  fail(message: string, suggestion?: string): void {
    this.#note('error', message, suggestion);
  }

  warn(message: string, suggestion?: string): void {
    this.#note('warning', message, suggestion);
  }

  #note(severity: ManifestProblem['severity'], message: string, suggestion: string | undefined): void {
    this.#problems.push({
      severity,
      message,
      position: positionOf(this.#nearest),
      path: this.path,
      ...(suggestion === undefined ? {} : { suggestion }),
    });
  }
}
