import {
  ControlFileInvalid,
  type CertificateTest,
  type ConnectionTest,
  type ControlTest,
  type DialogueStep,
  type HttpTest,
  type SocketAddress,
} from './control-language.ts';
import type { Reader } from './control-tokens.ts';
import { checkedPattern, parseComparison, parseSeconds, parseSum } from './control-values.ts';
import { datagramProtocols, dialogueOf, unspokenProtocols } from './protocol-dialogues.ts';

interface Draft {
  host: string;
  port: number;
  family?: 4 | 6;
  socketPath?: string;
  transport: ConnectionTest['transport'] | undefined;
  protocol: string;
  http: { -readonly [Key in keyof HttpTest]: HttpTest[Key] };
  user?: string;
  password?: string;
  readonly steps: DialogueStep[];
  certificate?: { -readonly [Key in keyof CertificateTest]: CertificateTest[Key] };
  timeoutMs: number;
  tries: number;
}

/** What follows `failed`: `[host …] port …`, `unixsocket …` or `url …`, with options in any order. */
export function parseConnection(reader: Reader, defaultHost: string): ControlTest {
  const draft: Draft = {
    ...{ host: defaultHost, port: 0, transport: undefined, protocol: '', steps: [] },
    http: { method: 'GET', path: '/', headers: {} },
    ...{ timeoutMs: 5_000, tries: 1 },
  };
  while (parseTarget(reader, draft) || parseHttpOption(reader, draft) || parseOption(reader, draft));
  return testOf(reader, draft);
}

function parseTarget(reader: Reader, draft: Draft): boolean {
  if (reader.accept('host')) draft.host = reader.next();
  else if (reader.accept('port')) draft.port = reader.number();
  else if (reader.accept('unixsocket', 'unix')) {
    reader.accept('path', 'socket');
    draft.socketPath = reader.next();
  } else if (reader.accept('url')) {
    const url = parseUrl(reader);
    draft.host = url.hostname.replace(/^\[|\]$/g, '');
    draft.protocol = url.protocol.slice(0, -1);
    draft.port = Number(url.port) || (draft.protocol === 'https' ? 443 : 80);
    draft.http.path = `${url.pathname}${url.search}`;
    if (url.username !== '') draft.user = decodeURIComponent(url.username);
    if (url.password !== '') draft.password = decodeURIComponent(url.password);
  } else if (reader.accept('ipv4')) draft.family = 4;
  else if (reader.accept('ipv6')) draft.family = 6;
  else return false;
  return true;
}

function parseHttpOption(reader: Reader, draft: Draft): boolean {
  const { http } = draft;
  if (reader.accept('request')) http.path = reader.next();
  else if (reader.accept('method')) {
    if (reader.accept('get')) http.method = 'GET';
    else if (reader.accept('head')) http.method = 'HEAD';
    else reader.refuse((word) => `the method '${word}' is neither GET nor HEAD`);
  } else if (reader.accept('hostheader')) {
    reader.accept('=');
    http.headers = { ...http.headers, host: reader.next() };
  } else if (reader.acceptPhrase('http', 'headers')) {
    http.headers = { ...http.headers, ...parseHeaders(reader) };
  } else if (reader.accept('status')) {
    http.status = { comparison: parseComparison(reader), value: reader.number() };
  } else if (reader.accept('content')) http.content = parseContentPattern(reader);
  else if (reader.accept('checksum')) http.checksum = parseSum(reader);
  else if (reader.accept('username')) draft.user = reader.next();
  else if (reader.accept('password')) draft.password = reader.next();
  else return false;
  return true;
}

function parseOption(reader: Reader, draft: Draft): boolean {
  if (reader.accept('type')) parseType(reader, draft);
  else if (reader.accept('ssl', 'tls')) {
    draft.transport = 'tls';
    if (reader.accept('options')) parseTlsOptions(reader, draft);
  } else if (reader.accept('certificate')) parseCertificate(reader, draft);
  else if (reader.accept('protocol', 'proto')) draft.protocol = parseProtocol(reader);
  else if (reader.accept('send')) draft.steps.push({ send: bytesOfText(reader.next()) });
  else if (reader.accept('expect'))
    draft.steps.push({ expect: Buffer.from(checkedPattern(reader)).toString('latin1') });
  else if (reader.accept('timeout')) draft.timeoutMs = parseSeconds(reader) * 1_000;
  else if (reader.accept('retry')) draft.tries = Math.max(1, reader.number());
  else return false;
  return true;
}

function parseType(reader: Reader, draft: Draft): void {
  if (reader.accept('tcp')) draft.transport ??= 'tcp';
  else if (reader.accept('udp')) draft.transport = 'udp';
  else if (reader.accept('tcpssl')) {
    draft.transport = 'tls';
    // A version that may be named is left to what both sides speak.
    reader.accept('auto', 'tlsv1', 'tlsv11', 'tlsv12', 'tlsv13');
  } else reader.refuse((word) => `the type '${word}' is neither tcp, udp nor tcpssl`);
}

function parseProtocol(reader: Reader): string {
  const { text, line } = reader.token();
  const name = text.toLowerCase();
  const isKnown =
    ['http', 'https', 'generic', 'default'].includes(name) ||
    dialogueOf(name, 'tcp') !== undefined ||
    unspokenProtocols.has(name);
  if (!isKnown) throw new ControlFileInvalid(`the protocol '${text}' is not known`, line);
  return name;
}

