import { join } from 'node:path';
import { runOnTerminal, withSsh } from '../access/ssh-session.ts';
import { proxyRoute } from '../access/proxy-route.ts';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { flagOption, textOption } from '../cli/context.ts';
import { SshUnavailable } from '../errors.ts';
import { openRecorded } from './recorded-environment.ts';

const remote = /^vm:/;

/** Copies files from or to the VM; a path on the VM begins with `vm:`. Exit code is that of scp. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const paths = args.slice(1);
  if (!paths.some((path) => remote.test(path))) {
    throw new SshUnavailable('No path is on the VM', {
      advice: "Write it with 'vm:' in front: microbosh scp MANIFEST vm:/var/vcap/sys/log/x.log .",
    });
  }
  const recorded = await openRecorded(context, args, options);
  const port = textOption(options, 'port');
  const request = {
    knownHosts: join(recorded.paths.folder, 'known_hosts'),
    route: proxyRoute(context.env),
    signal: context.signal,
    ...(port === undefined ? {} : { port }),
  };
  try {
    return await withSsh(recorded.client, request, ({ user, host, options: ssh }) => {
      const address = host.includes(':') ? `[${host}]` : host;
      const given = paths.map((path) => path.replace(remote, `${user}@${address}:`));
      return runOnTerminal([
        'scp',
        ...ssh,
        ...(flagOption(options, 'recursive') ? ['-r'] : []),
        '--',
        ...given,
      ]);
    });
  } finally {
    await recorded.client.close();
  }
}
