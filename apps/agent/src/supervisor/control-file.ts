import { parseTest } from './control-conditions.ts';
import {
  ControlFileInvalid,
  type ControlAction,
  type ControlFlaw,
  type ControlProgram,
  type ControlReaction,
  type ControlRule,
  type ControlSchedule,
  type ControlService,
} from './control-language.ts';
import { Reader, secondsOf, tokenise } from './control-tokens.ts';

export interface ControlFile {
  readonly services: readonly ControlService[];
  /** Patterns of `include`. */
  readonly includes: readonly string[];
  /** When there is one, the file cannot be used. */
  readonly flaws: readonly ControlFlaw[];
}

const defaultTimeoutMs = 30_000;
const kinds: Readonly<Record<string, ControlService['kind']>> = {
  process: 'process',
  file: 'file',
  filesystem: 'filesystem',
  directory: 'directory',
  host: 'host',
  program: 'program',
  system: 'system',
  network: 'network',
  // Older names.
  device: 'filesystem',
  fifo: 'file',
};

/**
 * Reads a control file in monit's language (see docs/reference/supervisors.md for what of it). Goes on after a flaw, so
 * that all of them are told.
 *
 * @example
 * check process db with pidfile /var/vcap/sys/run/db/pid
 *   start program "/var/vcap/jobs/db/bin/ctl start" with timeout 60 seconds
 *   stop program "/var/vcap/jobs/db/bin/ctl stop"
 *   depends on cache
 *   if totalmem > 500 MB for 5 cycles then restart
 *   group vcap
 */
export function parseControlFile(text: string): ControlFile {
  const services: ControlService[] = [];
  const includes: string[] = [];
  const flaws: ControlFlaw[] = [];
  let reader: Reader;
  try {
    reader = new Reader(tokenise(text));
  } catch (error) {
    return { services, includes, flaws: [flawOf(error)] };
  }
  while (!reader.atEnd) {
    try {
      const { line } = reader;
      if (reader.accept('check')) {
        const service = parseService(reader, line, flaws);
        if (services.some(({ name }) => name === service.name)) {
          flaws.push({ line, message: `the service '${service.name}' is described twice` });
        } else services.push(service);
      } else if (reader.accept('include')) includes.push(reader.next());
      else if (reader.accept('set')) skipSet(reader);
      else reader.refuse((word) => `'${word}' is not a statement`);
    } catch (error) {
      flaws.push(flawOf(error));
      while (!reader.atEnd && !['check', 'set', 'include'].includes(reader.peek() ?? '')) reader.token();
    }
  }
  return { services, includes, flaws };
}

/** What monit itself is set to is not a job's to say; a job that does is not refused. */
function skipSet(reader: Reader): void {
  reader.token();
  while (!reader.atEnd && !['check', 'set', 'include'].includes(reader.peek() ?? '')) reader.token();
}

function flawOf(error: unknown): ControlFlaw {
  if (!(error instanceof ControlFileInvalid)) throw error;
  return { line: error.line, message: error.message };
}

interface Draft {
  start?: ControlProgram;
  stop?: ControlProgram;
  restart?: ControlProgram;
  mode: ControlService['mode'];
  every: ControlSchedule;
  readonly groups: string[];
  readonly dependsOn: string[];
  readonly rules: ControlRule[];
}

