import { parseConnection, parseContentPattern } from './control-connections.ts';
import {
  ControlFileInvalid,
  type ChangeableFact,
  type ControlResource,
  type ControlRule,
  type ControlTest,
} from './control-language.ts';
import { checkedPattern, parseComparison, parseSeconds, parseSum } from './control-values.ts';
import { bytesOf, secondsOf, type Reader } from './control-tokens.ts';

/** What stands between `if` and `then`. */
export function parseTest(
  reader: Reader,
  defaultHost: string,
): Pick<ControlRule, 'test' | 'times' | 'within'> {
  const test = parseCondition(reader, defaultHost);
  return { test, ...parseCycles(reader) };
}

/** `[for] N cycles`, `N times within M cycles`; once without. */
function parseCycles(reader: Reader): { readonly times: number; readonly within: number } {
  if (!/^\d+$/.test(reader.peek() ?? '')) return { times: 1, within: 1 };
  const { line } = reader;
  const times = reader.number();
  let within = times;
  if (reader.accept('times', 'time')) {
    reader.accept('within');
    within = reader.number();
  } else reader.accept('within');
  if (!reader.accept('cycle', 'cycles'))
    reader.refuse((word) => `'${word}' stands where 'cycles' is expected`);
  if (times < 1 || within < times || within > 64) {
    throw new ControlFileInvalid(`${times} times within ${within} cycles cannot be`, line);
  }
  return { times, within };
}

const resources: Readonly<Record<string, ControlResource>> = {
  ...{ mem: 'memory', memory: 'memory', totalmem: 'totalmemory', totalmemory: 'totalmemory' },
  ...{ cpu: 'cpu', totalcpu: 'totalcpu', swap: 'swap', children: 'children', threads: 'threads' },
  ...{ filedescriptors: 'files', inode: 'inode', inodes: 'inode', space: 'space', size: 'size' },
  ...{ timestamp: 'age', uptime: 'uptime', loadavg: 'load5' },
};

const changes: readonly ChangeableFact[] = [
  ...(['checksum', 'timestamp', 'size', 'pid', 'ppid', 'status'] as const),
  ...(['permission', 'uid', 'gid', 'fsflags'] as const),
];

function parseCondition(reader: Reader, defaultHost: string): ControlTest {
  const from = reader.position;
  const { line } = reader;
  if (reader.acceptPhrase('does', 'not', 'exist') || reader.acceptPhrase('not', 'exist')) {
    return { kind: 'exists', negated: true };
  }
  if (reader.accept('exist', 'exists')) return { kind: 'exists', negated: false };
  if (reader.accept('changed')) return parseChanged(reader, from, line);
  if (reader.accept('failed')) return parseFailed(reader, from, defaultHost);
  if (reader.accept('content', 'match')) return { kind: 'content', ...parseContentPattern(reader) };
  if (reader.acceptPhrase('not', 'match')) {
    return { kind: 'content', pattern: checkedPattern(reader), negated: true };
  }
  if (reader.accept('status')) {
    return { kind: 'status', comparison: parseComparison(reader), value: reader.number() };
  }
  if (/^\d+$/.test(reader.peek() ?? '')) {
    const count = reader.number();
    if (!reader.accept('restart', 'restarts'))
      reader.refuse((word) => `'${word}' stands where 'restarts' is expected`);
    if (!reader.accept('within')) reader.refuse((word) => `'${word}' stands where 'within' is expected`);
    const within = reader.number();
    if (!reader.accept('cycle', 'cycles'))
      reader.refuse((word) => `'${word}' stands where 'cycles' is expected`);
    return { kind: 'restarts', count, within };
  }
  const word = reader.peek() ?? '';
  if (word === 'total' || Object.hasOwn(resources, word)) return parseResource(reader);
  if (['link', 'saturation', 'upload', 'download'].includes(word)) {
    return unsupported(reader, from);
  }
  return reader.refuse((word) => `'${word}' is not a condition`);
}

/** A condition of monit's language that is not looked at here: read over, to the cycles or to `then`. */
function unsupported(reader: Reader, from: number): ControlTest {
  while (!reader.atEnd && reader.peek() !== 'then') reader.token();
  return { kind: 'unsupported', text: reader.textSince(from) };
}

function parseChanged(reader: Reader, from: number, line: number): ControlTest {
  reader.accept('sha1', 'md5');
  const word = reader.peek();
  const what = changes.find((candidate) => candidate === word);
  if (!what) {
    if (word === 'link') return unsupported(reader, from);
    throw new ControlFileInvalid(`'changed ${word ?? ''}' is not a condition`, line);
  }
  reader.token();
  return { kind: 'changed', what };
}

