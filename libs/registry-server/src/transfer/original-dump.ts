import { BackupRefused } from '../errors.ts';

export interface OriginalRow {
  readonly instanceId: string;
  readonly settings: string;
}

/**
 * The rows of `registry_instances` in a dump: `pg_dump` (COPY or --inserts), `sqlite3 .dump`, `mysqldump`.
 * Understands only what those write for this table; everything else of the dump is passed over.
 */
export function parseOriginalDump(dump: string): readonly OriginalRow[] {
  const rows = [...copyRows(dump), ...insertRows(dump)];
  if (rows.length === 0 && !/registry_instances/.test(dump)) {
    throw new BackupRefused('The dump does not mention the table registry_instances.');
  }
  return rows;
}

const TABLE = '(?:["`]?\\w+["`]?\\.)?["`]?registry_instances["`]?';
const DEFAULT_COLUMNS = ['id', 'instance_id', 'settings'];

function* copyRows(dump: string): Iterable<OriginalRow> {
  const start = new RegExp(`^COPY ${TABLE} \\(([^)]*)\\) FROM stdin;\\r?\\n`, 'gim');
  for (const match of dump.matchAll(start)) {
    const columns = columnNames(match[1]);
    for (const line of dump.slice(match.index + match[0].length).split('\n')) {
      if (line.trimEnd() === '\\.') break;
      yield toRow(columns, line.replace(/\r$/, '').split('\t').map(copyField));
    }
  }
}

const COPY_ESCAPES: Readonly<Record<string, string>> = {
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};

function copyField(field: string): string {
  return field.replace(/\\([0-7]{1,3}|x[0-9a-fA-F]{1,2}|[\s\S])/g, (_, escape: string) => {
    if (/^[0-7]/.test(escape)) return String.fromCharCode(Number.parseInt(escape, 8));
    if (/^x[0-9a-fA-F]/.test(escape)) return String.fromCharCode(Number.parseInt(escape.slice(1), 16));
    return COPY_ESCAPES[escape] ?? escape;
  });
}

function* insertRows(dump: string): Iterable<OriginalRow> {
  const start = new RegExp(`^INSERT INTO ${TABLE}\\s*(?:\\(([^)]*)\\)\\s*)?VALUES\\s*`, 'gim');
  // Only MySQL escapes with backslashes inside '…'.
  const backslashes = /^-- (?:MySQL|MariaDB) dump|ENGINE=InnoDB/im.test(dump);
  for (const match of dump.matchAll(start)) {
    const columns = match[1] === undefined ? DEFAULT_COLUMNS : columnNames(match[1]);
    const scanner = new ValueScanner(dump, match.index + match[0].length, backslashes);
    for (const values of scanner.tuples()) yield toRow(columns, values);
  }
}

const MYSQL_ESCAPES: Readonly<Record<string, string>> = {
  '0': '\0',
  b: '\b',
  n: '\n',
  r: '\r',
  t: '\t',
  Z: '\x1a',
};

/** Reads `(1,'a','b'),(2,…);`. */
class ValueScanner {
  readonly #text: string;
  readonly #backslashes: boolean;
  #at: number;

  constructor(text: string, at: number, backslashes: boolean) {
    this.#text = text;
    this.#at = at;
    this.#backslashes = backslashes;
  }

  *tuples(): Iterable<string[]> {
    for (;;) {
      this.#skip(/[\s,]/);
      if (this.#text[this.#at] !== '(') return;
      this.#at += 1;
      const values: string[] = [];
      for (;;) {
        this.#skip(/[\s,]/);
        const next = this.#text[this.#at];
        if (next === undefined) throw new BackupRefused('The dump ends inside a row.');
        if (next === ')') break;
        values.push(this.#value());
      }
      this.#at += 1;
      yield values;
    }
  }

  #value(): string {
    const escaped = /^[eE]'/.test(this.#text.slice(this.#at, this.#at + 2));
    if (escaped) this.#at += 1;
    if (this.#text[this.#at] === "'") return this.#quoted(escaped || this.#backslashes);
    const word = /^[^\s,()']+/.exec(this.#text.slice(this.#at, this.#at + 200));
    if (!word) throw new BackupRefused('The dump has a value that is neither a number nor quoted.');
    this.#at += word[0].length;
    return word[0];
  }

  #quoted(backslashes: boolean): string {
    const parts: string[] = [];
    for (let at = this.#at + 1; ;) {
      const special = this.#text.slice(at).search(backslashes ? /['\\]/ : /'/);
      if (special < 0) throw new BackupRefused('The dump ends inside a text.');
      parts.push(this.#text.slice(at, at + special));
      at += special;
      const [current, next = ''] = [this.#text[at], this.#text[at + 1]];
      if (current === '\\') parts.push(MYSQL_ESCAPES[next] ?? next);
      else if (next === "'") parts.push("'");
      else {
        this.#at = at + 1;
        return parts.join('');
      }
      at += 2;
    }
  }

  #skip(what: RegExp): void {
    while (what.test(this.#text[this.#at] ?? '')) this.#at += 1;
  }
}

function columnNames(list: string | undefined): string[] {
  return (list ?? '').split(',').map((name) => name.trim().replace(/^["`]|["`]$/g, ''));
}

function toRow(columns: readonly string[], values: readonly string[]): OriginalRow {
  const value = (column: string) => values[columns.indexOf(column)];
  const instanceId = value('instance_id');
  const settings = value('settings');
  if (instanceId === undefined || settings === undefined || values.length !== columns.length) {
    throw new BackupRefused('The dump has a row that does not fit the columns of registry_instances.');
  }
  return { instanceId, settings };
}
