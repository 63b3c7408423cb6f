import { YAMLException, parseEvents } from 'js-yaml';
import type { Event } from 'js-yaml';
import { withPlainBreaks } from './line-breaks.ts';
import type { SourceFile } from './source-file.ts';
import { YamlSyntaxError } from './yaml-errors.ts';

const MAX_DEPTH = 1000;
/** Characters that may be parsed again because of lines that lack indentation: some seconds. */
const MAX_LENIENT_WORK = 200_000_000;

/** What the events of a document refer to. */
export interface ParsedText {
  /** Without the line breaks that are none in YAML 1.2. */
  readonly input: string;
  /** The same text with all of its line breaks. */
  readonly written: string;
  /** Place in the source of a place in both. */
  readonly sourceOffset: (offset: number) => number;
}

/**
 * YAML 1.2 wants every line of a flow collection or quoted text to be indented more than its parent; the originals do
 * not, and a closing bracket in the first column is common. Such lines are parsed as if they were indented, which
 * changes no value. How many lines belong together is not known, so it is tried out with more and fewer at a time.
 */
export function parseLeniently(
  text: string,
  base: number,
  source: SourceFile,
): { parsed: ParsedText; events: Event[] } {
  let known = new IndentedText(text);
  let attempt = known;
  let tried: { readonly first: number; readonly lines: number } | undefined;
  let lines = 1;
  for (let work = 0; ; work += attempt.input.length) {
    try {
      const current = attempt;
      const { input, written } = current;
      const events = parseEvents(input, { maxDepth: MAX_DEPTH });
      const sourceOffset = (offset: number) => base + current.originalOffset(offset);
      return { parsed: { input, written, sourceOffset }, events };
    } catch (error) {
      if (!(error instanceof YAMLException)) throw error;
      const offset = attempt.originalOffset(error.mark?.position ?? 0);
      const line = known.lineAt(offset);
      const isTooMany = tried !== undefined && line < tried.first + tried.lines;
      if (work > MAX_LENIENT_WORK || (isTooMany ? lines === 1 : error.reason !== 'deficient indentation')) {
        // The library's own error quotes the line, which can hold a secret.
        throw new YamlSyntaxError(error.reason, source.positionAt(base + offset));
      }
      let first = line;
      if (isTooMany) {
        lines = Math.ceil(lines / 2);
        first = tried?.first ?? line;
      } else {
        // More of the same when it goes on right there, else something new.
        const goesOn = tried !== undefined && line === tried.first + tried.lines;
        lines = goesOn ? lines * 2 : known.linesUntilBlock(line);
        known = attempt;
      }
      tried = { first, lines };
      attempt = known.indent(first, lines);
    }
  }
}

/** A text some of whose lines are indented more than they are written. */
class IndentedText {
  readonly input: string;
  readonly written: string;
  readonly #text: string;
  readonly #layout: Layout;
  /** Indented lines, ascending. */
  readonly #indented: readonly number[];

  constructor(text: string, layout = new Layout(text), indented: readonly number[] = []) {
    this.#text = text;
    this.#layout = layout;
    this.#indented = indented;
    let from = 0;
    let written = '';
    for (const line of indented) {
      const start = layout.startOf(line);
      written += text.slice(from, start) + layout.indentation;
      from = start;
    }
    this.written = written + text.slice(from);
    this.input = withPlainBreaks(this.written);
  }

  indent(first: number, count: number): IndentedText {
    const lines = Array.from({ length: count }, (_unused, index) => first + index);
    const known = lines.filter((line) => line < this.#layout.lineCount);
    return new IndentedText(this.#text, this.#layout, [...this.#indented, ...known]);
  }

  originalOffset(offset: number): number {
    if (this.#indented.length === 0) return offset;
    const width = this.#layout.indentation.length;
    const startOf = (index: number) => this.#layout.startOf(this.#indented[index] ?? 0);
    const before = countUntil(this.#indented.length, (index) => startOf(index) + index * width > offset);
    return before === 0 ? offset : Math.max(startOf(before - 1), offset - before * width);
  }

  lineAt(offset: number): number {
    return countUntil(this.#layout.lineCount, (line) => this.#layout.startOf(line) > offset) - 1;
  }

  /** How many lines from this one on do not look like the next key or item; at least one. */
  linesUntilBlock(line: number): number {
    const { lineCount } = this.#layout;
    let next = line + 1;
    while (next < lineCount && !/^ *(?:- |[^\s"'#,[\]{}-][^"']*:(?:\s|$))/.test(this.#line(next))) next += 1;
    return next - line;
  }

  #line(line: number): string {
    return this.#text.slice(this.#layout.startOf(line), this.#layout.startOf(line + 1));
  }
}

/** Lines of a text; found when they are asked for, which is hardly ever. */
class Layout {
  readonly #text: string;
  #starts: readonly number[] | undefined;
  #indentation: string | undefined;

  constructor(text: string) {
    this.#text = text;
  }

  get lineCount(): number {
    return this.#lineStarts.length;
  }

  /** The end of the text for a line behind the last one. */
  startOf(line: number): number {
    return this.#lineStarts[line] ?? this.#text.length;
  }

  /** Puts a line below everything: no block begins behind more than blanks and the signs of compact blocks. */
  get indentation(): string {
    if (this.#indentation === undefined) {
      const lengths = Array.from(this.#text.matchAll(/^[ \-?:]*/gm), ([{ length }]) => length);
      this.#indentation = ' '.repeat(lengths.reduce((most, length) => Math.max(most, length), 0) + 1);
    }
    return this.#indentation;
  }

  get #lineStarts(): readonly number[] {
    this.#starts ??= [
      0,
      ...Array.from(
        this.#text.matchAll(/\r\n|[\r\n\u0085\u2028\u2029]/g),
        ({ index, 0: { length } }) => index + length,
      ),
    ];
    return this.#starts;
  }
}

/** The first index for which an ascending condition holds. */
function countUntil(length: number, holds: (index: number) => boolean): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
