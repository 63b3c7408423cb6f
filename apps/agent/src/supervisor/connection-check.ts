import { createHash } from 'node:crypto';
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { on, once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { connect, isIP, type Socket } from 'node:net';
import { addAbortSignal } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { messageOf } from '@microbosh/errors';
import {
  compare,
  type CertificateTest,
  type ConnectionTest,
  type DialogueStep,
  type HttpTest,
  type SocketAddress,
} from './control-language.ts';

const maxBodyBytes = 1024 * 1024;
const maxAnswerBytes = 64 * 1024;
/** For a refusal of a datagram to come back. */
const refusalMs = 500;

/** Undefined when the service answers as the rule asks, else what was wrong. */
export async function connectionProblem(test: ConnectionTest): Promise<string | undefined> {
  const signal = AbortSignal.timeout(test.timeoutMs);
  try {
    if (test.transport === 'udp') return await datagramProblem(test, signal);
    const socket = await open(test, signal);
    try {
      const { certificate, http, dialogue } = test;
      const problem = certificate && certificateProblem(socket as TLSSocket, certificate);
      if (problem !== undefined) return problem;
      if (http) return await httpProblem(http, test.to, socket, signal);
      if (dialogue) return await dialogueProblem(dialogue, socket, signal);
      return undefined;
    } finally {
      socket.destroy();
    }
  } catch (error) {
    return signal.aborted ? `no answer within ${test.timeoutMs} ms` : messageOf(error);
  }
}

async function open({ to, transport, certificate }: ConnectionTest, signal: AbortSignal): Promise<Socket> {
  if (transport !== 'tls') {
    const socket = connect(to);
    await established(socket, 'connect', signal);
    return socket;
  }
  const tls = await import('node:tls');
  const socket = tls.connect({
    ...to,
    ...('host' in to && isIP(to.host) === 0 ? { servername: to.host } : {}),
    ...(certificate?.caFile === undefined ? {} : { ca: await readFile(certificate.caFile) }),
    // The check is about life unless the rule asks for more.
    rejectUnauthorized: false,
  });
  await established(socket, 'secureConnect', signal);
  return socket;
}

async function established(
  socket: Socket,
  event: 'connect' | 'secureConnect',
  signal: AbortSignal,
): Promise<void> {
  // Also what goes wrong later, when nobody waits for it.
  socket.on('error', () => undefined);
  try {
    await once(socket, event, { signal });
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

const selfSigned = ['DEPTH_ZERO_SELF_SIGNED_CERT', 'SELF_SIGNED_CERT_IN_CHAIN'];

function certificateProblem(socket: TLSSocket, wanted: CertificateTest): string | undefined {
  const { raw, valid_to: validTo } = socket.getPeerCertificate();
  if (wanted.checksum !== undefined) {
    const sum = sumOf(raw, wanted.checksum.length);
    if (sum !== wanted.checksum) return `the certificate's checksum is ${sum}`;
  }
  if (wanted.validDays) {
    const days = Math.floor((Date.parse(validTo) - Date.now()) / 86_400_000);
    if (!compare(days, wanted.validDays.comparison, wanted.validDays.value)) {
      return `the certificate is valid for ${days} days`;
    }
  }
  if (!wanted.verify || socket.authorized) return undefined;
  const reason = String(socket.authorizationError);
  return wanted.allowSelfSigned && selfSigned.includes(reason)
    ? undefined
    : `the certificate is not trusted: ${reason}`;
}

function sumOf(content: Uint8Array, length: number): string {
  return createHash(length === 32 ? 'md5' : 'sha1')
    .update(content)
    .digest('hex');
}

async function httpProblem(
  test: HttpTest,
  to: SocketAddress,
  socket: Socket,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { request } = await import('node:http');
  const call = request({
    ...('host' in to ? { host: to.host, port: to.port } : {}),
    ...{ method: test.method, path: test.path, headers: test.headers },
    // Without an agent: that would connect anew.
    ...{ signal, createConnection: () => socket },
  });
  // Also what goes wrong later, when the body is read.
  call.on('error', () => undefined);
  call.end();
  const [response] = (await once(call, 'response', { signal })) as [IncomingMessage];
  const status = response.statusCode ?? 0;
  const isWanted = test.status
    ? compare(status, test.status.comparison, test.status.value)
    : status > 0 && status < 400;
  if (!isWanted) return `status ${status}`;
  if (!test.content && test.checksum === undefined) return undefined;
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBodyBytes) return `the body is larger than ${maxBodyBytes} bytes`;
    chunks.push(chunk);
  }
  const body = Buffer.concat(chunks);
  if (test.checksum !== undefined) {
    const sum = sumOf(body, test.checksum.length);
    if (sum !== test.checksum) return `the body's checksum is ${sum}`;
  }
  if (!test.content) return undefined;
  const { pattern, negated } = test.content;
  if (new RegExp(pattern).test(body.toString('utf8')) !== negated) return undefined;
  return `the body ${negated ? 'matches' : 'does not match'} /${pattern}/`;
}

async function dialogueProblem(
  steps: readonly DialogueStep[],
  socket: Socket,
  signal: AbortSignal,
): Promise<string | undefined> {
  addAbortSignal(signal, socket.setEncoding('latin1'));
  const chunks = (socket as AsyncIterable<string>)[Symbol.asyncIterator]();
  let received = '';
  for (const step of steps) {
    if ('send' in step) {
      received = '';
      socket.write(Buffer.from(step.send, 'latin1'));
      continue;
    }
    const pattern = new RegExp(step.expect);
    let match = pattern.exec(received);
    while (!match) {
      const chunk = await chunks.next().catch((error: unknown) => {
        // What came says more than that no more came.
        if (received === '') throw error;
        return undefined;
      });
      if (!chunk || chunk.done || received.length > maxAnswerBytes) return unmatched(step.expect, received);
      received += chunk.value;
      match = pattern.exec(received);
    }
    received = received.slice(match.index + match[0].length);
  }
  return undefined;
}

async function datagramProblem(
  { to, dialogue }: ConnectionTest,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (!('host' in to)) throw new TypeError('a datagram goes to a port');
  const socket = createSocket(to.family === 6 || to.host.includes(':') ? 'udp6' : 'udp4');
  try {
    socket.connect(to.port, to.host);
    await once(socket, 'connect', { signal });
    if (!dialogue) return await refusalOf(socket);
    const answers = on(socket, 'message', { signal });
    for (const step of dialogue) {
      if ('send' in step) {
        socket.send(Buffer.from(step.send, 'latin1'));
        continue;
      }
      const [answer] = ((await answers.next()).value ?? []) as readonly Buffer[];
      const text = answer?.toString('latin1') ?? '';
      if (!new RegExp(step.expect).test(text)) return unmatched(step.expect, text);
    }
    return undefined;
  } finally {
    socket.close();
  }
}

/** An empty datagram that nobody refuses: nothing more can be known without something to say. */
async function refusalOf(socket: DatagramSocket): Promise<string | undefined> {
  const signal = AbortSignal.timeout(refusalMs);
  socket.send('');
  try {
    await once(socket, 'message', { signal });
    return undefined;
  } catch (error) {
    return signal.aborted ? undefined : messageOf(error);
  }
}

function unmatched(pattern: string, answer: string): string {
  const shown = JSON.stringify(answer.slice(0, 80));
  return `the answer ${shown} does not match /${pattern}/`;
}
