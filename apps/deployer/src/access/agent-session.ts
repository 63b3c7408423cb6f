import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { isOperationalError, messageChain } from '@microbosh/errors';
import { AgentClient, AgentUnreachable, MethodUnknown } from '@microbosh/agent-client';
import { plainJson } from '../state/state-document.ts';
import type { CommandContext } from '../cli/context.ts';
import { ProxyInvalid } from '../errors.ts';
import type { AgentConnector, AgentSession } from '../ports/agent.ts';
import { proxyRoute } from './proxy-route.ts';
import { connectorOver } from './routed-connector.ts';
import type { MakeConnector } from './routed-connector.ts';

/** Connects to real agents, over HTTPS. */
export function agentConnector(env: CommandContext['env']): AgentConnector {
  return async (options) => sessionWith(options, connectorOver(proxyRoute(env)));
}

function sessionWith(
  { mbus, ca, serverName, directorUuid }: Parameters<AgentConnector>[0],
  connector: MakeConnector | undefined,
): AgentSession {
  const client = new AgentClient({
    mbus,
    replyTo: directorUuid,
    ...(ca === undefined ? {} : { ca }),
    ...(connector === undefined ? {} : { connector }),
    ...(serverName === undefined ? {} : { serverName }),
  });
  return {
    ping: (signal) => client.ping({ signal }),
    explain: (error) => {
      if (error instanceof AgentUnreachable) {
        return { kind: error.kind, text: error.message, hopeless: !error.retryable };
      }
      if (isOperationalError(error))
        return { kind: error.code, text: error.message, hopeless: error instanceof ProxyInvalid };
      return { kind: 'timeout', text: `no answer (${messageChain(error).join(': ')})`, hopeless: false };
    },
    getState: async (signal, filter) => {
      const raw = plainJson(await client.getState(filter, { signal }));
      return { jobState: typeof raw['job_state'] === 'string' ? raw['job_state'] : 'unknown', raw };
    },
    apply: (spec, signal) => client.apply(spec, { signal }),
    releaseApplySpec: async (signal) => plainJson(await client.releaseApplySpec({ signal })),
    runScript: (name, signal) => tolerateUnknown(client.runScript(name, {}, { signal })),
    drain: (signal) => client.drain('shutdown', {}, { signal }),
    start: (signal) => client.start({ signal }),
    stop: (signal) => client.stop({ signal }),
    listDisk: (signal) => client.listDisk({ signal }),
    addPersistentDisk: (cid, hint, signal) =>
      tolerateUnknown(client.addPersistentDisk(cid, hint, { signal })),
    removePersistentDisk: (cid, signal) => tolerateUnknown(client.removePersistentDisk(cid, { signal })),
    mountDisk: (cid, signal) => client.mountDisk(cid, { signal }),
    unmountDisk: (cid, signal) => client.unmountDisk(cid, { signal }),
    migrateDisk: (from, to, signal) => client.migrateDisk(from, to, { signal }),
    compilePackage: async ({ name, version, blob }, dependencies, signal) => {
      const source = { blobId: blob.blobstore_id, digest: blob.sha1, name, version, dependencies };
      const { blobstoreId, sha1 } = await client.compilePackage(source, { signal });
      return { blobstore_id: blobstoreId, sha1 };
    },
    uploadBlob: async (path, signal, onProgress) => {
      const id = randomUUID();
      const sha1 = `sha256:${await sha256OfFile(path)}`;
      await client.putBlob(
        id,
        { path },
        { signal, ...(onProgress === undefined ? {} : { onBytes: onProgress }) },
      );
      return { blobstore_id: id, sha1 };
    },
    downloadBlob: (blob, path, signal, onProgress) =>
      client.getBlob(blob.blobstore_id, path, {
        signal,
        digest: blob.sha1,
        ...(onProgress === undefined ? {} : { onBytes: onProgress }),
      }),
    close: () => client.close(),
  };
}

async function tolerateUnknown(call: Promise<void>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof MethodUnknown)) throw error;
  }
}

async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
