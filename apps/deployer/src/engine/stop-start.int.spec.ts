import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { agentConnector } from '../access/agent-session.ts';
import { compose } from '../compose.ts';
import { environmentPaths } from '../state/environment-paths.ts';
import { StateStore } from '../state/state-store.ts';
import { defaultLimits } from './deploy-run.ts';
import { startEnv, stopEnv } from './stop-start.ts';

const global = { json: false, tty: false, color: false, quiet: true, nonInteractive: true };
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stop-start-'));
});
afterEach(async () => rm(folder, { recursive: true }));

function request() {
  return {
    context: compose(global, process, new AbortController().signal).context,
    paths: environmentPaths(join(folder, 'm.yml'), undefined, folder),
    skipDrain: false,
    dependencies: { connectAgent: agentConnector({}), limits: defaultLimits },
  };
}

describe.each([
  ['stop-env', stopEnv],
  ['start-env', startEnv],
])('%s', (_name, work) => {
  it('fails when the agent cannot be asked: nothing is said to be done that was not', async () => {
    const stranger = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.end('SSH-2.0-OpenSSH_9.2\r\n');
    }).listen(0, '127.0.0.1');
    await once(stranger, 'listening');
    const { port } = stranger.address() as AddressInfo;
    try {
      const { paths, ...rest } = request();
      const store = await StateStore.open(paths);
      await store.update({
        current_vm_cid: 'vm-1',
        own: { endpoint: { mbus: `https://mbus:secret-1@127.0.0.1:${port}`, ca: '' } },
      });

      const refused = work({ paths, ...rest });

      await expect(refused).rejects.toMatchObject({
        code: 'E_AGENT_NOT_READY',
        message: expect.stringMatching(/VM 'vm-1' does not answer: The peer does not speak TLS/) as string,
      });
      expect((await StateStore.open(paths)).current.own.stopped).toBe(false);
    } finally {
      stranger.close();
    }
  });

  it('fails when nothing is deployed', async () => {
    await expect(work(request())).rejects.toMatchObject({ code: 'E_NO_ENVIRONMENT' });
  });
});
