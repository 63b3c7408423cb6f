import { Counter, Gauge, Histogram, Registry as Prometheus, collectDefaultMetrics } from 'prom-client';
import type { DenialReason } from '../access/gatekeeper.ts';

/** What Prometheus may know: numbers by route, status and reason; never an instance id, an address or a name. */
export class Metrics {
  readonly #prometheus = new Prometheus();
  readonly #requests: Counter<'route' | 'method' | 'status'>;
  readonly #duration: Histogram<'route'>;
  readonly #denied: Counter<'reason'>;
  readonly #reads: Counter<'identity'>;
  readonly #writes: Counter;

  constructor(openConnections: () => number) {
    const registers = [this.#prometheus];
    this.#requests = new Counter({
      name: 'microbosh_registry_requests_total',
      help: 'Answered requests.',
      labelNames: ['route', 'method', 'status'],
      registers,
    });
    this.#duration = new Histogram({
      name: 'microbosh_registry_request_seconds',
      help: 'Time from the last header byte to the end of the answer.',
      labelNames: ['route'],
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5],
      registers,
    });
    this.#denied = new Counter({
      name: 'microbosh_registry_denied_total',
      help: 'Refused requests by reason.',
      labelNames: ['reason'],
      registers,
    });
    this.#reads = new Counter({
      name: 'microbosh_registry_settings_reads_total',
      help: 'Settings handed out, by what the caller proved itself with.',
      labelNames: ['identity'],
      registers,
    });
    this.#writes = new Counter({
      name: 'microbosh_registry_settings_writes_total',
      help: 'Settings written.',
      registers,
    });
    new Gauge({
      name: 'microbosh_registry_connections',
      help: 'Open connections of all listeners.',
      registers,
      collect() {
        this.set(openConnections());
      },
    });
  }

  /** Of the process itself. Their first reading is slow, so it waits until the service answers. */
  watchProcess(): void {
    collectDefaultMetrics({ register: this.#prometheus });
  }

  countAnswer(route: string, method: string, status: number, seconds: number): void {
    this.#requests.inc({ route, method, status });
    this.#duration.observe({ route }, seconds);
  }

  countRead(identity: string): void {
    this.#reads.inc({ identity });
  }

  countWrite(): void {
    this.#writes.inc();
  }

  countDenied(reason: DenialReason): void {
    this.#denied.inc({ reason });
  }

  async render(): Promise<{ readonly contentType: string; readonly text: string }> {
    return { contentType: this.#prometheus.contentType, text: await this.#prometheus.metrics() };
  }
}
