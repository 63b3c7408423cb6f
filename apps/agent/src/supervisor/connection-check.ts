import { connect } from 'node:net';
import type { ControlTest } from './control-file.ts';

/** True when the service answers as the rule asks. A TLS peer is not verified: the check is about life. */
export async function connectionWorks(
  test: Extract<ControlTest, { kind: 'connection' | 'unix-socket' }>,
): Promise<boolean> {
  if (test.kind === 'unix-socket') return socketOpens({ path: test.path }, test.timeoutMs);
  if (test.protocol === 'tcp') return socketOpens({ host: test.host, port: test.port }, test.timeoutMs);
  const { request } = test.protocol === 'https' ? await import('node:https') : await import('node:http');
  return new Promise((resolve) => {
    const call = request(
      {
        host: test.host,
        port: test.port,
        path: test.path,
        timeout: test.timeoutMs,
        rejectUnauthorized: false,
      },
      (response) => {
        response.resume();
        resolve((response.statusCode ?? 500) < 400);
      },
    );
    call.once('timeout', () => call.destroy());
    call.once('error', () => resolve(false));
    call.once('close', () => resolve(false));
    call.end();
  });
}

async function socketOpens(
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