function certificateOf(draft: Draft): NonNullable<Draft['certificate']> {
  draft.certificate ??= { verify: false, allowSelfSigned: false };
  return draft.certificate;
}

/** `valid for > 30 days`, `checksum "<sum>"`. */
function parseCertificate(reader: Reader, draft: Draft): void {
  const certificate = certificateOf(draft);
  draft.transport ??= 'tls';
  if (reader.accept('valid')) {
    certificate.validDays = { comparison: parseComparison(reader), value: reader.number() };
    if (!reader.accept('day', 'days')) reader.refuse((word) => `'${word}' stands where 'days' is expected`);
  } else if (reader.accept('checksum')) {
    reader.accept('md5', 'sha1');
    certificate.checksum = parseSum(reader);
  } else reader.refuse((word) => `'certificate ${word}' is not known`);
}

/** `{ verify: enable, selfsigned: allow, cacertificatefile: "…" }`. */
function parseTlsOptions(reader: Reader, draft: Draft): void {
  const certificate = certificateOf(draft);
  if (!reader.accept('{')) reader.refuse((word) => `'${word}' stands where '{' is expected`);
  while (!reader.accept('}')) {
    const { text, line } = reader.token();
    const option = text.toLowerCase().replace(/:$/, '');
    reader.accept(':');
    if (option === 'verify') certificate.verify = reader.word() === 'enable';
    else if (option === 'selfsigned') certificate.allowSelfSigned = reader.word() === 'allow';
    else if (option === 'cacertificatefile') {
      certificate.caFile = reader.next();
      certificate.verify = true;
    } else throw new ControlFileInvalid(`the TLS option '${option}' is not supported`, line);
    reader.accept(',');
  }
}

/** `[Name: value, Name: "value with blanks"]`. */
function parseHeaders(reader: Reader): Readonly<Record<string, string>> {
  const { line } = reader;
  const headers: Record<string, string> = {};
  for (let isLast = false, isFirst = true; !isLast; isFirst = false) {
    let name = reader.next();
    if (isFirst && name.startsWith('[')) name = name.slice(1) || reader.next();
    const value = reader.token();
    isLast = !value.quoted && value.text.endsWith(']');
    if (!name.endsWith(':') || (isFirst && name === ':')) {
      throw new ControlFileInvalid(`'${name}' is not the name of a header with a colon`, line);
    }
    headers[name.slice(0, -1).toLowerCase()] = isLast ? value.text.slice(0, -1) : value.text;
    isLast ||= value.quoted && reader.accept(']');
    if (!isLast && !reader.accept(',')) {
      reader.refuse((word) => `'${word}' stands where ',' or ']' is expected; quote values with blanks`);
    }
  }
  return headers;
}

export function parseContentPattern(reader: Reader): {
  readonly pattern: string;
  readonly negated: boolean;
} {
  const negated = reader.accept('!=');
  if (!negated) reader.accept('=', '==');
  return { pattern: checkedPattern(reader), negated };
}

function parseUrl(reader: Reader): URL {
  const { text, line } = reader.token();
  if (/^https?:/.test(text) && URL.canParse(text)) return new URL(text);
  throw new ControlFileInvalid(`'${text}' is not an http or https URL`, line);
}

function testOf(reader: Reader, draft: Draft): ConnectionTest {
  const { protocol, steps, certificate, timeoutMs, tries, user } = draft;
  const isHttp = protocol === 'http' || protocol === 'https';
  const transport =
    protocol === 'https' ? 'tls' : (draft.transport ?? (datagramProtocols.has(protocol) ? 'udp' : 'tcp'));
  if (transport === 'udp' && (isHttp || draft.socketPath !== undefined)) {
    reader.fail(`${isHttp ? protocol : 'a UNIX socket'} cannot be checked with type udp`);
  }
  if (isHttp && steps.length > 0) reader.fail(`send and expect cannot be used with protocol ${protocol}`);
  if (user !== undefined && isHttp) {
    const credentials = Buffer.from(`${user}:${draft.password ?? ''}`).toString('base64');
    draft.http.headers = { ...draft.http.headers, authorization: `Basic ${credentials}` };
  }
  const dialogue = steps.length > 0 ? steps : (dialogueOf(protocol, transport) ?? []);
  return {
    ...{ kind: 'connection', to: addressOf(reader, draft), transport, timeoutMs, tries },
    ...(isHttp ? { http: draft.http } : {}),
    ...(dialogue.length > 0 ? { dialogue } : {}),
    ...(certificate ? { certificate } : {}),
    ...(unspokenProtocols.has(protocol) && steps.length === 0 ? { unspoken: protocol } : {}),
  };
}

function addressOf(reader: Reader, { socketPath, host, port, family }: Draft): SocketAddress {
  if (socketPath !== undefined) return { path: socketPath };
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    reader.fail('a connection test has no usable port');
  return { host, port, ...(family === undefined ? {} : { family }) };
}

const escapes: Readonly<Record<string, string>> = {
  ...{ n: '\n', r: '\r', t: '\t', a: '\x07', b: '\b', f: '\f', v: '\v', e: '\x1b', '0': '\0' },
};

/** Text with `\r`, `\n`, `\0x1f` and the like, one character per byte. */
function bytesOfText(text: string): string {
  return Buffer.from(text)
    .toString('latin1')
    .replace(/\\(?:0?x([0-9a-f]{2})|(.))/gis, (_whole, hex?: string, letter = '') =>
      hex === undefined
        ? (escapes[letter as string] ?? (letter as string))
        : String.fromCharCode(Number.parseInt(hex, 16)),
    );
}