function parseService(reader: Reader, line: number, flaws: ControlFlaw[]): ControlService {
  const kindWord = reader.word();
  const kind = Object.hasOwn(kinds, kindWord) ? kinds[kindWord] : undefined;
  if (!kind) return reader.fail(`'check ${kindWord}' is not known`);
  const name = reader.next();
  let target = '';
  let matching: string | undefined;
  let program: ControlProgram | undefined;
  for (;;) {
    if (kind === 'program' && reader.accept('path')) program = parseProgram(reader);
    else if (reader.accept('pidfile', 'path', 'address', 'interface')) target = reader.next();
    else if (reader.accept('matching', 'match')) matching = reader.next();
    else break;
  }
  const draft: Draft = {
    mode: 'active',
    every: { kind: 'cycles', cycles: 1 },
    groups: [],
    dependsOn: [],
    rules: [],
  };
  while (!reader.atEnd && !['check', 'set', 'include'].includes(reader.peek() ?? '')) {
    try {
      parseStatement(reader, draft, kind === 'host' ? target : '127.0.0.1');
    } catch (error) {
      flaws.push(flawOf(error));
      skipToStatement(reader);
    }
  }
  const needs =
    { process: 'pidfile or matching', program: 'path', host: 'address' }[kind as string] ?? 'path';
  const hasTarget = target !== '' || matching !== undefined || program !== undefined || kind === 'system';
  if (!hasTarget) throw new ControlFileInvalid(`'check ${kindWord} ${name}' has no ${needs}`, line);
  if (matching !== undefined) {
    try {
      new RegExp(matching);
    } catch {
      throw new ControlFileInvalid(`'${matching}' is not a regular expression`, line);
    }
  }
  for (const { test, line: at } of kind === 'host' ? [] : draft.rules) {
    if (test.kind === 'ping') flaws.push({ line: at, message: `'failed ping' is for 'check host' only` });
  }
  const { start, stop, restart, ...rest } = draft;
  return {
    ...{ kind, name, line },
    target: program ? program.argv.join(' ') : target,
    ...(matching === undefined ? {} : { matching }),
    ...(program ? { program } : {}),
    ...(start ? { start } : {}),
    ...(stop ? { stop } : {}),
    ...(restart ? { restart } : {}),
    ...rest,
  };
}

const statements = [
  ...['start', 'stop', 'restart', 'group', 'depends', 'mode', 'onreboot', 'every', 'not', 'if', 'alert'],
  ...['noalert', 'check', 'set', 'include', 'depend'],
];

/** To the next word that begins a statement; at least one word on. */
function skipToStatement(reader: Reader): void {
  while (!reader.atEnd && !statements.includes(reader.peek() ?? '')) reader.token();
}

function parseStatement(reader: Reader, draft: Draft, defaultHost: string): void {
  const found = reader.peek();
  switch (found) {
    case 'start':
    case 'stop':
    case 'restart':
      reader.token();
      draft[found] = parseProgram(reader);
      return;
    case 'group':
      reader.token();
      draft.groups.push(reader.next());
      return;
    case 'depends':
    case 'depend':
      reader.token();
      do draft.dependsOn.push(...reader.next().split(',').filter(Boolean));
      while (reader.accept(','));
      return;
    case 'mode':
      reader.token();
      draft.mode = parseMode(reader);
      return;
    case 'onreboot':
      reader.token();
      if (reader.accept('nostart')) draft.mode = 'manual';
      else if (!reader.accept('start', 'laststate'))
        reader.refuse((word) => `'onreboot ${word}' is not known`);
      return;
    case 'every':
    case 'not':
      draft.every = parseEvery(reader);
      return;
    case 'if':
      draft.rules.push(parseRule(reader, defaultHost));
      return;
    case 'alert':
    case 'noalert':
      // Whom monit mails to: everything goes to the agent.
      reader.token();
      reader.token();
      skipAlertOptions(reader);
      return;
    default:
      reader.refuse((word) => `'${word}' is not a statement`);
  }
}

function parseMode(reader: Reader): ControlService['mode'] {
  if (reader.accept('active')) return 'active';
  if (reader.accept('passive')) return 'passive';
  if (reader.accept('manual')) return 'manual';
  return reader.refuse((word) => `'mode ${word}' is not known`);
}

function skipAlertOptions(reader: Reader): void {
  for (;;) {
    if (reader.accept('{')) while (!reader.accept('}')) reader.token();
    else if (reader.accept('reminder')) {
      reader.number();
      reader.accept('cycle', 'cycles');
    } else if (reader.accept('mail-format', 'only', 'not')) continue;
    else return;
  }
}

