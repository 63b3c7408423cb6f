import { messageOf } from '@microbosh/errors';
import { isSystemdRunning } from '../../platform/service-manager.ts';
import { converge, skipped, type BootstrapStep } from '../step.ts';

/** Monit is installed but not enabled on a stemcell: it runs from here on. */
export const monitService: BootstrapStep = {
  name: 'monit service',
  timeoutMs: 60_000,
  async run(context) {
    if (context.supervisor !== 'monit') return skipped(`jobs are supervised by '${context.supervisor}'`);
    if (!(await isSystemdRunning()))
      return skipped('the service manager of this machine starts monit itself');
    const { runner, signal } = context;
    return converge(context, async () => {
      const active = await runner.run(['systemctl', 'is-active', '--quiet', 'monit.service'], {
        signal,
        okExitCodes: [0, 1, 2, 3, 4],
      });
      if (active.exitCode === 0) return [];
      return [
        {
          what: 'start monit',
          apply: async () => {
            await runner.run(['systemctl', 'start', 'monit.service'], { signal }).catch((error: unknown) => {
              context.log.error({ reason: messageOf(error) }, 'monit does not start.');
              throw error;
            });
          },
        },
      ];
    });
  },
};
