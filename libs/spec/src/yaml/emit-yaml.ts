import { isTimestamp, resolveScalar } from './resolve-scalar.ts';
import type { YamlMapping, YamlNode, YamlScalar, YamlSequence } from './yaml-node.ts';

/**
 * Writes a document exactly as gopkg.in/yaml.v2 (a port of libyaml's emitter) does: the manifest's hash in the
 * state file is over these bytes. Rules in reference create-env §2.1 "Output".
 */
export function emitYaml(node: YamlNode): string {
  return new Emitter().document(node);
}

/** A scalar's text as it is written, without quotes: what a field gets that takes any scalar as a string. */
export function scalarText(node: YamlScalar): string {
  switch (node.type) {
    case 'null':
      return 'null';
    case 'bool':
    case 'int':
      return String(node.value);
    case 'float':
      return goFloatText(node.value);
    case 'string':
      return node.value;
  }
}

/** Text that every rule below leaves as it is. */
const simpleWord = /^[A-Za-z0-9_/](?:[A-Za-z0-9_/.+=~()!-])*$/;
const simpleAnalysis: Analysis = {
  multiline: false,
  blockPlainAllowed: true,
  singleQuotedAllowed: true,
  blockAllowed: true,
};
const asciiLines = /^[\n\x20-\x7e]*$/;

const BEST_WIDTH = 80;
const BEST_INDENT = 2;
const MAX_SIMPLE_KEY_BYTES = 128;

type Style = 'plain' | 'single' | 'double' | 'literal';

interface Analysis {
  readonly multiline: boolean;
  readonly blockPlainAllowed: boolean;
  readonly singleQuotedAllowed: boolean;
  readonly blockAllowed: boolean;
}

interface Context {
  readonly mapping: boolean;
  readonly simpleKey: boolean;
}

class Emitter {
  #out = '';
  #column = 0;
  #indent = -1;
  #whitespace = true;
  /** Only indentation and indicators so far on this line. */
  #indention = true;

  document(node: YamlNode): string {
    this.#node(node, { mapping: false, simpleKey: false });
    this.#indent = -1;
    this.#writeIndent();
    return this.#out;
  }