function parseFailed(reader: Reader, from: number, defaultHost: string): ControlTest {
  if (reader.accept('permission')) return { kind: 'permission', mode: octal(reader) };
  for (const what of ['uid', 'euid', 'gid'] as const) {
    if (reader.accept(what)) return { kind: 'owner', what, wanted: reader.next() };
  }
  if (reader.accept('ping', 'icmp')) return parsePing(reader);
  if (reader.accept('ping4')) return { ...parsePing(reader), family: 4 };
  if (reader.accept('ping6')) return { ...parsePing(reader), family: 6 };
  if (['host', 'port', 'unixsocket', 'unix', 'url'].includes(reader.peek() ?? ''))
    return parseConnection(reader, defaultHost);
  if (['checksum', 'md5', 'sha1'].includes(reader.peek() ?? '')) return parseChecksum(reader);
  if (reader.peek() === 'link') return unsupported(reader, from);
  return reader.refuse((word) => `'failed ${word}' is not a condition`);
}

/** `[md5|sha1] checksum [and expect [the sum] <sum>]`. */
function parseChecksum(reader: Reader): ControlTest {
  let algorithm: 'md5' | 'sha1' | undefined = reader.accept('md5')
    ? 'md5'
    : reader.accept('sha1')
      ? 'sha1'
      : undefined;
  if (!reader.accept('checksum')) reader.refuse((word) => `'failed ${word}' is not a condition`);
  if (!reader.accept('expect')) return { kind: 'checksum', algorithm: algorithm ?? 'md5' };
  const wanted = parseSum(reader);
  const ofLength = wanted.length === 32 ? 'md5' : 'sha1';
  algorithm ??= ofLength;
  if (algorithm !== ofLength) reader.fail(`'${wanted}' is not a ${algorithm.toUpperCase()} checksum`);
  return { kind: 'checksum', algorithm, wanted };
}

function octal(reader: Reader): number {
  const { text, line } = reader.token();
  if (/^[0-7]{3,4}$/.test(text)) return Number.parseInt(text, 8);
  throw new ControlFileInvalid(`'${text}' is not an octal mode`, line);
}

function parsePing(reader: Reader): ControlTest & { readonly kind: 'ping' } {
  let [count, timeoutMs] = [3, 5_000];
  let bytes: number | undefined;
  for (;;) {
    if (reader.accept('type', 'echo')) continue;
    if (reader.accept('count')) count = reader.number();
    else if (reader.accept('size')) bytes = reader.number();
    else if (reader.accept('timeout')) timeoutMs = parseSeconds(reader) * 1_000;
    else return { kind: 'ping', count, timeoutMs, ...(bytes === undefined ? {} : { bytes }) };
  }
}

function parseResource(reader: Reader): ControlTest {
  const isTotal = reader.accept('total');
  const word = reader.word();
  let resource = Object.hasOwn(resources, word) ? resources[word] : undefined;
  if (isTotal) {
    resource = resource === 'memory' ? 'totalmemory' : resource === 'cpu' ? 'totalcpu' : resource;
    if (word === 'file' || word === 'filedescriptors' || word === 'files') resource = 'files';
  }
  if (!resource) return reader.fail(`'${word}' is not a condition`);
  resource = refine(reader, resource);
  const comparison = parseComparison(reader);
  const value = reader.number();
  const unit = reader.peek() ?? '';
  if (reader.accept('%')) return { kind: 'resource', resource, comparison, value, unit: 'percent' };
  const isTime = resource === 'age' || resource === 'uptime';
  const factor = isTime ? secondsOf(unit) : bytesOf(unit);
  if (factor !== undefined) reader.token();
  const isShare = resource.startsWith('cpu') || resource === 'totalcpu';
  const kind = isShare ? 'percent' : factor === undefined || isTime ? 'count' : 'bytes';
  return { kind: 'resource', resource, comparison, value: value * (factor ?? 1), unit: kind };
}

const refinements: Readonly<Partial<Record<string, ControlResource>>> = {
  ...{ '1min': 'load1', '5min': 'load5', '15min': 'load15' },
  ...{ user: 'cpu-user', system: 'cpu-system', wait: 'cpu-wait' },
};

/** `loadavg (5min)`, `cpu usage (user)`, `space free`. */
function refine(reader: Reader, resource: ControlResource): ControlResource {
  if (reader.accept('(')) {
    const inner = reader.word();
    if (!reader.accept(')')) reader.fail("a ')' is missing");
    const refined = refinements[inner];
    if (!refined || refined.startsWith('load') !== resource.startsWith('load')) {
      return reader.fail(`'(${inner})' is not known`);
    }
    return refined;
  }
  if (reader.accept('free')) return resource === 'inode' ? 'inode-free' : 'space-free';
  return resource;
}
