/**
 * The part of monit's control language that releases use.
 *
 * @example
 * check process db with pidfile /var/vcap/sys/run/db/pid
 *   start program "/var/vcap/jobs/db/bin/ctl start" with timeout 60 seconds
 *   stop program "/var/vcap/jobs/db/bin/ctl stop"
 *   depends on cache
 *   if totalmem > 500 MB for 5 cycles then restart
 *   group vcap
 */
export interface ControlService {
  readonly kind: 'process' | 'file' | 'filesystem' | 'directory' | 'host' | 'program' | 'system';
  readonly name: string;
  /** pid file, path, address or program. */
  readonly target: string;
  /** `matching "<regex>"` instead of a pid file. */
  readonly matching?: string;
  readonly start?: ControlProgram;
  readonly stop?: ControlProgram;
  readonly groups: readonly string[];
  readonly dependsOn: readonly string[];
  /** `mode manual`: is not restarted by itself; `passive`: is watched only. */
  readonly mode: 'active' | 'passive' | 'manual';
  readonly rules: readonly ControlRule[];
}

export interface ControlProgram {
  readonly argv: readonly [string, ...string[]];
  readonly timeoutMs: number;
  readonly uid?: string;
  readonly gid?: string;
}

export type ControlAction = 'alert' | 'restart' | 'start' | 'stop' | 'exec' | 'unmonitor';

export interface ControlRule {
  readonly test: ControlTest;
  /** `[cycles] times within [within] cycles`. */
  readonly times: number;
  readonly within: number;
  readonly action: ControlAction;
  readonly exec?: readonly [string, ...string[]];
}

type Comparison = '>' | '<' | '==' | '!=';

export type ControlTest =
  | {
      readonly kind: 'resource';
      readonly resource:
        'memory' | 'totalmemory' | 'cpu' | 'totalcpu' | 'children' | 'space' | 'inode' | 'size' | 'loadavg';
      readonly comparison: Comparison;
      readonly value: number;
      readonly unit: 'percent' | 'bytes' | 'count';
    }
  | {
      readonly kind: 'connection';
      readonly host: string;
      readonly port: number;
      readonly protocol: 'tcp' | 'http' | 'https';
      readonly path: string;
      readonly timeoutMs: number;
    }
  | { readonly kind: 'unix-socket'; readonly path: string; readonly timeoutMs: number }
  | { readonly kind: 'exists'; readonly negated: boolean }
  | { readonly kind: 'restarts'; readonly count: number }
  | { readonly kind: 'unsupported'; readonly text: string };

export class ControlFileInvalid extends Error {}

const defaultTimeoutMs = 30_000;
const kinds = [
  'process',
  'file',
  'filesystem',
  'directory',
  'host',
  'program',
  'system',
  'device',
  'fifo',
] as const;
const statements = new Set([
  'start',
  'stop',
  'restart',
  'group',
  'depends',
  'mode',
  'if',
  'every',
  'alert',
  'noalert',
  'onreboot',
  'check',
  'set',
  'include',
]);

interface Token {
  readonly text: string;
  readonly quoted: boolean;
}

/** Reads a control file. Statements that are not understood become `unsupported` rules; broken structure is refused. */
export function parseControlFile(text: string): readonly ControlService[] {
  const reader = new Reader(tokenise(text));
  const services: ControlService[] = [];
  while (!reader.atEnd) {
    if (reader.accept('check')) services.push(parseService(reader));
    else reader.skipStatement();
  }
  return services;
}

function parseService(reader: Reader): ControlService {
  const kindWord = reader.word();
  const kind = kinds.find((candidate) => candidate === kindWord);
  if (!kind) throw new ControlFileInvalid(`'check ${kindWord}' is not known`);
  const name = reader.next();
  let target = '';
  let matching: string | undefined;
  for (;;) {
    if (reader.accept('with')) continue;
    if (reader.acceptAny(['pidfile', 'path', 'address'])) target = reader.next();
    else if (reader.accept('matching')) matching = reader.next();
    else break;
  }
  const groups: string[] = [];
  const dependsOn: string[] = [];
  const rules: ControlRule[] = [];
  let [start, stop]: (ControlProgram | undefined)[] = [];
  let mode: ControlService['mode'] = 'active';
  while (!reader.atEnd && !reader.peekIs('check')) {
    if (reader.accept('start')) start = parseProgram(reader);
    else if (reader.accept('stop')) stop = parseProgram(reader);
    else if (reader.accept('group')) groups.push(reader.next());
    else if (reader.accept('depends')) {
      reader.accept('on');
      do dependsOn.push(...reader.next().split(',').filter(Boolean));
      while (reader.accept(','));
    } else if (reader.accept('mode')) {
      const word = reader.word();
      mode = word === 'manual' || word === 'passive' ? word : 'active';
    } else if (reader.accept('if')) rules.push(parseRule(reader));
    else reader.skipStatement();
  }
  if (kind === 'process' && target === '' && matching === undefined) {
    throw new ControlFileInvalid(`'${name}' has neither pidfile nor matching`);
  }
  return {
    kind: kind === 'device' ? 'filesystem' : kind === 'fifo' ? 'file' : kind,
    name,
    target,
    ...(matching === undefined ? {} : { matching }),
    ...(start ? { start } : {}),
    ...(stop ? { stop } : {}),
    groups,
    dependsOn,
    mode,
    rules,
  };
}