function parseEvery(reader: Reader): ControlSchedule {
  const negated = reader.accept('not');
  if (!reader.accept('every')) reader.refuse((word) => `'not ${word}' is not a statement`);
  const token = reader.token();
  if (token.quoted) {
    if (token.text.trim().split(/\s+/).length !== 5) {
      throw new ControlFileInvalid(`'${token.text}' does not have the five fields of cron`, token.line);
    }
    return { kind: 'cron', cron: token.text.trim(), negated };
  }
  const cycles = Number(token.text);
  if (negated || !Number.isInteger(cycles) || cycles < 1 || !reader.accept('cycle', 'cycles')) {
    throw new ControlFileInvalid(
      `'every ${token.text}' is neither a number of cycles nor a cron line`,
      token.line,
    );
  }
  return { kind: 'cycles', cycles };
}

/** `[program] [=] "<line>" [as uid <user> gid <group>] [timeout <n> seconds]`. */
function parseProgram(reader: Reader): ControlProgram {
  while (reader.accept('program', '='));
  const { text, line, quoted } = reader.token();
  const argv = quoted ? splitCommand(text, line) : absolute([text], line);
  let timeoutMs = defaultTimeoutMs;
  let [uid, gid]: (string | undefined)[] = [];
  for (;;) {
    if (reader.accept('uid')) uid = unquoteId(reader);
    else if (reader.accept('gid')) gid = unquoteId(reader);
    else if (reader.accept('timeout')) {
      const value = reader.number();
      timeoutMs = value * (secondsOf(reader.peek() ?? '') ?? 1) * 1_000;
      if (secondsOf(reader.peek() ?? '') !== undefined) reader.token();
      if (timeoutMs <= 0) throw new ControlFileInvalid('a time limit is not positive', line);
    } else break;
  }
  return { argv, timeoutMs, ...(uid === undefined ? {} : { uid }), ...(gid === undefined ? {} : { gid }) };
}

function unquoteId(reader: Reader): string {
  const { text, line } = reader.token();
  if (/^[A-Za-z0-9_][A-Za-z0-9_.-]*\$?$/.test(text)) return text;
  throw new ControlFileInvalid(`'${text}' is not the name or number of a user or group`, line);
}

function parseRule(reader: Reader, defaultHost: string): ControlRule {
  const { line } = reader;
  reader.token();
  const { test, times, within } = parseTest(reader, defaultHost);
  if (!reader.accept('then')) reader.refuse((word) => `'${word}' stands where 'then' is expected`);
  const reaction = parseReaction(reader);
  let recovery: ControlReaction | undefined;
  if (reader.accept('else')) {
    if (reader.accept('if')) {
      if (!reader.accept('succeeded', 'recovered', 'passed', 'not')) {
        reader.refuse((word) => `'else if ${word}' is not known`);
      }
      while (!reader.accept('then')) reader.token();
    } else reader.accept('then');
    recovery = parseReaction(reader);
  }
  return { test, times, within, ...reaction, ...(recovery ? { recovery } : {}), line };
}

const actions: readonly ControlAction[] = ['alert', 'restart', 'start', 'stop', 'monitor', 'unmonitor'];

function parseReaction(reader: Reader): ControlReaction {
  const { line } = reader;
  const word = reader.word();
  if (word === 'exec') {
    const exec = parseProgram(reader);
    if (reader.acceptPhrase('repeat', 'every')) {
      reader.number();
      reader.accept('cycle', 'cycles');
    }
    return { action: 'exec', exec };
  }
  const action = word === 'timeout' ? 'unmonitor' : actions.find((candidate) => candidate === word);
  if (!action) throw new ControlFileInvalid(`'then ${word}' is not known`, line);
  return { action };
}

/** Words of a program line; quotes inside it group words. */
function splitCommand(command: string, line: number): readonly [string, ...string[]] {
  const words = [...command.matchAll(/(?:[^\s"']|"[^"]*"|'[^']*')+/g)].map(([word]) =>
    word.replace(
      /"([^"]*)"|'([^']*)'/g,
      (_whole, double?: string, single?: string) => double ?? single ?? '',
    ),
  );
  return absolute(words, line);
}

function absolute(words: readonly string[], line: number): readonly [string, ...string[]] {
  const [program, ...args] = words;
  if (program === undefined || !program.startsWith('/')) {
    throw new ControlFileInvalid(`the program '${program ?? ''}' is not an absolute path`, line);
  }
  return [program, ...args];
}
