import { messageOf } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';
import type { HostLog } from './host-log.ts';

/**
 * Tells systemd three times in its watchdog's time that this process goes on, when the unit asks for that. A process whose
 * event loop stands still does not get to it, and is started anew. The message needs a datagram socket, for which there is a
 * program of systemd.
 */
export function feedWatchdog(
  log: HostLog,
  environment: NodeJS.ProcessEnv = process.env,
): (() => void) | undefined {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: limit } = environment;
  // For this process, not for what it starts.
  for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID'])
    Reflect.deleteProperty(environment, name);
  const intervalMs = Number(limit) / 3000;
  if (socket === undefined || !(intervalMs > 0)) return undefined;
  const runner = new NodeCommandRunner();
  const timer = setInterval(() => {
    runner
      .run(['systemd-notify', 'WATCHDOG=1'], {
        env: { PATH: environment['PATH'] ?? '/usr/bin:/bin', NOTIFY_SOCKET: socket },
        timeoutMs: intervalMs,
      })
      .catch((error: unknown) =>
        log.warn({ reason: messageOf(error) }, 'The watchdog of systemd was not told.'),
      );
  }, intervalMs);
  timer.unref();
  return () => clearInterval(timer);
}
