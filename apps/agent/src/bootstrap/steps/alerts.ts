import { join } from 'node:path';
import { wantDirectory, wantFile } from '../../platform/wanted-files.ts';
import { converge, type BootstrapStep } from '../step.ts';

/** Makes monit mail its alerts to the agent. */
export const alerts: BootstrapStep = {
  name: 'alerts',
  timeoutMs: 10_000,
  async run(context) {
    const { paths } = context;
    const events = join(paths.monit, 'events');
    return converge(context, async () => [
      ...(await wantDirectory(events, { mode: 0o700 })),
      ...(await wantFile(join(paths.monit, 'alerts.monitrc'), renderAlerts(events), { mode: 0o600 })),
    ]);
  },
};

function renderAlerts(events: string): string {
  return `set alert agent@local
set mailserver localhost port 2825
    with timeout 15 seconds

set eventqueue
    basedir ${events}
    slots 5000

set mail-format {
  from: monit@localhost
  subject: Monit Alert
  message: Service: $SERVICE
  Event: $EVENT
  Action: $ACTION
  Date: $DATE
  Description: $DESCRIPTION
}
`;
}
