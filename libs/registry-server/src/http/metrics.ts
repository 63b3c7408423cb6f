import { readdirSync } from 'node:fs';
import process from 'node:process';
import type { DenialReason } from '../access/gatekeeper.ts';

const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';
const DURATION_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5] as const;
/** Between the values of labels in a key: none of them has it. */
const BETWEEN = '\n';

/**
 * What Prometheus may know: numbers by route, status and reason; never an instance id, an address or a name. Counting
 * happens at each request, so it is an addition to a map; the text is made when somebody asks for it.
 */
export class Metrics {
  readonly #requests = new Counter('microbosh_registry_requests_total', 'Answered requests.', [
    'route',
    'method',
    'status',
  ]);
  readonly #durations = new Map<string, Durations>();
  readonly #denied = new Counter('microbosh_registry_denied_total', 'Refused requests by reason.', [
    'reason',
  ]);
  readonly #reads = new Counter(
    'microbosh_registry_settings_reads_total',
    'Settings handed out, by what the caller proved itself with.',
    ['identity'],
  );
  readonly #writes = new Counter('microbosh_registry_settings_writes_total', 'Settings written.', []);
  readonly #openConnections: () => number;

  constructor(openConnections: () => number) {
    this.#openConnections = openConnections;
    this.#writes.add('', 0);
  }

  countAnswer(route: string, method: string, status: number, seconds: number): void {
    this.#requests.add(`${route}${BETWEEN}${method}${BETWEEN}${status}`);
    let durations = this.#durations.get(route);
    if (!durations) this.#durations.set(route, (durations = new Durations()));
    durations.add(seconds);
  }

  countDenied(reason: DenialReason): void {
    this.#denied.add(reason);
  }

  countRead(identity: string): void {
    this.#reads.add(identity);
  }

  countWrite(): void {
    this.#writes.add('');
  }

  render(): { readonly contentType: string; readonly text: string } {
    const lines = [
      ...this.#requests.lines(),
      ...heading(
        'microbosh_registry_request_seconds',
        'Time from the last header byte to the end of the answer.',
        'histogram',
      ),
      ...[...this.#durations].flatMap(([route, durations]) => durations.lines(route)),
      ...this.#denied.lines(),
      ...this.#reads.lines(),
      ...this.#writes.lines(),
      ...gauge(
        'microbosh_registry_connections',
        'Open connections of all listeners.',
        this.#openConnections(),
      ),
      ...processLines(),
    ];
    return { contentType: CONTENT_TYPE, text: `${lines.join('\n')}\n` };
  }
}

class Counter {
  readonly #name: string;
  readonly #help: string;
  readonly #labels: readonly string[];
  readonly #values = new Map<string, number>();

  constructor(name: string, help: string, labels: readonly string[]) {
    this.#name = name;
    this.#help = help;
    this.#labels = labels;
  }

  /** `key`: the values of the labels in their order. */
  add(key: string, count = 1): void {
    this.#values.set(key, (this.#values.get(key) ?? 0) + count);
  }

  lines(): string[] {
    return [
      ...heading(this.#name, this.#help, 'counter'),
      ...[...this.#values].map(([key, value]) => {
        const values = key.split(BETWEEN);
        const labels = this.#labels.map((label, index) => `${label}="${escaped(values[index] ?? '')}"`);
        return `${this.#name}${labels.length === 0 ? '' : `{${labels.join(',')}}`} ${value}`;
      }),
    ];
  }
}

/** A histogram of one route. */
class Durations {
  /** How many fell into each bucket; the last one is for all that took longer. */
  readonly #counts = Array.from({ length: DURATION_BUCKETS.length + 1 }, () => 0);
  #sum = 0;

  add(seconds: number): void {
    let index = 0;
    while (index < DURATION_BUCKETS.length && seconds > (DURATION_BUCKETS[index] ?? 0)) index += 1;
    this.#counts[index] = (this.#counts[index] ?? 0) + 1;
    this.#sum += seconds;
  }

  lines(route: string): string[] {
    const name = 'microbosh_registry_request_seconds';
    const label = `route="${escaped(route)}"`;
    let total = 0;
    const buckets = this.#counts.map((count, index) => {
      total += count;
      return `${name}_bucket{${label},le="${DURATION_BUCKETS[index] ?? '+Inf'}"} ${total}`;
    });
    return [...buckets, `${name}_sum{${label}} ${this.#sum}`, `${name}_count{${label}} ${total}`];
  }
}

/** Of the process itself, under the names that every Prometheus client gives them. */
function processLines(): string[] {
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed } = process.memoryUsage();
  const cpuName = 'process_cpu_seconds_total';
  return [
    ...heading(cpuName, 'Processor time, user and system.', 'counter'),
    `${cpuName} ${(user + system) / 1e6}`,
    ...gauge(
      'process_start_time_seconds',
      'Start of the process, since the epoch.',
      Math.round(performance.timeOrigin / 1_000),
    ),
    ...gauge('process_resident_memory_bytes', 'Resident memory.', rss),
    ...gauge('nodejs_heap_size_used_bytes', 'Used memory of the JavaScript heap.', heapUsed),
    ...gauge(
      'nodejs_eventloop_utilization',
      'Share of its life that the event loop was busy.',
      performance.eventLoopUtilization().utilization,
    ),
    ...openFiles(),
  ];
}

function openFiles(): string[] {
  try {
    const open = readdirSync('/proc/self/fd').length;
    return gauge('process_open_fds', 'Open files of the process.', open);
  } catch {
    // Exactly when it counts: there is no file left to look at them with.
    return [];
  }
}

function gauge(name: string, help: string, value: number): string[] {
  return [...heading(name, help, 'gauge'), `${name} ${value}`];
}

function heading(name: string, help: string, type: 'counter' | 'gauge' | 'histogram'): string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`];
}

function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
