import {
  ControlFileInvalid,
  type Comparison,
  type ConnectionTest,
  type ControlResource,
  type ControlRule,
  type ControlTest,
} from './control-language.ts';
import { bytesOf, secondsOf, type Reader } from './control-tokens.ts';

/** What stands between `if` and `then`. */
export function parseTest(reader: Reader): Pick<ControlRule, 'test' | 'times' | 'within'> {
  const test = parseCondition(reader);
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

const changes = ['checksum', 'timestamp', 'size', 'pid', 'ppid', 'status'] as const;

function parseCondition(reader: Reader): ControlTest {
  const from = reader.position;
  const { line } = reader;
  if (reader.acceptPhrase('does', 'not', 'exist') || reader.acceptPhrase('not', 'exist')) {
    return { kind: 'exists', negated: true };
  }
  if (reader.accept('exist', 'exists')) return { kind: 'exists', negated: false };
  if (reader.accept('changed')) return parseChanged(reader, from, line);
  if (reader.accept('failed')) return parseFailed(reader, from);
  if (reader.accept('content', 'match')) return parseContent(reader);
  if (reader.acceptPhrase('not', 'match')) return { kind: 'content', pattern: reader.next(), negated: true };
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
  if (['permission', 'uid', 'gid', 'link', 'saturation', 'upload', 'download', 'fsflags'].includes(word)) {
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
    if (['permission', 'uid', 'gid', 'fsflags', 'link', 'content'].includes(word ?? '')) {
      return unsupported(reader, from);
    }
    throw new ControlFileInvalid(`'changed ${word ?? ''}' is not a condition`, line);
  }
  reader.token();
  return { kind: 'changed', what };
}

function parseContent(reader: Reader): ControlTest {
  const negated = reader.accept('!=');
  if (!negated) reader.accept('=', '==');
  return { kind: 'content', pattern: reader.next(), negated };
}

function parseFailed(reader: Reader, from: number): ControlTest {
  if (reader.accept('permission')) return { kind: 'permission', mode: octal(reader) };
  if (reader.accept('uid')) return { kind: 'owner', what: 'uid', wanted: reader.next() };
  if (reader.accept('gid')) return { kind: 'owner', what: 'gid', wanted: reader.next() };
  if (reader.accept('ping', 'icmp', 'ping4', 'ping6')) return parsePing(reader);
  if (['host', 'port', 'unixsocket', 'unix', 'url'].includes(reader.peek() ?? ''))
    return parseConnection(reader);
  if (['checksum', 'link', 'md5', 'sha1', 'address'].includes(reader.peek() ?? ''))
    return unsupported(reader, from);
  return reader.refuse((word) => `'failed ${word}' is not a condition`);
}

function octal(reader: Reader): number {
  const { text, line } = reader.token();
  if (/^[0-7]{3,4}$/.test(text)) return Number.parseInt(text, 8);
  throw new ControlFileInvalid(`'${text}' is not an octal mode`, line);
}

function parsePing(reader: Reader): ControlTest {
  let [count, timeoutMs] = [3, 5_000];
  for (;;) {
    if (reader.accept('type', 'echo')) continue;
    if (reader.accept('count')) count = reader.number();
    else if (reader.accept('timeout')) timeoutMs = seconds(reader) * 1_000;
    else return { kind: 'ping', count, timeoutMs };
  }
}

function parseConnection(reader: Reader): ControlTest {
  let [host, path, port] = ['127.0.0.1', '/', 0];
  let socketPath: string | undefined;
  let type = 'tcp';
  let protocol = '';
  let [timeoutMs, tries] = [5_000, 1];
  let status: ConnectionTest['status'];
  let content: ConnectionTest['content'];
  let hostHeader: string | undefined;
  for (;;) {
    if (reader.accept('host')) host = reader.next();
    else if (reader.accept('port')) port = reader.number();
    else if (reader.accept('unixsocket')) socketPath = reader.next();
    else if (reader.accept('url')) {
      const url = parseUrl(reader);
      host = url.hostname.replace(/^\[|\]$/g, '');
      protocol = url.protocol.slice(0, -1);
      port = Number(url.port) || (protocol === 'https' ? 443 : 80);
      path = `${url.pathname}${url.search}`;
    } else if (reader.accept('type')) type = reader.word();
    else if (reader.accept('ssl', 'tls')) type = 'tcpssl';
    else if (reader.accept('protocol', 'proto')) protocol = reader.word();
    else if (reader.accept('request')) path = reader.next();
    else if (reader.accept('method')) reader.next();
    else if (reader.accept('hostheader')) {
      reader.accept('=');
      hostHeader = reader.next();
    } else if (reader.accept('status')) {
      status = { comparison: parseComparison(reader), value: reader.number() };
    } else if (reader.accept('content')) {
      const negated = reader.accept('!=');
      if (!negated) reader.accept('=', '==');
      content = { pattern: reader.next(), negated };
    } else if (reader.accept('send', 'expect')) reader.next();
    else if (reader.accept('username', 'password', 'certificate', 'checksum')) reader.next();
    else if (reader.accept('timeout')) timeoutMs = seconds(reader) * 1_000;
    else if (reader.accept('retry')) tries = Math.max(1, reader.number());
    else break;
  }
  if (socketPath !== undefined) return { kind: 'unix-socket', path: socketPath, timeoutMs, tries };
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    reader.fail('a connection test has no usable port');
  const isTls = type === 'tcpssl' || type === 'ssl' || protocol === 'https';
  return {
    ...{ kind: 'connection', host, port, path, timeoutMs, tries },
    protocol:
      protocol === 'http' || protocol === 'https'
        ? isTls
          ? 'https'
          : 'http'
        : type === 'udp'
          ? 'udp'
          : isTls
            ? 'tls'
            : 'tcp',
    ...(status ? { status } : {}),
    ...(content ? { content } : {}),
    ...(hostHeader === undefined ? {} : { hostHeader }),
  };
}

function parseUrl(reader: Reader): URL {
  const { text, line } = reader.token();
  if (/^https?:/.test(text) && URL.canParse(text)) return new URL(text);
  throw new ControlFileInvalid(`'${text}' is not an http or https URL`, line);
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

function parseComparison(reader: Reader): Comparison {
  if (reader.acceptPhrase('not', 'equal') || reader.accept('!=', 'notequal', 'ne')) return '!=';
  if (reader.accept('>', 'gt', 'greater', 'older')) return '>';
  if (reader.accept('<', 'lt', 'less', 'newer')) return '<';
  if (reader.accept('>=', 'ge')) return '>=';
  if (reader.accept('<=', 'le')) return '<=';
  if (reader.accept('=', '==', 'eq', 'equal')) return '==';
  return reader.refuse((word) => `'${word}' stands where a comparison is expected`);
}

function seconds(reader: Reader): number {
  const value = reader.number();
  const factor = secondsOf(reader.peek() ?? '');
  if (factor !== undefined) reader.token();
  if (value <= 0) reader.fail('a time limit is not positive');
  return value * (factor ?? 1);
}
