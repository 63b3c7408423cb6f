import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentClient } from '@microbosh/agent-client';
import { archiveFile, readArchive } from '@microbosh/artifacts';
import { processFolder } from '@microbosh/host';

export interface FollowRequest {
  readonly types: string;
  readonly filters: readonly string[];
  readonly intervalMs: number;
  readonly signal: AbortSignal;
  readonly print: (file: string, text: string) => void;
}

/**
 * Prints what is added to the logs until it is cancelled. The agent packs them every time, so that it works with every
 * agent and without an SSH server on the VM. A file that became shorter was rotated: it is printed from its start.
 */
export async function followLogs(client: AgentClient, request: FollowRequest): Promise<void> {
  const seen = new Map<string, number>();
  const folder = await processFolder('logs');
  try {
    for (let first = true; !request.signal.aborted; first = false) {
      for (const [file, content] of await fetchAll(client, join(folder.path, 'logs.tgz'), request)) {
        const before = seen.get(file) ?? 0;
        const start = content.length < before ? 0 : before;
        seen.set(file, content.length);
        // What was there before is shown as far as its last lines go.
        const added = first ? lastLines(content, 10) : content.slice(start);
        if (added !== '') request.print(file, added);
      }
      await sleep(request.intervalMs, undefined, { signal: request.signal }).catch(() => undefined);
    }
  } finally {
    await folder.remove();
  }
}

async function fetchAll(
  client: AgentClient,
  path: string,
  request: FollowRequest,
): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  try {
    const { signal } = request;
    const { blobstoreId, sha1 } = await client.fetchLogs(request.types, request.filters, { signal });
    await client.getBlob(blobstoreId, path, { signal, ...(sha1 === undefined ? {} : { digest: sha1 }) });
    for await (const entry of readArchive(archiveFile(path), { signal })) {
      if (entry.kind === 'file' && !/\.(gz|xz|zst)$/.test(entry.path)) {
        found.set(entry.path, await text(entry.content));
      }
    }
  } catch (error) {
    if (!request.signal.aborted) throw error;
  } finally {
    await rm(path, { force: true });
  }
  return found;
}

function lastLines(content: string, count: number): string {
  const lines = content.split('\n');
  const complete = lines.at(-1) === '' ? lines.length - 1 : lines.length;
  return lines.slice(Math.max(0, complete - count)).join('\n');
}
