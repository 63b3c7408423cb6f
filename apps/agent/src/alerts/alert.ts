import type { JsonObject } from '@microbosh/errors';
import type { NetworksSpec } from '@microbosh/spec';
import type { SupervisorEvent } from '../supervisor/port.ts';

const severities: Readonly<Record<number, readonly string[]>> = {
  1: ['connection failed', 'execution failed', 'monit instance failed', 'does not exist'],
  2: ['checksum failed', 'icmp failed', 'pid failed', 'ppid failed', 'timeout', 'uid failed'],
  3: [
    ...['connection changed', 'content failed', "content doesn't match", 'data access error'],
    ...['filesystem flags failed', 'gid failed', 'heartbeat failed', 'invalid type', 'permission failed'],
    ...['resource limit matched', 'size failed', 'size changed', 'timestamp failed'],
  ],
  4: [
    ...[
      'checksum changed',
      'data access changed',
      'execution changed',
      'filesystem flags changed',
      'gid changed',
    ],
    ...['heartbeat changed', 'icmp changed', 'type changed', 'existence changed', 'permission changed'],
    ...[
      'pid changed',
      'ppid changed',
      'resource limit changed',
      'timeout changed',
      'timestamp changed',
      'uid changed',
    ],
  ],
  [-1]: ['action done', 'content match', 'exists', 'timeout recovery', 'monit instance changed'],
};

/** 1 alert … 4 warning, -1 not sent; unknown events are critical. */
export function alertSeverity(event: string): number {
  const name = event.trim().toLowerCase();
  if (name.endsWith(' succeeded') || name.endsWith(' not changed')) return -1;
  const found = Object.entries(severities).find(([, events]) => events.includes(name));
  return found ? Number(found[0]) : 2;
}

/** The message of `hm.agent.alert`; undefined for what nobody needs to know. */
export function alertOf(event: SupervisorEvent, networks: NetworksSpec): JsonObject | undefined {
  const severity = alertSeverity(event.event);
  if (severity < 0) return undefined;
  const ips = Object.values(networks).flatMap(({ ip }) => (ip === undefined ? [] : [ip]));
  const service = ips.length === 0 ? event.service : `${event.service} (${ips.sort().join(', ')})`;
  return {
    id: event.id,
    severity,
    title: `${service} - ${event.event} - ${event.action}`,
    summary: event.description,
    created_at: Math.floor(event.at.getTime() / 1_000),
  };
}
