import { monitPaths, wantAlerts } from '../../supervisor/monit/monit-files.ts';
import { converge, type BootstrapStep } from '../step.ts';

/** Makes monit mail its alerts to the agent. */
export const alerts: BootstrapStep = {
  name: 'alerts',
  timeoutMs: 10_000,
  async run(context) {
    return converge(context, () => wantAlerts(monitPaths(context.paths.base)));
  },
};