  #node(node: YamlNode, context: Context): void {
    switch (node.kind) {
      case 'scalar':
        this.#scalar(node, context);
        return;
      case 'sequence':
        if (node.items.length === 0) this.#empty('[', ']');
        else this.#sequence(node, context);
        return;
      case 'mapping':
        if (node.entries.size === 0) this.#empty('{', '}');
        else this.#mapping(node);
    }
  }

  #empty(open: string, close: string): void {
    this.#indicator(open, true, true, false);
    this.#indicator(close, false, false, false);
  }

  #sequence(node: YamlSequence, context: Context): void {
    const outer = this.#indent;
    const indentless = context.mapping && !this.#indention;
    if (outer < 0) this.#indent = 0;
    else if (!indentless) this.#indent = outer + BEST_INDENT;
    for (const item of node.items) {
      this.#writeIndent();
      this.#indicator('-', true, false, true);
      this.#node(item, { mapping: false, simpleKey: false });
    }
    this.#indent = outer;
  }

  #mapping(node: YamlMapping): void {
    const outer = this.#indent;
    this.#indent = outer < 0 ? 0 : outer + BEST_INDENT;
    const entries = [...node.entries.values()].sort((left, right) => compareKeys(left.key, right.key));
    for (const entry of entries) {
      this.#writeIndent();
      if (isSimpleKey(entry.key)) {
        this.#node(entry.key, { mapping: true, simpleKey: true });
        this.#indicator(':', false, false, false);
      } else {
        this.#indicator('?', true, false, true);
        this.#node(entry.key, { mapping: true, simpleKey: false });
        this.#writeIndent();
        this.#indicator(':', true, false, true);
      }
      this.#node(entry.value, { mapping: true, simpleKey: false });
    }
    this.#indent = outer;
  }

  #scalar(node: YamlScalar, context: Context): void {
    const value = scalarText(node);
    const style = styleOf(node, value, context);
    const outer = this.#indent;
    this.#indent = outer < 0 ? BEST_INDENT : outer + BEST_INDENT;
    switch (style) {
      case 'plain':
        this.#plain(value, !context.simpleKey);
        break;
      case 'single':
        this.#singleQuoted(value, !context.simpleKey);
        break;
      case 'double':
        this.#doubleQuoted(value, !context.simpleKey);
        break;
      case 'literal':
        this.#literal(value);
    }
    this.#indent = outer;
  }

  #plain(value: string, allowBreaks: boolean): void {
    if (!this.#whitespace) this.#put(' ');
    // Plain words are never folded.
    if (simpleWord.test(value)) {
      this.#out += value;
      this.#column += value.length;
    } else {
      this.#foldable([...value], allowBreaks, 0);
    }
    this.#whitespace = false;
    this.#indention = false;
  }

  #singleQuoted(value: string, allowBreaks: boolean): void {
    this.#indicator("'", true, false, false);
    this.#foldable([...value], allowBreaks, 1);
    this.#indicator("'", false, false, false);
    this.#whitespace = false;
    this.#indention = false;
  }

  /** Writes text that may be folded at single spaces. `margin` 1: not at the first and last character, `'` doubled. */
  #foldable(chars: readonly string[], allowBreaks: boolean, margin: 0 | 1): void {
    let spaces = false;
    let breaks = false;
    chars.forEach((char, index) => {
      if (char === ' ') {
        const inner = index >= margin && index < chars.length - margin;
        if (allowBreaks && !spaces && this.#column > BEST_WIDTH && inner && chars[index + 1] !== ' ')
          this.#writeIndent();
        else this.#put(char);
        spaces = true;
      } else if (isBreak(char)) {
        if (!breaks && char === '\n') this.#break();
        this.#putBreak(char);
        this.#indention = true;
        breaks = true;
      } else {
        if (breaks) this.#writeIndent();
        if (margin === 1 && char === "'") this.#put(char);
        this.#put(char);
        this.#indention = false;
        spaces = false;
        breaks = false;
      }
    });
  }

  #doubleQuoted(value: string, allowBreaks: boolean): void {
    const chars = [...value];
    // libyaml looks for a byte order mark at the start of the text, whatever character it is at.
    const startsWithMark = chars[0] === '\uFEFF';
    let spaces = false;
    this.#indicator('"', true, false, false);
    chars.forEach((char, index) => {
      if (startsWithMark || !isPrintable(char) || isBreak(char) || char === '"' || char === '\\') {
        for (const piece of escapeOf(char)) this.#put(piece);
        spaces = false;
      } else if (char === ' ') {
        const inner = index > 0 && index < chars.length - 1;
        if (allowBreaks && !spaces && this.#column > BEST_WIDTH && inner) {
          this.#writeIndent();
          if (chars[index + 1] === ' ') this.#put('\\');
        } else {
          this.#put(char);
        }
        spaces = true;
      } else {
        this.#put(char);
        spaces = false;
      }
    });
    this.#indicator('"', false, false, false);
    this.#whitespace = false;
    this.#indention = false;
  }

  #literal(value: string): void {
    const chars = [...value];
    this.#indicator('|', true, false, false);
    const first = chars[0] ?? '';
    if (first === ' ' || isBreak(first)) this.#indicator(String(BEST_INDENT), false, false, false);
    const last = chars.at(-1) ?? '';
    const beforeLast = chars.at(-2);
    if (!isBreak(last)) this.#indicator('-', false, false, false);
    else if (beforeLast === undefined || isBreak(beforeLast)) this.#indicator('+', false, false, false);
    this.#break();
    this.#indention = true;
    this.#whitespace = true;
    if (asciiLines.test(value)) {
      this.#asciiLines(value);
      return;
    }
    let breaks = true;
    for (const char of chars) {
      if (isBreak(char)) {
        this.#putBreak(char);
        this.#indention = true;
        breaks = true;
      } else {
        if (breaks) this.#writeIndent();
        this.#put(char);
        this.#indention = false;
        breaks = false;
      }
    }
  }

  /** The lines of a literal scalar that has no other break than the line feed, written at once. */
  #asciiLines(value: string): void {
    const lines = value.split('\n');
    const last = lines.pop() ?? '';
    for (const line of lines) {
      this.#line(line);
      this.#break();
      this.#indention = true;
    }
    this.#line(last);
  }

  #line(line: string): void {
    if (line === '') return;
    this.#writeIndent();
    this.#out += line;
    this.#column += line.length;
    this.#indention = false;
  }

  #indicator(text: string, needWhitespace: boolean, isWhitespace: boolean, isIndention: boolean): void {
    if (needWhitespace && !this.#whitespace) this.#put(' ');
    for (const char of text) this.#put(char);
    this.#whitespace = isWhitespace;
    this.#indention = this.#indention && isIndention;
  }

  #writeIndent(): void {
    const indent = Math.max(0, this.#indent);
    if (!this.#indention || this.#column > indent || (this.#column === indent && !this.#whitespace))
      this.#break();
    if (this.#column < indent) {
      this.#out += ' '.repeat(indent - this.#column);
      this.#column = indent;
    }
    this.#whitespace = true;
    this.#indention = true;
  }

  #put(char: string): void {
    this.#out += char;
    this.#column += 1;
  }

  #break(): void {
    this.#out += '\n';
    this.#column = 0;
  }

  #putBreak(char: string): void {
    this.#out += char;
    this.#column = 0;
  }
}

