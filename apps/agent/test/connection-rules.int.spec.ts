import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectionProblem } from '../src/supervisor/connection-check.ts';
import { parseControlFile } from '../src/supervisor/control-file.ts';
import type { ConnectionTest } from '../src/supervisor/control-language.ts';
import { createAuthority, type TestAuthority } from '../src/testing/test-pki.ts';

let dir: string;
let authority: TestAuthority;
let pair: { readonly certificate: string; readonly privateKey: string };
const closing: (() => Promise<unknown>)[] = [];

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'connections-'));
  authority = createAuthority('connections');
  pair = authority.issue('peer');
  writeFileSync(join(dir, 'ca.crt'), authority.certificate);
});

afterAll(async () => {
  for (const close of closing) await close();
  authority.dispose();
  rmSync(dir, { recursive: true, force: true });
});

/** What a rule finds: undefined when all is well. */
async function problem(condition: string): Promise<string | undefined> {
  const { services, flaws } = parseControlFile(
    `check process web with pidfile /p\n  if failed ${condition} then alert\n`,
  );
  expect(flaws).toEqual([]);
  return connectionProblem(services[0]?.rules[0]?.test as ConnectionTest);
}

async function listening(server: Server, where: number | string = 0): Promise<number> {
  await new Promise<void>((resolve) =>
    typeof where === 'string' ? server.listen(where, resolve) : server.listen(where, '127.0.0.1', resolve),
  );
  const sockets: Socket[] = [];
  server.on('connection', (socket) => sockets.push(socket));
  closing.push(async () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return typeof where === 'string' ? 0 : (server.address() as AddressInfo).port;
}

/** A server that greets and answers each chunk with the next of its lines. */
function talker(greeting: string, ...answers: readonly string[]): (socket: Socket) => void {
  return (socket) => {
    const queue = [...answers];
    socket.on('error', () => undefined);
    if (greeting !== '') socket.write(Buffer.from(greeting, 'latin1'));
    socket.on('data', () => {
      const answer = queue.shift();
      if (answer !== undefined) socket.write(Buffer.from(answer, 'latin1'));
    });
  };
}

describe('send and expect', () => {
  const chat = 'send "HELLO\\r\\n" expect "^[0-9]{3} wel+come" send "\\0x01\\x02x" expect "^bye"';
  const heard: string[] = [];
  let port: number;

  beforeAll(async () => {
    const server = createServer((socket) => {
      talker('', '250 wel', 'bye')(socket);
      socket.on('data', (chunk: Buffer) => {
        heard.push(chunk.toString('latin1'));
        // The rest of the first answer comes by itself.
        if (heard.length === 1) setTimeout(() => socket.write('come\r\n'), 50);
      });
    });
    port = await listening(server);
  });

  it('speak in turns, with escapes, and wait for all of an answer', async () => {
    expect(await problem(`port ${port} ${chat} with timeout 2 seconds`)).toBeUndefined();
    expect(heard).toEqual(['HELLO\r\n', '\x01\x02x']);
  });

  it.each([
    ['an answer that is another one', 'send "x" expect "^nothing like it"', 'does not match /^nothing'],
    ['silence', 'expect "banner"', 'no answer within 300 ms'],
  ])('tell of %s', async (_what, steps, message) => {
    expect(await problem(`port ${port} ${steps} with timeout 300 ms`)).toContain(message);
  });

  it('tell of a peer that hangs up', async () => {
    const closer = await listening(createServer((socket) => socket.end('go away')));

    expect(await problem(`port ${closer} expect "welcome"`)).toBe(
      'the answer "go away" does not match /welcome/',
    );
  });

  it('work over a UNIX socket, and over TLS', async () => {
    const greet = (socket: Socket) => socket.end('ready\n');
    const path = join(dir, 'chat.sock');
    await listening(createServer(greet), path);
    const tls = createTlsServer({ key: pair.privateKey, cert: pair.certificate }, greet);
    const tlsPort = await listening(tls);

    expect(await problem(`unixsocket ${path} expect "^ready"`)).toBeUndefined();
    expect(await problem(`unixsocket ${path} expect "^busy"`)).toContain('busy');
    expect(await problem(`port ${tlsPort} type tcpssl expect "^ready"`)).toBeUndefined();
    expect(await problem(`port ${tlsPort} type tcpssl expect "^busy"`)).toContain('busy');
  });

  it('work with datagrams', async () => {
    const socket = createSocket('udp4', (message, from) =>
      socket.send(`you said ${message.toString()}`, from.port, from.address),
    );
    await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
    closing.push(async () => socket.close());
    const udp = `port ${socket.address().port} type udp`;

    expect(await problem(udp)).toBeUndefined();
    expect(await problem(`${udp} send "a" expect "said a$"`)).toBeUndefined();
    expect(await problem(`${udp} send "a" expect "said b$"`)).toBe(
      'the answer "you said a" does not match /said b$/',
    );
    expect(await problem(`${udp} send "a" expect "a" expect "b" timeout 300 ms`)).toContain('300 ms');
  });

  it('a datagram that the machine refuses', async () => {
    const probe = createSocket('udp4');
    await new Promise<void>((resolve) => probe.bind(0, '127.0.0.1', resolve));
    const { port: free } = probe.address();
    await new Promise<void>((resolve) => probe.close(resolve));

    expect(await problem(`port ${free} type udp`)).toContain('ECONNREFUSED');
  });
});

describe('TLS', () => {
  let port: number;
  let sum: string;

  beforeAll(async () => {
    port = await listening(createTlsServer({ key: pair.privateKey, cert: pair.certificate }));
    sum = createHash('sha1').update(new X509Certificate(pair.certificate).raw).digest('hex');
  });

  it.each<[string, string | undefined]>([
    ['type tcpssl', undefined],
    ['with ssl options {verify: enable}', 'not trusted: UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
    ['with ssl options {verify: enable, cacertificatefile: "CA"}', undefined],
    ['type tcpssl certificate valid > 1 days', 'valid for 1 days'],
    ['type tcpssl certificate valid >= 1 days', undefined],
    ['type tcpssl certificate checksum sha1 "SUM"', undefined],
    ['type tcpssl certificate checksum "0123456789abcdef0123456789abcdef"', 'checksum is'],
    ['type tcp expect "."', 'no answer within'],
  ])('%s: %s', async (options, message) => {
    const text = options.replace('CA', join(dir, 'ca.crt')).replace('SUM', sum);

    const found = await problem(`port ${port} ${text} timeout 500 ms`);

    if (message === undefined) expect(found).toBeUndefined();
    else expect(found).toContain(message);
  });

  it('a peer that signs for itself is fine where the rule allows it', async () => {
    const key = join(dir, 'own.key');
    const cert = join(dir, 'own.crt');
    const files = ['-keyout', key, '-out', cert, '-days', '2', '-subj', '/CN=127.0.0.1'];
    execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', ...files], { stdio: 'ignore' });
    const own = await listening(createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) }));

    expect(await problem(`port ${own} with ssl options {verify: enable}`)).toContain('SELF_SIGNED');
    expect(await problem(`port ${own} with ssl options {verify: enable, selfsigned: allow}`)).toBeUndefined();
  });

  it('a peer that speaks none', async () => {
    const plain = await listening(createServer(talker('hello\n')));

    expect(await problem(`port ${plain} type tcpssl timeout 500 ms`)).toBeDefined();
  });
});

