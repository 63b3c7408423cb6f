import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Change } from '../../bootstrap/step.ts';
import { readTextIfPresent, statIfPresent } from '../../platform/files.ts';
import { wantDirectory, wantFile, wantOwnership } from '../../platform/wanted-files.ts';

export interface MonitPorts {
  /** Of monit's HTTP interface. */
  readonly http: number;
  /** Where the agent takes monit's mails. */
  readonly smtp: number;
}

export const monitPorts: MonitPorts = { http: 2822, smtp: 2825 };

/** What differs where several machines share one network and one /run. */
export interface MonitPlace {
  readonly httpPort?: number;
  readonly smtpPort?: number;
  /** Where rsyslog forwards lines of sshd to. */
  readonly sshAlertPort?: number;
  readonly pidFile?: string;
  /** Length of monit's cycle in a control file that is written here. Default 10. */
  readonly cycleSecs?: number;
}

export interface MonitPaths {
  readonly dir: string;
  readonly jobs: string;
  readonly events: string;
  /** `user:password` of monit's interface. */
  readonly user: string;
  /** `user:password` with which monit sends mail to the agent. */
  readonly mailUser: string;
  readonly alerts: string;
  readonly controlFile: string;
}

export function monitPaths(base: string): MonitPaths {
  const dir = join(base, 'monit');
  return {
    dir,
    jobs: join(dir, 'job'),
    events: join(dir, 'events'),
    user: join(dir, 'monit.user'),
    mailUser: join(dir, 'mail.user'),
    alerts: join(dir, 'alerts.monitrc'),
    controlFile: join(base, 'bosh', 'etc', 'monitrc'),
  };
}

const secret = { mode: 0o600 };
/** What the Go agent writes on every machine. */
const wellKnownPassword = ':random-password';
const credentials = /^([^:\n"]+):([^:\n"]{8,})\n?$/;

/** Credentials of both interfaces: made once per machine. */
export async function wantMonitUsers(paths: MonitPaths): Promise<readonly Change[]> {
  const changes: Change[] = [...(await wantDirectory(paths.dir, { mode: 0o700 }))];
  for (const file of [paths.user, paths.mailUser]) {
    const held = await readTextIfPresent(file);
    changes.push(
      ...(held !== undefined && credentials.test(held) && !held.includes(wellKnownPassword)
        ? await wantOwnership(file, secret)
        : await wantFile(file, `vcap:${randomBytes(16).toString('hex')}`, secret)),
    );
  }
  return changes;
}

/** Makes monit mail its alerts to the agent, with credentials that only root can read. */
export async function wantAlerts(paths: MonitPaths, port = monitPorts.smtp): Promise<readonly Change[]> {
  const held = (await readTextIfPresent(paths.mailUser)) ?? '';
  const [, user = '', password = ''] = credentials.exec(held) ?? [];
  return [
    ...(await wantDirectory(paths.events, { mode: 0o700 })),
    ...(await wantFile(paths.alerts, renderAlerts(paths.events, port, user, password), secret)),
  ];
}

/** monit's own configuration, where the stemcell brings none. */
export async function wantControlFile(
  paths: MonitPaths,
  options: { readonly port?: number; readonly cycleSecs?: number; readonly pidFile?: string } = {},
): Promise<readonly Change[]> {
  const changes: Change[] = [...(await wantDirectory(paths.jobs, { mode: 0o700 }))];
  const empty = join(paths.dir, 'empty.monitrc');
  if ((await statIfPresent(empty)) === undefined) {
    changes.push(...(await wantFile(empty, '# monit refuses an include that matches nothing.\n', secret)));
  }
  if ((await statIfPresent(paths.controlFile)) !== undefined) return changes;
  // monit refuses a control file that others can read.
  return [
    ...changes,
    ...(await wantFile(paths.controlFile, renderControlFile(paths, options), { mode: 0o700 })),
  ];
}

export function renderControlFile(
  paths: MonitPaths,
  options: { readonly port?: number; readonly cycleSecs?: number; readonly pidFile?: string } = {},
): string {
  return `set daemon ${options.cycleSecs ?? 10}
set logfile ${join(paths.dir, 'monit.log')}
set pidfile ${options.pidFile ?? '/run/monit.pid'}
set idfile ${join(paths.dir, 'monit.id')}
set statefile ${join(paths.dir, 'monit.state')}
set httpd port ${options.port ?? monitPorts.http} and use address 127.0.0.1
  allow cleartext ${paths.user}

include ${join(paths.dir, '*.monitrc')}
include ${join(paths.jobs, '*.monitrc')}
`;
}

function renderAlerts(events: string, port: number, user: string, password: string): string {
  return `set alert agent@local
set mailserver localhost port ${port}
    username "${user}" password "${password}"
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
