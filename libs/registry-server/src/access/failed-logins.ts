export interface FailedLoginLimit {
  /** Failures of one address within the window before it has to wait. */
  readonly attempts: number;
  readonly windowMs: number;
}

const MAX_ADDRESSES = 10_000;

/** Counts failed logins by address. Bounded: the oldest entries go when there are too many addresses. */
export class FailedLogins {
  readonly #limit: FailedLoginLimit;
  readonly #clock: () => number;
  readonly #entries = new Map<string, { count: number; readonly sinceMs: number }>();

  constructor(limit: FailedLoginLimit, clock: () => number) {
    this.#limit = limit;
    this.#clock = clock;
  }

  /** Milliseconds that the address has to wait; 0 when it may try. */
  waitMs(address: string): number {
    const entry = this.#current(address);
    if (!entry || entry.count < this.#limit.attempts) return 0;
    return Math.max(1, entry.sinceMs + this.#limit.windowMs - this.#clock());
  }

  add(address: string): void {
    const entry = this.#current(address);
    if (entry) {
      entry.count += 1;
      return;
    }
    if (this.#entries.size >= MAX_ADDRESSES) {
      const oldest = this.#entries.keys().next();
      if (!oldest.done) this.#entries.delete(oldest.value);
    }
    this.#entries.set(address, { count: 1, sinceMs: this.#clock() });
  }

  #current(address: string): { count: number; readonly sinceMs: number } | undefined {
    const entry = this.#entries.get(address);
    if (entry && this.#clock() - entry.sinceMs >= this.#limit.windowMs) {
      this.#entries.delete(address);
      return undefined;
    }
    return entry;
  }
}
