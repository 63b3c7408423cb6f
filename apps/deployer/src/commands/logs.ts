import { resolve } from 'node:path';
import { followLogs } from '../access/follow-logs.ts';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { flagOption, listOption, textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { openRecorded } from './recorded-environment.ts';

/** Fetches the logs of the jobs (or of the agent) as a tarball, or prints what is added to them. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const { client, instance } = await openRecorded(context, args, options);
  const types = flagOption(options, 'agent') ? 'agent' : 'job';
  const filters = listOption(options, 'only');
  const { signal } = context;
  try {
    if (flagOption(options, 'follow')) {
      let shown = '';
      const print = (file: string, text: string) => {
        if (context.global.json) return context.console.json({ type: 'log', file, text });
        if (shown !== file) context.console.block(`==> ${file} <==\n`);
        shown = file;
        context.console.block(text.endsWith('\n') ? text : `${text}\n`);
      };
      await followLogs(client, { types, filters, intervalMs: 1_000, signal, print });
      return exitCodes.cancelled;
    }
    const stamp = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '');
    const target = resolve(
      context.cwd,
      textOption(options, 'out') ?? `${instance.replace('/', '-')}-${types}-${stamp}.tgz`,
    );
    await context.events.step(`Fetching logs of '${instance}'`, async () => {
      const { blobstoreId, sha1 } = await client.fetchLogs(types, filters, { signal });
      await client.getBlob(blobstoreId, target, {
        signal,
        ...(sha1 === undefined ? {} : { digest: sha1 }),
      });
    });
    context.console.block(`${target}\n`);
  } finally {
    await client.close();
  }
  return exitCodes.done;
}
