import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { AgentClient, type AgentClientTiming } from './agent-client.ts';
import { MethodUnknown } from './errors.ts';
import { makeCertificate, serveScripted, type TestCertificate } from './testing/scripted-agent.ts';

let certificate: TestCertificate;
const cleanups: (() => Promise<unknown>)[] = [];

beforeAll(() => {
  certificate = makeCertificate();
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Request {
  readonly method: string;
  readonly arguments: readonly unknown[];
  readonly request_id: string;
}

function client(
  port: number,
  ca: string | undefined = certificate.cert,
  timing: Partial<AgentClientTiming> = {},
): AgentClient {
  const made = new AgentClient({
    mbus: `https://vcap:s%2Fcret@127.0.0.1:${port}`,
    ...(ca === undefined ? {} : { ca }),
    replyTo: 'deployer-1',
    timing: { pollIntervalMs: 20, ...timing },
  });
  cleanups.push(() => made.close());
  return made;
}

async function agent(
  answer: (request: Request, response: ServerResponse, raw: IncomingMessage) => unknown,
  timing: Partial<AgentClientTiming> = {},
): Promise<AgentClient> {
  const server = await serveScripted(certificate, (raw, body, response) => {
    const expected = `Basic ${Buffer.from('vcap:s/cret').toString('base64')}`;
    if (raw.headers.authorization !== expected) {
      response.writeHead(401).end();
      return;
    }
    const value = answer(JSON.parse(body.toString()) as Request, response, raw);
    if (value !== undefined) response.end(JSON.stringify(value));
  });
  cleanups.push(() => server.close());
  return client(server.port, certificate.cert, timing);
}

describe('failures', () => {
  it('tells that nothing listens', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));

    await expect(client(port).ping()).rejects.toMatchObject({
      code: 'E_AGENT_REFUSED',
      retryable: true,
      maybeExecuted: false,
    });
  });

  it('tells that the certificate is another one, and does not wait for it to change', async () => {
    const server = await serveScripted(certificate, (_request, _body, response) => response.end('{}'));
    cleanups.push(() => server.close());
    const other = makeCertificate();

    await expect(client(server.port, other.cert).waitUntilReady({ timeoutMs: 5_000 })).rejects.toMatchObject({
      code: 'E_AGENT_CERTIFICATE',
    });
  });

  it('tells that the peer does not speak TLS', async () => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.write('SSH-2.0-OpenSSH_9.2\r\n', () => socket.destroySoon());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cleanups.push(async () => void server.close());

    await expect(client((server.address() as AddressInfo).port).ping()).rejects.toMatchObject({
      code: 'E_AGENT_TLS',
    });
  });

  it('tells that the credentials are wrong, without showing them', async () => {
    const server = await serveScripted(certificate, (_request, _body, response) =>
      response.writeHead(401).end(),
    );
    cleanups.push(() => server.close());

    const failure = await client(server.port)
      .ping()
      .catch((error: unknown) => error);

    expect(failure).toMatchObject({ code: 'E_AGENT_CREDENTIALS' });
    expect(JSON.stringify(failure) + String(failure)).not.toContain('s/cret');
  });

  it('tells that what answers is no agent', async () => {
    const subject = await agent((_request, response) => void response.end('<html>'));

    await expect(subject.ping()).rejects.toMatchObject({ code: 'E_AGENT_ANSWER' });
  });

  it('passes on the exception of the agent, in both forms', async () => {
    const subject = await agent(({ method }) =>
      method === 'ping' ? { exception: 'bare' } : { exception: { message: 'Action Failed info: no' } },
    );

    await expect(subject.ping()).rejects.toMatchObject({ code: 'E_AGENT_EXCEPTION', agentMessage: 'bare' });
    await expect(subject.info()).rejects.toMatchObject({ agentMessage: 'Action Failed info: no' });
  });

  it('recognises a method that the agent does not know', async () => {
    const subject = await agent(({ method }) => ({ exception: { message: `unknown message ${method}` } }));

    await expect(subject.addPersistentDisk('disk-1', '/dev/sdc')).rejects.toBeInstanceOf(MethodUnknown);
  });

  it('refuses a value of the wrong shape', async () => {
    const subject = await agent(() => ({ value: { job_state: 7 } }));

    await expect(subject.getState()).rejects.toMatchObject({ code: 'E_AGENT_ANSWER' });
  });
});