function styleOf(node: YamlScalar, value: string, context: Context): Style {
  const analysis = analyze(value);
  let style: Style = 'plain';
  if (node.type === 'string') {
    if (value.includes('\n')) style = 'literal';
    else if (!readsAsString(value)) style = 'double';
  }
  if (context.simpleKey && analysis.multiline) style = 'double';
  if (style === 'plain' && (!analysis.blockPlainAllowed || (value === '' && context.simpleKey)))
    style = 'single';
  if (style === 'single' && !analysis.singleQuotedAllowed) style = 'double';
  if (style === 'literal' && (!analysis.blockAllowed || context.simpleKey)) style = 'double';
  return style;
}

/** Whether the unquoted text would be read back as this string by YAML 1.1 readers. */
function readsAsString(value: string): boolean {
  return (
    resolveScalar(value, 'go-yaml-v2').type === 'string' &&
    !isTimestamp(value) &&
    !/^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?$/.test(value)
  );
}

function isSimpleKey(key: YamlScalar): boolean {
  const text = scalarText(key);
  return !analyze(text).multiline && Buffer.byteLength(text) <= MAX_SIMPLE_KEY_BYTES;
}

function analyze(value: string): Analysis {
  if (simpleWord.test(value)) return simpleAnalysis;
  if (value === '') {
    return { multiline: false, blockPlainAllowed: true, singleQuotedAllowed: true, blockAllowed: false };
  }
  const chars = [...value];
  let indicators = value.startsWith('---') || value.startsWith('...');
  let special = false;
  let lineBreaks = false;
  let breakSpace = false;
  let spaceBreak = false;
  let previousSpace = false;
  let previousBreak = false;
  let precededByWhitespace = true;
  chars.forEach((char, index) => {
    const next = chars[index + 1];
    const followedByWhitespace = next === undefined || next === ' ' || next === '\t';
    if (index === 0) {
      if ('#,[]{}&*!|>\'"%@`'.includes(char)) indicators = true;
      else if ('?:-'.includes(char) && followedByWhitespace) indicators = true;
    } else if ((char === ':' && followedByWhitespace) || (char === '#' && precededByWhitespace)) {
      indicators = true;
    }
    if (!isPrintable(char)) special = true;
    const space = char === ' ';
    const lineBreak = isBreak(char);
    if (space && previousBreak) breakSpace = true;
    if (lineBreak && previousSpace) spaceBreak = true;
    lineBreaks ||= lineBreak;
    previousSpace = space;
    previousBreak = lineBreak;
    precededByWhitespace = space || lineBreak || char === '\t' || char === '\0';
  });
  const first = chars[0] ?? '';
  const last = chars.at(-1) ?? '';
  const edges = first === ' ' || last === ' ' || isBreak(first) || isBreak(last);
  const unsafe = spaceBreak || special;
  return {
    multiline: lineBreaks,
    blockPlainAllowed: !(edges || breakSpace || unsafe || lineBreaks || indicators),
    singleQuotedAllowed: !(breakSpace || unsafe),
    blockAllowed: !(last === ' ' || unsafe),
  };
}

function isBreak(char: string): boolean {
  return char === '\n' || char === '\r' || char === '\u0085' || char === '\u2028' || char === '\u2029';
}

/** As the original decides it: neither tabs nor characters beyond the basic plane count as printable. */
function isPrintable(char: string): boolean {
  const code = char.codePointAt(0) ?? 0;
  return (
    code === 0x0a ||
    (code >= 0x20 && code <= 0x7e) ||
    (code >= 0xa0 && code <= 0xd7ff) ||
    (code >= 0xe000 && code <= 0xfffd && code !== 0xfeff)
  );
}

const shortEscapes: Readonly<Record<string, string>> = {
  '\0': '\\0',
  '\u0007': '\\a',
  '\b': '\\b',
  '\t': '\\t',
  '\n': '\\n',
  '\v': '\\v',
  '\f': '\\f',
  '\r': '\\r',
  '\u001b': '\\e',
  '"': '\\"',
  '\\': '\\\\',
  '\u0085': '\\N',
  '\u00a0': '\\_',
  '\u2028': '\\L',
  '\u2029': '\\P',
};