function parseProgram(reader: Reader): ControlProgram {
  reader.accept('program');
  reader.accept('=');
  const argv = splitCommand(reader.next());
  let timeoutMs = defaultTimeoutMs;
  let [uid, gid]: (string | undefined)[] = [];
  for (;;) {
    if (reader.acceptAny(['as', 'and', 'with', 'using'])) continue;
    if (reader.accept('uid')) uid = reader.next();
    else if (reader.accept('gid')) gid = reader.next();
    else if (reader.accept('timeout')) {
      timeoutMs = Number(reader.next()) * 1_000;
      reader.acceptAny(['seconds', 'second', 's']);
    } else break;
  }
  if (!Number.isFinite(timeoutMs) || timeoutMs <= 0)
    throw new ControlFileInvalid('a time limit is not a number');
  return { argv, timeoutMs, ...(uid === undefined ? {} : { uid }), ...(gid === undefined ? {} : { gid }) };
}

function parseRule(reader: Reader): ControlRule {
  const words: Token[] = [];
  while (!reader.atEnd && !reader.peekIs('then')) words.push(reader.token());
  reader.accept('then');
  const actionWord = reader.word();
  const actions: readonly ControlAction[] = ['alert', 'restart', 'start', 'stop', 'exec', 'unmonitor'];
  const action =
    actionWord === 'timeout' ? 'unmonitor' : actions.find((candidate) => candidate === actionWord);
  if (!action) throw new ControlFileInvalid(`'then ${actionWord}' is not known`);
  const exec = action === 'exec' ? splitCommand(reader.next()) : undefined;
  // What happens on recovery is not ours to do; it is read over.
  if (reader.accept('else')) {
    reader.acceptAny(['if']);
    while (!reader.atEnd && !reader.peekStatement()) reader.token();
  }
  return { ...parseTest(words), action, ...(exec ? { exec } : {}) };
}

function parseTest(words: readonly Token[]): Pick<ControlRule, 'test' | 'times' | 'within'> {
  const text = words.map(({ text: word }) => word).join(' ');
  const lower = text.toLowerCase();
  const cycles = /\b(?:for\s+)?(\d+)\s+(?:times\s+within\s+(\d+)\s+)?cycles?\b/.exec(lower);
  const times = Number(cycles?.[1] ?? 1);
  const within = Number(cycles?.[2] ?? times);
  const condition = cycles ? lower.replace(cycles[0], ' ') : lower;
  return { test: parseCondition(condition.trim(), text), times, within };
}

function parseCondition(condition: string, original: string): ControlTest {
  const restarts = /(\d+)\s+restarts?\s+within/.exec(condition);
  if (restarts) return { kind: 'restarts', count: Number(restarts[1]) };
  if (/^(does not|not)\s+exist/.test(condition)) return { kind: 'exists', negated: true };
  if (/^exist/.test(condition)) return { kind: 'exists', negated: false };
  const socket = /^failed\s+unixsocket\s+(\S+)/.exec(condition);
  const timeout = /timeout\s+(\d+)/.exec(condition);
  const timeoutMs = Number(timeout?.[1] ?? 5) * 1_000;
  if (socket)
    return { kind: 'unix-socket', path: /unixsocket\s+(\S+)/i.exec(original)?.[1] ?? '', timeoutMs };
  const port = /^failed\b.*\bport\s+(\d+)/.exec(condition);
  if (port) {
    const protocol = /protocol\s+(https?)/.exec(condition)?.[1];
    const isTls = /type\s+tcpssl/.test(condition);
    return {
      kind: 'connection',
      host: /\bhost\s+(\S+)/.exec(condition)?.[1] ?? '127.0.0.1',
      port: Number(port[1]),
      protocol:
        protocol === 'https' || (protocol === 'http' && isTls)
          ? 'https'
          : protocol === 'http'
            ? 'http'
            : 'tcp',
      path: /request\s+(\S+)/i.exec(original)?.[1] ?? '/',
      timeoutMs,
    };
  }
  return parseResource(condition) ?? { kind: 'unsupported', text: original };
}

