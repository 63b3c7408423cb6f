import { appendFileSync } from 'node:fs';
import { OperationalError } from '@microbosh/errors';
import type { DeployEvent, ExternalCall } from '../events/events.ts';

/** BOSH_LOG_LEVEL is not a level. */
export class LogLevelInvalid extends OperationalError {
  readonly code = 'E_LOG_LEVEL';
}

const levels = ['debug', 'info', 'warn', 'error', 'none'] as const;
type Level = (typeof levels)[number];

export interface EventLog {
  readonly handle: (event: DeployEvent | ExternalCall) => void;
  /** Everything is logged whatever the level, or no longer. */
  readonly toggleDebug: () => void;
}

/**
 * `BOSH_LOG_LEVEL` and `BOSH_LOG_PATH` as the original has them: off unless asked for, to standard error or at the end
 * of a file.
 */
export function eventLog(
  env: Readonly<Record<string, string | undefined>>,
  stderr: (text: string) => void,
  redact: (text: string) => string,
): EventLog {
  const wanted = (env['BOSH_LOG_LEVEL'] || 'none').toLowerCase();
  const from = levels.findIndex((level) => level === wanted);
  if (from === -1) {
    throw new LogLevelInvalid('Invalid BOSH_LOG_LEVEL value', {
      details: { value: wanted },
      advice: `Set it to one of: ${levels.join(', ')}.`,
    });
  }
  const path = env['BOSH_LOG_PATH'] || undefined;
  const write = path === undefined ? stderr : (text: string) => appendFileSync(path, text, { mode: 0o600 });
  const names = new Map<string, string>();
  let isForced = false;
  const handle = (event: DeployEvent | ExternalCall) => {
    const [level, text] = describe(event, names);
    if (!isForced && levels.indexOf(level) < from) return;
    const time = event.time.slice(0, 19).replaceAll('-', '/').replace('T', ' ');
    write(redact(`[microbosh] ${time} ${level.toUpperCase()} - ${text.replaceAll('\n', '\\n')}\n`));
  };
  const toggleDebug = () => {
    isForced = !isForced;
  };
  return { handle, toggleDebug };
}

function describe(event: DeployEvent | ExternalCall, names: Map<string, string>): readonly [Level, string] {
  if (event.type === 'message') return [event.level === 'warning' ? 'warn' : 'info', event.text];
  if (event.type === 'call') {
    const { to, method, durationMs, failed } = event;
    return ['debug', `Call ${to} ${method}: ${failed ? 'failed' : 'done'} (${durationMs} ms)`];
  }
  if (event.type === 'started') names.set(event.id, event.name);
  const name = names.get(event.id) ?? '';
  switch (event.type) {
    case 'started':
      return ['info', `Started ${name}`];
    case 'progress':
      return [
        'debug',
        `${name}: ${event.message ?? `${event.done ?? 0} of ${event.total ?? '?'} ${event.unit ?? ''}`}`,
      ];
    case 'finished':
      return ['info', `Finished ${name} (${event.durationMs} ms)`];
    case 'skipped':
      return ['info', `Skipped ${name}: ${event.reason}`];
    case 'failed':
      return ['error', `Failed ${name} (${event.durationMs} ms): ${event.error.message}`];
    default:
      return event satisfies never;
  }
}