describe('calls and tasks', () => {
  it('waits until the agent answers', async () => {
    let asked = 0;
    const subject = await agent((_request, response) => {
      asked += 1;
      if (asked < 3) response.writeHead(503).end();
      else return { value: 'pong' };
      return undefined;
    });

    await subject.waitUntilReady({ timeoutMs: 10_000, intervalMs: 10 });

    expect(asked).toBe(3);
  });

  it('follows a task to its end and passes its progress on', async () => {
    const progress: string[] = [];
    let polls = 0;
    const subject = await agent(({ method }) => {
      if (method === 'compile_package') return { value: { agent_task_id: 't1', state: 'running' } };
      polls += 1;
      if (polls < 3) return { value: { agent_task_id: 't1', state: 'running', progress: `step ${polls}` } };
      return { value: { result: { blobstore_id: 'b', sha1: 'c' } } };
    });

    const result = await subject.compilePackage(
      { blobId: 'a', digest: 'd', name: 'n', version: 'v', dependencies: {} },
      { onProgress: (text) => progress.push(text) },
    );

    expect(result).toEqual({ blobstoreId: 'b', sha1: 'c' });
    expect(progress).toEqual(['step 1', 'step 2']);
  });

  it('reports a failed task at once, by the name of its method', async () => {
    let polls = 0;
    const subject = await agent(({ method }) => {
      if (method === 'mount_disk') return { value: { agent_task_id: 't1', state: 'running' } };
      polls += 1;
      return { exception: { message: 'Action Failed get_task: Task t1 result: no disk' } };
    });

    await expect(subject.mountDisk('disk-1')).rejects.toMatchObject({ details: { method: 'mount_disk' } });
    expect(polls).toBe(1);
  });

  it('starts a harmless method again when the agent was restarted and lost its task', async () => {
    let started = 0;
    const subject = await agent(({ method }) => {
      if (method === 'apply') return { value: { agent_task_id: `t${(started += 1)}`, state: 'running' } };
      if (started === 1) {
        return { exception: { message: 'Action Failed get_task: Task with id t1 could not be found' } };
      }
      return { value: 'applied' };
    });

    await subject.apply({ deployment: 'd', networks: {} });

    expect(started).toBe(2);
  });

  it('gives up a task when its machine is silent for too long, as one without power is', async () => {
    let polls = 0;
    const subject = await agent(
      ({ method }) => {
        if (method === 'apply') return { value: { agent_task_id: 't1', state: 'running' } };
        polls += 1;
        return undefined;
      },
      { pollTimeoutMs: 100, toleratedSilenceMs: 500 },
    );

    await expect(subject.apply({ deployment: 'd', networks: {} })).rejects.toMatchObject({
      code: 'E_AGENT_TIMEOUT',
    });
    expect(polls).toBeLessThan(5);
  });

  it('does not run scripts again when the agent lost the task', async () => {
    const subject = await agent(({ method }) =>
      method === 'run_script'
        ? { value: { agent_task_id: 't1', state: 'running' } }
        : { exception: { message: 'Action Failed get_task: Task with id t1 could not be found' } },
    );

    await expect(subject.runScript('pre-start')).rejects.toMatchObject({ code: 'E_AGENT_TASK_LOST' });
  });

  it('repeats a request whose answer was lost, under the same request id', async () => {
    const ids: string[] = [];
    const subject = await agent(({ request_id: id }, _response, raw) => {
      ids.push(id);
      if (ids.length === 1) {
        raw.socket.destroy();
        return undefined;
      }
      return { value: ['disk-1'] };
    });

    expect(await subject.listDisk()).toEqual(['disk-1']);
    expect(ids).toHaveLength(2);
    expect(ids[0]).toBe(ids[1]);
  });

  it('asks again for the status of a dynamic drain, as older agents need it', async () => {
    const asked: unknown[] = [];
    const subject = await agent(({ arguments: [type] }) => {
      asked.push(type);
      return { value: asked.length < 2 ? -1 : 0 };
    });

    await subject.drain('shutdown');

    expect(asked).toEqual(['shutdown', 'status']);
  });
});

describe('blobs', () => {
  it('stores a file and fetches it back, verifying its digest', async () => {
    const stored = new Map<string, Buffer>();
    const server = await serveScripted(certificate, (request, body, response) => {
      const path = request.url ?? '';
      if (request.method === 'PUT') {
        stored.set(path, body);
        response.writeHead(201).end();
      } else response.end(stored.get(path));
    });
    cleanups.push(() => server.close());
    const dir = await mkdtemp(join(tmpdir(), 'blobs-'));
    cleanups.push(() => rm(dir, { recursive: true }));
    await writeFile(join(dir, 'in'), 'hello');
    const subject = client(server.port);

    await subject.putBlob('b-1', { path: join(dir, 'in') });
    await subject.getBlob('b-1', join(dir, 'out'), { digest: 'aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d' });

    expect([...stored.keys()]).toEqual(['/blobs/ed/b-1']);
    expect(await readFile(join(dir, 'out'), 'utf8')).toBe('hello');
    await expect(subject.getBlob('b-1', join(dir, 'bad'), { digest: 'sha256:00' })).rejects.toMatchObject({
      code: 'E_DIGEST_MISMATCH',
    });
    await expect(readFile(join(dir, 'bad'))).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
