import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { compare, type ConnectionTest } from './control-language.ts';

const maxContentBytes = 1024 * 1024;

/** True when the service answers as the rule asks. A TLS peer is not verified: the check is about life. */
export async function connectionWorks(test: ConnectionTest): Promise<boolean> {
  const address = { host: test.host, port: test.port };
  if (test.protocol === 'tcp') return socketWorks(address, test.timeoutMs);
  if (test.protocol === 'udp') return datagramIsAccepted(address, test.timeoutMs);
  if (test.protocol === 'tls') return tlsWorks(address, test.timeoutMs);
  return httpWorks(test);
}

async function httpWorks(test: ConnectionTest): Promise<boolean> {
  const { request } = test.protocol === 'https' ? await import('node:https') : await import('node:http');
  return new Promise((resolve) => {
    const call = request(
      {
        host: test.host,
        port: test.port,
        path: test.path,
        agent: false,
        rejectUnauthorized: false,
        // Over the whole answer, not only over silence.
        signal: AbortSignal.timeout(test.timeoutMs),
        headers: { ...(test.hostHeader === undefined ? {} : { host: test.hostHeader }) },
      },
      (response) => {
        const status = response.statusCode ?? 500;
        const isWanted = test.status
          ? compare(status, test.status.comparison, test.status.value)
          : status < 400;
        if (!isWanted || !test.content) {
          response.destroy();
          resolve(isWanted);
          return;
        }
        const { pattern, negated } = test.content;
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes <= maxContentBytes) chunks.push(chunk);
        });
        response.once('end', () =>
          resolve(new RegExp(pattern).test(Buffer.concat(chunks).toString('utf8')) !== negated),
        );
      },
    );
    call.once('error', () => resolve(false));
    call.once('close', () => resolve(false));
    call.end();
  });
}

export async function socketWorks(
  address: { readonly path: string } | { readonly host: string; readonly port: number },
  timeoutMs: number,
): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address);
    const end = (works: boolean) => {
      socket.destroy();
      resolve(works);
    };
    socket.setTimeout(timeoutMs, () => end(false));
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}

async function tlsWorks(
  address: { readonly host: string; readonly port: number },
  timeoutMs: number,
): Promise<boolean> {
  const tls = await import('node:tls');
  return new Promise((resolve) => {
    const socket = tls.connect({ ...address, rejectUnauthorized: false });
    const end = (works: boolean) => {
      socket.destroy();
      resolve(works);
    };
    socket.setTimeout(timeoutMs, () => end(false));
    socket.once('secureConnect', () => end(true));
    socket.once('error', () => end(false));
  });
}

/** A datagram that nobody refuses: nothing more can be known without the service's protocol. */
async function datagramIsAccepted(
  address: { readonly host: string; readonly port: number },
  timeoutMs: number,
): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket(address.host.includes(':') ? 'udp6' : 'udp4');
    const end = (works: boolean) => {
      clearTimeout(timer);
      socket.close();
      resolve(works);
    };
    const timer = setTimeout(() => end(true), Math.min(timeoutMs, 500));
    socket.once('error', () => end(false));
    socket.connect(address.port, address.host, () => socket.send(''));
  });
}
