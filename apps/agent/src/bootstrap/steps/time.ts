import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '@microbosh/errors';
import { wantFile } from '../../platform/wanted-files.ts';
import { which } from '../../platform/which.ts';
import { converge, skipped, type BootstrapStep } from '../step.ts';

const timesyncd = '/lib/systemd/systemd-timesyncd';
const timesyncdDropIn = '/etc/systemd/timesyncd.conf.d/10-bosh.conf';

/** Time servers for the stemcell's time service: `sync-time` where it has that, else chrony or systemd-timesyncd. */
export const time: BootstrapStep = {
  name: 'time',
  timeoutMs: 60_000,
  async run(context) {
    const servers = context.settings.current().ntp ?? [];
    if (context.linux.Container) return skipped('the clock belongs to the host');
    if (servers.length === 0) return skipped('the settings name no time server');
    const result = await converge(context, async () => [
      ...(await wantFile(join(context.paths.etc, 'ntpserver'), servers.join(' '), { mode: 0o644 })),
      ...((await isFile(timesyncd))
        ? await wantFile(timesyncdDropIn, `[Time]\nNTP=${servers.join(' ')}\n`, { mode: 0o644 })
        : []),
    ]);
    // At each start: a stemcell leaves it to its hook to start the time service.
    const hook = await which('sync-time');
    if (hook === undefined && result.outcome === 'unchanged') return result;
    const command: readonly [string, ...string[]] =
      hook === undefined ? ['systemctl', 'try-restart', 'systemd-timesyncd.service'] : [hook];
    // A time server that is away must not keep the machine from its work.
    await context.runner.run(command, { signal: context.signal }).catch((error: unknown) => {
      context.log.warn({ reason: messageOf(error) }, 'The time service did not take the servers.');
    });
    return result;
  },
};

function isFile(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
