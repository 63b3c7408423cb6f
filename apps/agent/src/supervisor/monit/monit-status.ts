import { XMLParser } from 'fast-xml-parser';
import { ActionError } from '../../errors.ts';
import type { ProcessStatus } from '../port.ts';

export interface MonitService {
  readonly name: string;
  /** 3 process, 5 system, … */
  readonly type: number;
  /** 0 fine, else a mask of what is wrong. */
  readonly status: number;
  /** Only monit before 5.3 says it. */
  readonly message: string;
  /** 0 not monitored, 1 monitored, 2 about to be looked at for the first time. */
  readonly monitor: number;
  /** An action that was accepted and is not done yet. */
  readonly pending: boolean;
  readonly pid?: number;
  readonly uptimeSecs?: number;
  readonly memKb?: number;
  readonly memPercent?: number;
  readonly cpuTotal?: number;
}

export interface MonitStatus {
  /** Start time in seconds; differs after a reload. */
  readonly incarnation: string;
  readonly version: string;
  readonly services: readonly MonitService[];
  readonly groups: ReadonlyMap<string, readonly string[]>;
}

const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: '@',
  parseTagValue: false,
  isArray: (name) => name === 'service' || name === 'servicegroup',
});

type Node = Readonly<Record<string, unknown>>;

/** Reads `/_status2?format=xml` of monit 5.2 to 5.3x, and the older form of `/_status`. */
export function parseMonitStatus(xml: string): MonitStatus {
  let document: unknown;
  try {
    document = parser.parse(xml);
  } catch (error) {
    throw notUnderstood('it is not XML', error);
  }
  const monit = node(node(document)['monit']);
  // `_status` has the facts about monit as elements of `server`, and services beside it.
  const server = node(monit['server']);
  const incarnation = text(monit['@incarnation']) || text(server['incarnation']);
  if (incarnation === '') throw notUnderstood('it names no incarnation');
  const services = list(node(monit['services'])['service'] ?? monit['service']).map(service);
  const groups = new Map<string, readonly string[]>();
  for (const group of list(node(monit['servicegroups'])['servicegroup'])) {
    groups.set(
      text(group['@name']),
      [group['service'] ?? []].flat().map((member) => text(member)),
    );
  }
  return { incarnation, version: text(monit['@version']) || text(server['version']), services, groups };
}

function service(entry: Node): MonitService {
  const number = (value: unknown) => {
    const content = text(value);
    return content === '' || !Number.isFinite(Number(content)) ? undefined : Number(content);
  };
  const optional = <K extends string>(key: K, value: number | undefined) =>
    (value === undefined ? {} : { [key]: value }) as Partial<Record<K, number>>;
  const memory = node(entry['memory']);
  return {
    name: text(entry['@name']) || text(entry['name']),
    type: number(entry['type']) ?? number(entry['@type']) ?? -1,
    status: number(entry['status']) ?? 0,
    message: text(entry['status_message']),
    monitor: number(entry['monitor']) ?? 0,
    pending: (number(entry['pendingaction']) ?? 0) !== 0,
    ...optional('pid', number(entry['pid'])),
    ...optional('uptimeSecs', number(entry['uptime'])),
    ...optional('memKb', number(memory['kilobytetotal'])),
    ...optional('memPercent', number(memory['percenttotal'])),
    ...optional('cpuTotal', number(node(entry['cpu'])['percenttotal'])),
  };
}

/** The services that are the agent's. */
export function servicesOfGroup(status: MonitStatus, group = 'vcap'): readonly MonitService[] {
  const members = new Set(status.groups.get(group) ?? []);
  return status.services.filter(({ name }) => members.has(name));
}

/**
 * As the Go agent maps it: not monitored is unknown, initialising is starting, no failure is running, else failing. A
 * service whose start is accepted and not done yet is starting, not failing.
 */
export function processStatus(found: MonitService): ProcessStatus {
  const { name, monitor, status, pending, uptimeSecs, memKb, memPercent, cpuTotal } = found;
  const state =
    monitor === 0
      ? pending
        ? 'starting'
        : 'unknown'
      : monitor === 2
        ? 'starting'
        : status === 0
          ? 'running'
          : pending
            ? 'starting'
            : 'failing';
  return {
    name,
    state,
    ...(uptimeSecs === undefined ? {} : { uptimeSecs }),
    ...(memKb === undefined ? {} : { memKb }),
    ...(memPercent === undefined ? {} : { memPercent }),
    // monit says -1 before it has measured.
    ...(cpuTotal === undefined || cpuTotal < 0 ? {} : { cpuTotal }),
  };
}

function notUnderstood(reason: string, cause?: unknown): ActionError {
  return new ActionError(`The status of monit is not understood: ${reason}`, {
    code: 'E_SUPERVISOR',
    advice: 'Look whether another program listens on the port of monit.',
    cause,
  });
}

function node(value: unknown): Node {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Node) : {};
}

function list(value: unknown): readonly Node[] {
  return Array.isArray(value) ? value.map(node) : [];
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
