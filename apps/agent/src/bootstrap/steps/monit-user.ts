import { monitPaths, wantMonitUsers } from '../../supervisor/monit/monit-files.ts';
import { converge, type BootstrapStep } from '../step.ts';

/** `user:password` for monit's own interface and for its mails: made once per machine, unlike the constant of the Go agent. */
export const monitUser: BootstrapStep = {
  name: 'monit user',
  timeoutMs: 10_000,
  async run(context) {
    return converge(context, () => wantMonitUsers(monitPaths(context.paths.base)));
  },
};
