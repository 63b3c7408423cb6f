import { join } from 'node:path';
import { runOnTerminal, withSsh } from '../access/ssh-session.ts';
import { proxyRoute } from '../access/proxy-route.ts';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { textOption } from '../cli/context.ts';
import { openRecorded } from './recorded-environment.ts';

/** A shell on the VM, or one command; exit code is that of ssh. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const { client, paths } = await openRecorded(context, args, options);
  const port = textOption(options, 'port');
  const request = {
    knownHosts: join(paths.folder, 'known_hosts'),
    route: proxyRoute(context.env),
    signal: context.signal,
    ...(port === undefined ? {} : { port }),
  };
  try {
    return await withSsh(client, request, ({ user, host, options: ssh }) =>
      runOnTerminal(['ssh', ...ssh, '--', `${user}@${host}`, ...args.slice(1)]),
    );
  } finally {
    await client.close();
  }
}