describe('HTTP', () => {
  const body = 'all is well\n';
  let port: number;
  let tlsPort: number;
  let path: string;

  beforeAll(async () => {
    const answer = (request: IncomingMessage, response: ServerResponse) => {
      const { authorization, host = '', 'x-probe': probe = '' } = request.headers;
      const isLetIn = authorization === `Basic ${Buffer.from('op:s3cret').toString('base64')}`;
      response.statusCode =
        request.url === '/private' && !isLetIn ? 401 : request.url === '/gone' ? 410 : 200;
      response.end(request.url === '/echo' ? `${request.method} ${host} ${String(probe)}` : body);
    };
    port = await listening(createHttpServer(answer));
    tlsPort = await listening(createHttpsServer({ key: pair.privateKey, cert: pair.certificate }, answer));
    path = join(dir, 'http.sock');
    await listening(createHttpServer(answer), path);
  });

  it.each<[string, string | undefined]>([
    ['port HTTP protocol http', undefined],
    ['port HTTP protocol http request "/gone"', 'status 410'],
    ['port HTTP protocol http request "/gone" status = 410', undefined],
    ['port HTTP protocol http status > 200', 'status 200'],
    ['port HTTP protocol http method HEAD', undefined],
    ['port HTTP protocol http content = "is (well|fine)"', undefined],
    ['port HTTP protocol http content != "is (well|fine)"', 'matches'],
    ['port HTTP protocol http request "/private"', 'status 401'],
    ['port HTTP protocol http request "/private" username "op" password "s3cret"', undefined],
    ['port HTTP protocol http checksum MD5', undefined],
    ['port HTTP protocol http checksum 0123456789abcdef0123456789abcdef', "body's checksum is MD5"],
    [
      'port HTTP protocol http request "/echo" with http headers [Host: a.b, X-Probe: "one two"] content = "GET a.b one two"',
      undefined,
    ],
    ['port HTTPS protocol https', undefined],
    ['port HTTPS type tcpssl protocol http content = "well"', undefined],
    ['port HTTPS protocol https with ssl options {verify: enable}', 'not trusted'],
    ['port HTTPS protocol http', 'Parse Error|socket hang up|status 400'],
    ['url http://op:s3cret@127.0.0.1:HTTP/private content = "well"', undefined],
    ['unixsocket SOCK protocol http content = "well"', undefined],
    ['unixsocket SOCK protocol http request "/gone"', 'status 410'],
    ['port 1 protocol http', 'ECONNREFUSED'],
  ])('%s: %s', async (condition, message) => {
    const md5 = createHash('md5').update(body).digest('hex');
    const text = condition
      .replace('HTTPS', String(tlsPort))
      .replace('HTTP', String(port))
      .replace('SOCK', path)
      .replace('MD5', md5);

    const found = await problem(`${text} timeout 2 seconds`);

    if (message === undefined) expect(found).toBeUndefined();
    else expect(found).toMatch(new RegExp(message.replace('MD5', md5)));
  });

  it('a server that never answers is given up on', async () => {
    const silent = await listening(createServer(() => undefined));
    const startedAt = Date.now();

    expect(await problem(`port ${silent} protocol http timeout 300 ms`)).toBe('no answer within 300 ms');
    expect(Date.now() - startedAt).toBeLessThan(3_000);
  });
});

