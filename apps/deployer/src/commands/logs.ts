import { resolve } from 'node:path';
import { AgentClient } from '@microbosh/agent-client';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { flagOption, textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { NoEnvironment } from '../errors.ts';
import { environmentPaths } from '../state/environment-paths.ts';
import { StateStore } from '../state/state-store.ts';

/** Fetches the logs of the jobs (or of the agent) as a tarball. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const paths = environmentPaths(args[0] ?? '', textOption(options, 'state'), context.cwd);
  const { current } = await StateStore.open(paths);
  const { endpoint, group } = current.own;
  if (endpoint === undefined) {
    throw new NoEnvironment('No current deployment found', { advice: 'Deploy it first.' });
  }
  const kind = flagOption(options, 'agent') ? 'agent' : 'job';
  const stamp = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '');
  const target = resolve(
    context.cwd,
    textOption(options, 'out') ?? `${group ?? 'instance'}-0-${kind}-${stamp}.tgz`,
  );
  const client = new AgentClient({
    mbus: endpoint.mbus,
    replyTo: current.director_id,
    ...(endpoint.ca === '' ? {} : { ca: endpoint.ca }),
  });
  try {
    await context.events.step(`Fetching logs of '${group ?? 'instance'}/0'`, async () => {
      const { blobstoreId, sha1 } = await client.fetchLogs(kind, [], { signal: context.signal });
      await client.getBlob(blobstoreId, target, {
        signal: context.signal,
        ...(sha1 === undefined ? {} : { digest: sha1 }),
      });
    });
  } finally {
    await client.close();
  }
  context.console.block(`${target}\n`);
  return exitCodes.done;
}
