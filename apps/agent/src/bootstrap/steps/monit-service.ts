import { messageOf } from '@microbosh/errors';
import { isSystemdRunning, serviceRuns } from '../../platform/service-manager.ts';
import { monitPaths, wantControlFile } from '../../supervisor/monit/monit-files.ts';
import { converge, skipped, type BootstrapStep } from '../step.ts';

/** Monit is installed but not enabled on a stemcell: it runs from here on. */
export const monitService: BootstrapStep = {
  name: 'monit service',
  timeoutMs: 60_000,
  async run(context) {
    if (context.supervisor !== 'monit') return skipped(`jobs are supervised by '${context.supervisor}'`);
    const { runner, signal } = context;
    const isSystemd = await isSystemdRunning();
    const isActive = async () => {
      const { exitCode } = await runner.run(['systemctl', 'is-active', '--quiet', 'monit.service'], {
        signal,
        okExitCodes: [0, 1, 2, 3, 4],
      });
      return exitCode === 0;
    };
    let started = false;
    return converge(context, async () => {
      const files = await wantControlFile(monitPaths(context.paths.base));
      // Without systemd it is runit that starts it, or the agent itself when it takes up the jobs.
      if (files.length > 0 || !isSystemd) return files;
      if (await serviceRuns('monit.service', 'monit')) return [];
      // Its unit may be another than the stemcell's.
      if (started && (await isActive())) return [];
      return [
        {
          what: 'start monit',
          apply: async () => {
            started = true;
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
