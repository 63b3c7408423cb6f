import { ControlFileInvalid } from './control-language.ts';

export interface Token {
  readonly text: string;
  readonly quoted: boolean;
  readonly line: number;
}

/** Words that monit reads over wherever they stand. */
const noise = new Set(
  'is as are for on only with and has using use the usage was but of sum programs than that'.split(' '),
);

const pattern =
  /(\n)|#[^\n]*|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|(>=|<=|==|!=|[><=!,{}()])|(https?:\/\/[^\s"']+|[^\s"'#><=!,{}()]+)|[^\S\n]+/gy;

export function tokenise(text: string): readonly Token[] {
  const tokens: Token[] = [];
  pattern.lastIndex = 0;
  let line = 1;
  let position = 0;
  while (position < text.length) {
    const match = pattern.exec(text);
    if (!match) {
      pattern.lastIndex = 0;
      throw new ControlFileInvalid('a quotation mark is not closed', line);
    }
    const quoted = match[2] ?? match[3];
    const bare = match[4] ?? match[5];
    if (quoted !== undefined) tokens.push({ text: quoted.replace(/\\(["'\\])/g, '$1'), quoted: true, line });
    // `500MB` and `90%` are numbers with a unit.
    else if (bare !== undefined) {
      const [, number, unit] = /^([\d.]+)(%|[a-z]+)$/i.exec(bare) ?? [];
      if (number !== undefined && unit !== undefined && isUnit(unit)) {
        tokens.push({ text: number, quoted: false, line }, { text: unit, quoted: false, line });
      } else tokens.push({ text: bare, quoted: false, line });
    }
    line += match[0].split('\n').length - 1;
    position = pattern.lastIndex;
  }
  pattern.lastIndex = 0;
  return tokens;
}

const units: Readonly<Record<string, number>> = {
  ...{ b: 1, byte: 1, bytes: 1 },
  ...{ kb: 2 ** 10, kilobyte: 2 ** 10, kilobytes: 2 ** 10 },
  ...{ mb: 2 ** 20, megabyte: 2 ** 20, megabytes: 2 ** 20 },
  ...{ gb: 2 ** 30, gigabyte: 2 ** 30, gigabytes: 2 ** 30 },
  ...{ tb: 2 ** 40, terabyte: 2 ** 40, terabytes: 2 ** 40 },
};

const durations: Readonly<Record<string, number>> = {
  ...{ ms: 0.001, millisecond: 0.001, milliseconds: 0.001 },
  ...{ s: 1, sec: 1, second: 1, seconds: 1 },
  ...{ minute: 60, minutes: 60, hour: 3_600, hours: 3_600, day: 86_400, days: 86_400 },
};

export function bytesOf(unit: string): number | undefined {
  return Object.hasOwn(units, unit) ? units[unit] : undefined;
}

export function secondsOf(unit: string): number | undefined {
  return Object.hasOwn(durations, unit) ? durations[unit] : undefined;
}

function isUnit(word: string): boolean {
  const unit = word.toLowerCase();
  return unit === '%' || bytesOf(unit) !== undefined || secondsOf(unit) !== undefined;
}

/** Reads words one after the other, over the noise. */
export class Reader {
  readonly #tokens: readonly Token[];
  #position = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  get atEnd(): boolean {
    this.#skipNoise();
    return this.#position >= this.#tokens.length;
  }

  /** Line of the next word, or of the last one. */
  get line(): number {
    this.#skipNoise();
    return this.#tokens[this.#position]?.line ?? this.#tokens.at(-1)?.line ?? 1;
  }

  fail(message: string): never {
    throw new ControlFileInvalid(message, this.line);
  }

  /** Takes a word, and says what is wrong with it. */
  refuse(message: (word: string) => string): never {
    const { text, line } = this.token();
    throw new ControlFileInvalid(message(text), line);
  }

  token(): Token {
    this.#skipNoise();
    const token = this.#tokens[this.#position];
    if (!token) return this.fail('the file ends in the middle of a statement');
    this.#position += 1;
    return token;
  }

  next(): string {
    return this.token().text;
  }

  word(): string {
    return this.next().toLowerCase();
  }

  number(): number {
    const { text, line } = this.token();
    const value = Number(text);
    if (text === '' || !Number.isFinite(value))
      throw new ControlFileInvalid(`'${text}' is not a number`, line);
    return value;
  }

  /** The next word in small letters, without taking it; undefined for a quoted one and at the end. */
  peek(): string | undefined {
    this.#skipNoise();
    const token = this.#tokens[this.#position];
    return token === undefined || token.quoted ? undefined : token.text.toLowerCase();
  }

  accept(...words: readonly string[]): boolean {
    const found = this.peek();
    if (found === undefined || !words.includes(found)) return false;
    this.#position += 1;
    return true;
  }

  /** Takes several words when all of them follow. */
  acceptPhrase(...words: readonly string[]): boolean {
    const before = this.#position;
    if (words.every((word) => this.accept(word))) return true;
    this.#position = before;
    return false;
  }

  /** What was read since `from`, as text. */
  textSince(from: number): string {
    return this.#tokens
      .slice(from, this.#position)
      .map(({ text }) => text)
      .join(' ');
  }

  get position(): number {
    return this.#position;
  }

  set position(position: number) {
    this.#position = position;
  }

  #skipNoise(): void {
    for (;;) {
      const token = this.#tokens[this.#position];
      if (!token || token.quoted || !noise.has(token.text.toLowerCase())) return;
      this.#position += 1;
    }
  }
}