const resources: readonly (readonly [RegExp, (ControlTest & { kind: 'resource' })['resource']])[] = [
  [/^(totalmem|totalmemory|total memory)\b/, 'totalmemory'],
  [/^(mem|memory)\b/, 'memory'],
  [/^(totalcpu|total cpu)\b/, 'totalcpu'],
  [/^cpu\b(?!\s*\()/, 'cpu'],
  [/^children\b/, 'children'],
  [/^space\b/, 'space'],
  [/^inodes?\b/, 'inode'],
  [/^size\b/, 'size'],
  [/^loadavg\b/, 'loadavg'],
];

function parseResource(condition: string): ControlTest | undefined {
  const found = resources.find(([pattern]) => pattern.test(condition));
  const match = /(>|<|==|!=|=|\bgreater than\b|\bless than\b|\bgt\b|\blt\b)\s*([\d.]+)\s*(%|[kmgt]?b)?/.exec(
    condition,
  );
  if (!found || !match) return undefined;
  const comparison =
    match[1] === '>' || match[1]?.startsWith('g')
      ? '>'
      : match[1] === '<' || match[1]?.startsWith('l')
        ? '<'
        : match[1] === '!='
          ? '!='
          : '==';
  const factor = { b: 1, kb: 2 ** 10, mb: 2 ** 20, gb: 2 ** 30, tb: 2 ** 40 }[match[3] ?? 'b'] ?? 1;
  return {
    kind: 'resource',
    resource: found[1],
    comparison,
    value: Number(match[2]) * factor,
    unit:
      match[3] === '%' || found[1] === 'cpu' || found[1] === 'totalcpu'
        ? 'percent'
        : match[3] === undefined
          ? 'count'
          : 'bytes',
  };
}

class Reader {
  readonly #tokens: readonly Token[];
  #position = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  get atEnd(): boolean {
    return this.#position >= this.#tokens.length;
  }

  token(): Token {
    const token = this.#tokens[this.#position];
    if (!token) throw new ControlFileInvalid('the file ends in the middle of a statement');
    this.#position += 1;
    return token;
  }

  next(): string {
    return this.token().text;
  }

  word(): string {
    return this.next().toLowerCase();
  }

  peekIs(word: string): boolean {
    const token = this.#tokens[this.#position];
    return token !== undefined && !token.quoted && token.text.toLowerCase() === word;
  }

  peekStatement(): boolean {
    const token = this.#tokens[this.#position];
    return token !== undefined && !token.quoted && statements.has(token.text.toLowerCase());
  }

  accept(word: string): boolean {
    if (!this.peekIs(word)) return false;
    this.#position += 1;
    return true;
  }

  acceptAny(words: readonly string[]): boolean {
    return words.some((word) => this.accept(word));
  }

  skipStatement(): void {
    this.token();
    while (!this.atEnd && !this.peekStatement()) this.token();
  }
}

function tokenise(text: string): readonly Token[] {
  const tokens: Token[] = [];
  const pattern =
    /#[^\n]*|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|(>=|<=|==|!=|[><=,{}])|([^\s"'#><=!,{}]+)|\s+/gy;
  for (let match = pattern.exec(text); match; match = pattern.exec(text)) {
    const quoted = match[1] ?? match[2];
    if (quoted !== undefined) tokens.push({ text: quoted.replace(/\\(["'\\])/g, '$1'), quoted: true });
    else if (match[3] ?? match[4]) tokens.push({ text: match[3] ?? match[4] ?? '', quoted: false });
    if (pattern.lastIndex === text.length) return tokens;
  }
  throw new ControlFileInvalid('a quotation mark is not closed, or a character is not allowed');
}

/** Words of a program line; quotes inside it group words. */
function splitCommand(command: string): readonly [string, ...string[]] {
  const words = [...command.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(
    (match) => match[1] ?? match[2] ?? match[3] ?? '',
  );
  const [program, ...args] = words;
  if (program === undefined || !program.startsWith('/')) {
    throw new ControlFileInvalid(`the program '${program ?? ''}' is not an absolute path`);
  }
  return [program, ...args];
}