describe('protocols: a server of the kind is well, one of another kind is not', () => {
  it.each([
    ['smtp', '220-mx\r\n220 ready\r\n', ['250-mx\r\n250 SIZE\r\n', '221 bye\r\n']],
    ['lmtp', '220 ready\r\n', ['250 mx\r\n', '221 bye\r\n']],
    ['ftp', '220 ready\r\n', ['221 bye\r\n']],
    ['pop', '+OK ready\r\n', ['+OK bye\r\n']],
    ['imap', '* OK ready\r\n', ['* BYE\r\n001 OK\r\n']],
    ['nntp', '200 ready\r\n', ['205 bye\r\n']],
    ['sieve', '"IMPLEMENTATION" "x"\r\n', []],
    ['rsync', '@RSYNCD: 31.0\n', []],
    ['ssh', 'SSH-2.0-x\r\n', []],
    ['mysql', '\x4a\0\0\0\x0a8.0.36\0', []],
    ['redis', '', ['+PONG\r\n']],
    ['memcache', '', ['VERSION 1.6\r\n']],
    ['clamav', '', ['PONG\n']],
    ['spamassassin', '', ['SPAMD/1.5 0 PONG\r\n']],
    ['pgsql', '', ['R\0\0\0\x08\0\0\0\x05']],
    ['mqtt', '', ['\x20\x02\0\0']],
    ['ldap3', '', ['0\x0c\x02\x01\x01a\x07\x0a\x01\0\x04\0\x04\0']],
    ['ldap2', '', ['0\x0c\x02\x01\x01a\x07\x0a\x01\0\x04\0\x04\0']],
    ['dns', '', ['\0\x0c\0\x01\x81\x80\0\x01\0\0\0\0\0\0']],
  ])('%s', async (protocol, greeting, answers) => {
    const type = protocol === 'dns' ? ' type tcp' : '';
    const right = await listening(createServer(talker(greeting, ...answers)));
    const wrong = await listening(createServer((socket) => socket.end('?')));

    expect(await problem(`port ${right}${type} protocol ${protocol} timeout 2 seconds`)).toBeUndefined();
    expect(await problem(`port ${wrong}${type} protocol ${protocol} timeout 2 seconds`)).toContain('"?');
  });

  it('a real nats-server and sshd', async () => {
    const children: ChildProcess[] = [];
    const start = (command: string, ...args: string[]) =>
      children.push(spawn(command, args, { stdio: 'ignore' }));
    const [nats, ssh] = [await freePort(), await freePort()];
    mkdirSync('/run/sshd', { recursive: true });
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(dir, 'host')]);
    try {
      start('nats-server', '-a', '127.0.0.1', '-p', String(nats));
      const options = [`Port=${ssh}`, 'ListenAddress=127.0.0.1', `PidFile=${join(dir, 'sshd.pid')}`];
      start(
        '/usr/sbin/sshd',
        '-D',
        '-f',
        '/dev/null',
        '-h',
        join(dir, 'host'),
        ...options.flatMap((each) => ['-o', each]),
      );
      const talk = `port ${nats} expect "^INFO .*\\r\\n" send "PING\\r\\n" expect "PONG"`;

      await expect.poll(() => problem(talk), { timeout: 20_000, interval: 200 }).toBeUndefined();
      await expect
        .poll(() => problem(`port ${ssh} protocol ssh`), { timeout: 20_000, interval: 200 })
        .toBeUndefined();
      expect(await problem(`port ${nats} protocol ssh timeout 1 second`)).toContain('INFO');
    } finally {
      for (const child of children) child.kill('SIGKILL');
    }
  });
});

async function freePort(): Promise<number> {
  const probe = createServer();
  const port = await new Promise<number>((resolve) =>
    probe.listen(0, '127.0.0.1', () => resolve((probe.address() as AddressInfo).port)),
  );
  await new Promise((resolve) => probe.close(resolve));
  return port;
}