function escapeOf(char: string): string {
  const short = shortEscapes[char];
  if (short !== undefined) return short;
  const code = char.codePointAt(0) ?? 0;
  const hex = code.toString(16).toUpperCase();
  if (code <= 0xff) return `\\x${hex.padStart(2, '0')}`;
  return code <= 0xffff ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`;
}

/** Shortest form with an exponent of at least two digits when it is below -4 or above 5. */
export function goFloatText(value: number): string {
  if (Number.isNaN(value)) return '.nan';
  if (!Number.isFinite(value)) return value > 0 ? '.inf' : '-.inf';
  if (Object.is(value, -0)) return '-0';
  if (value === 0) return '0';
  const [mantissa = '', exponentText = ''] = value.toExponential().split('e');
  const exponent = Number(exponentText);
  if (exponent >= -4 && exponent < 6) return plainDecimal(mantissa, exponent);
  const digits = String(Math.abs(exponent)).padStart(2, '0');
  return `${mantissa}e${exponent < 0 ? '-' : '+'}${digits}`;
}

function plainDecimal(mantissa: string, exponent: number): string {
  const sign = mantissa.startsWith('-') ? '-' : '';
  const digits = mantissa.replace(/[-.]/g, '');
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, '0');
  const fraction = digits.slice(exponent + 1);
  return fraction === '' ? sign + whole : `${sign}${whole}.${fraction}`;
}

const kindOrder: Readonly<Record<YamlScalar['type'], number>> = {
  bool: 1,
  int: 2,
  float: 14,
  null: 20,
  string: 24,
};

/** Numbers and booleans by value, before strings; strings in the "natural" order of the original. */
function compareKeys(left: YamlScalar, right: YamlScalar): number {
  const leftNumber = keyNumber(left);
  const rightNumber = keyNumber(right);
  if (leftNumber !== undefined && rightNumber !== undefined) {
    if (leftNumber !== rightNumber) return leftNumber < rightNumber ? -1 : 1;
    return kindOrder[left.type] - kindOrder[right.type];
  }
  if (left.type !== 'string' || right.type !== 'string') return kindOrder[left.type] - kindOrder[right.type];
  return naturalLess(left.value, right.value) ? -1 : naturalLess(right.value, left.value) ? 1 : 0;
}

function keyNumber(key: YamlScalar): number | undefined {
  if (key.type === 'bool') return key.value ? 1 : 0;
  return key.type === 'int' || key.type === 'float' ? Number(key.value) : undefined;
}

const letter = /^\p{L}$/u;
const digit = /^\p{Nd}$/u;

function naturalLess(left: string, right: string): boolean {
  const a = [...left];
  const b = [...right];
  for (let index = 0; index < a.length && index < b.length; index += 1) {
    const ac = a[index] ?? '';
    const bc = b[index] ?? '';
    if (ac === bc) continue;
    const aLetter = letter.test(ac);
    const bLetter = letter.test(bc);
    if (aLetter && bLetter) return codeOf(ac) < codeOf(bc);
    if (aLetter || bLetter) return bLetter;
    const inRun = (ac === '0' || bc === '0') && followsNonZeroDigit(a, index);
    const aRun = digitRun(a, index, inRun);
    const bRun = digitRun(b, index, inRun);
    if (aRun.value !== bRun.value) return aRun.value < bRun.value;
    if (aRun.end !== bRun.end) return aRun.end < bRun.end;
    return codeOf(ac) < codeOf(bc);
  }
  return a.length < b.length;
}

function followsNonZeroDigit(chars: readonly string[], index: number): boolean {
  for (let at = index - 1; at >= 0 && digit.test(chars[at] ?? ''); at -= 1) {
    if (chars[at] !== '0') return true;
  }
  return false;
}

function digitRun(
  chars: readonly string[],
  start: number,
  leadingOne: boolean,
): { value: bigint; end: number } {
  let value = leadingOne ? 1n : 0n;
  let end = start;
  while (end < chars.length && digit.test(chars[end] ?? '')) {
    value = BigInt.asIntN(64, value * 10n + BigInt(codeOf(chars[end] ?? '') - 48));
    end += 1;
  }
  return { value, end };
}

function codeOf(char: string): number {
  return char.codePointAt(0) ?? 0;
}
