import type { Json } from '@microbosh/errors';

export interface OutputStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/**
 * Where commands print. Everything passes through `redact`. Blocks are results (a document, a table) and survive
 * `--quiet`; lines are talk. With `--json`, blocks are collected and printed as one object at the end, in the form
 * of the original.
 */
export class Console {
  readonly #stdout: OutputStream;
  readonly #stderr: OutputStream;
  readonly #redact: (text: string) => string;
  readonly #json: boolean;
  readonly #quiet: boolean;
  readonly #blocks: string[] = [];

  constructor(options: {
    readonly stdout: OutputStream;
    readonly stderr: OutputStream;
    readonly redact: (text: string) => string;
    readonly json: boolean;
    readonly quiet: boolean;
  }) {
    this.#stdout = options.stdout;
    this.#stderr = options.stderr;
    this.#redact = options.redact;
    this.#json = options.json;
    this.#quiet = options.quiet;
  }

  /** A fragment of talk, written as it is. */
  write(text: string): void {
    if (!this.#quiet) this.#stdout.write(this.#redact(text));
  }

  line(text: string): void {
    if (!this.#json) this.write(`${text}\n`);
  }

  /** A result as text, written as it is. Never redacted: the operator asked for it. */
  block(text: string): void {
    if (this.#json) this.#blocks.push(text);
    else this.#stdout.write(text);
  }

  /** One JSON value on a line of its own: an event, or the result of a command under `--json`. */
  json(value: Json): void {
    this.#stdout.write(`${this.#redact(JSON.stringify(value))}\n`);
  }

  error(text: string): void {
    this.#stderr.write(`${this.#redact(text)}\n`);
  }

  /** Prints the collected blocks of a `--json` run. */
  flush(): void {
    if (this.#blocks.length === 0) return;
    this.#stdout.write(JSON.stringify({ Tables: null, Blocks: this.#blocks, Lines: null }, null, 4));
  }
}
