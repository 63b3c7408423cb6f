import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { connect as connectTls, createSecureContext } from 'node:tls';

export interface LoadOptions {
  readonly port: number;
  readonly ca?: string;
  readonly connections: number;
  readonly seconds: number;
  /** The bytes of one request. */
  readonly request: () => string;
}

export interface LoadResult {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Keep-alive connections that each send the next request when the answer is there. Does as little itself as it can. */
export async function load(options: LoadOptions): Promise<LoadResult> {
  const times: number[] = [];
  const secureContext = options.ca === undefined ? undefined : createSecureContext({ ca: options.ca });
  const open = (): Promise<Socket> =>
    new Promise((resolve, reject) => {
      const socket: Socket = secureContext
        ? connectTls({ host: '127.0.0.1', port: options.port, secureContext }, () => resolve(socket))
        : connect({ host: '127.0.0.1', port: options.port }, () => resolve(socket));
      socket.once('error', reject);
      socket.setNoDelay(true);
    });
  const sockets: Socket[] = [];
  for (let index = 0; index < options.connections; index += 1) sockets.push(await open());
  const beganMs = performance.now();
  const endMs = beganMs + options.seconds * 1_000;
  // The client never sleeps: waking it up costs the one that answers, and a slower server would pay it more often.
  let loaded = true;
  const stayAwake = () => {
    if (loaded) setImmediate(stayAwake);
  };
  stayAwake();
  await Promise.all(sockets.map((socket) => drive(socket, options.request, endMs, times)));
  loaded = false;
  const elapsed = (performance.now() - beganMs) / 1_000;
  for (const socket of sockets) socket.destroy();
  times.sort((a, b) => a - b);
  const at = (share: number) =>
    times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? Number.NaN;
  return { perSecond: times.length / elapsed, p50Ms: at(0.5), p99Ms: at(0.99) };
}

function drive(socket: Socket, request: () => string, endMs: number, times: number[]): Promise<void> {
  return new Promise((resolve, reject) => {
    let sentMs = 0;
    let missing = -1;
    const send = () => {
      sentMs = performance.now();
      missing = -1;
      socket.write(request());
    };
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the server closed the connection')));
    socket.on('data', (chunk: Buffer) => {
      if (missing < 0) missing = answerBytes(chunk);
      missing -= chunk.length;
      if (missing > 0) return;
      const nowMs = performance.now();
      times.push(nowMs - sentMs);
      if (nowMs < endMs) send();
      else {
        socket.removeAllListeners('close');
        resolve();
      }
    });
    send();
  });
}

/** Length of the whole answer, from its head. */
function answerBytes(chunk: Buffer): number {
  const end = chunk.indexOf('\r\n\r\n');
  const head = chunk.toString('latin1', 0, end);
  if (!head.startsWith('HTTP/1.1 200')) throw new Error(`unexpected answer: ${head.slice(0, 100)}`);
  const length = /content-length: (\d+)/i.exec(head)?.[1];
  if (length !== undefined) return end + 4 + Number(length);
  // Chunked, small: it ends with its last chunk.
  return chunk.length;
}
