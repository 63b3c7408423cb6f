import type { Json } from '@microbosh/errors';
import { errorCode, messageChain } from '@microbosh/errors';
import type { DeployEvent, ExternalCall, Progress } from './events.ts';

export type EventListener = (event: DeployEvent) => void;
export type CallListener = (call: ExternalCall) => void;

type ProgressReport = Omit<Progress, 'type' | 'id' | 'time'>;

/** Handed to the body of a step. */
export interface StepScope {
  progress(report: ProgressReport): void;
  /** The step turned out to be needless: it ends as skipped, which counts as success. */
  skip(reason: string): void;
}

/** Handed to the body of a stage: opens what is inside of it. */
export interface StageScope {
  /** How far the stage is. */
  progress(report: ProgressReport): void;
  stage<T>(name: string, body: (stage: StageScope) => Promise<T>): Promise<T>;
  step<T>(name: string, body: (step: StepScope) => Promise<T>): Promise<T>;
}

export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
}

const minimumBytesIntervalMs = 200;

/** Source of all events of one command. A listener that throws is a defect, not a failure of the deploy. */
export class EventBus implements Omit<StageScope, 'progress'> {
  readonly #listeners = new Set<EventListener>();
  readonly #callListeners = new Set<CallListener>();
  readonly #clock: Clock;
  #lastId = 0;

  constructor(clock: Clock = { now: () => Date.now() }) {
    this.#clock = clock;
  }

  /** Returns the function that ends the subscription. */
  subscribe(listener: EventListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Returns the function that ends the subscription. */
  subscribeCalls(listener: CallListener): () => void {
    this.#callListeners.add(listener);
    return () => this.#callListeners.delete(listener);
  }

  /** Makes a call, and tells when it is over. */
  async call<T>(to: ExternalCall['to'], method: string, make: () => Promise<T>): Promise<T> {
    const startedAt = this.#clock.now();
    let failed = true;
    try {
      const answer = await make();
      failed = false;
      return answer;
    } finally {
      const durationMs = this.#clock.now() - startedAt;
      const call = { type: 'call', time: this.#time(), to, method, durationMs, failed } as const;
      for (const listener of this.#callListeners) listener(call);
    }
  }

  message(
    text: string,
    options: { readonly level?: 'info' | 'warning'; readonly details?: Readonly<Record<string, Json>> } = {},
  ): void {
    this.#emit({
      type: 'message',
      time: this.#time(),
      level: options.level ?? 'info',
      text,
      ...(options.details === undefined ? {} : { details: options.details }),
    });
  }

  stage<T>(name: string, body: (stage: StageScope) => Promise<T>): Promise<T> {
    return this.#runStage(undefined, name, body);
  }

  step<T>(name: string, body: (step: StepScope) => Promise<T>): Promise<T> {
    return this.#runStep(undefined, name, body);
  }

  #runStage<T>(
    parent: string | undefined,
    name: string,
    body: (stage: StageScope) => Promise<T>,
  ): Promise<T> {
    return this.#run(parent, 'stage', name, (id) =>
      body({
        progress: (report) => this.#emit({ type: 'progress', id, time: this.#time(), ...report }),
        stage: (inner, innerBody) => this.#runStage(id, inner, innerBody),
        step: (inner, innerBody) => this.#runStep(id, inner, innerBody),
      }).then((value) => ({ value })),
    );
  }

  #runStep<T>(parent: string | undefined, name: string, body: (step: StepScope) => Promise<T>): Promise<T> {
    return this.#run(parent, 'step', name, async (id) => {
      let skipped: string | undefined;
      let lastBytesAt = Number.NEGATIVE_INFINITY;
      const value = await body({
        progress: (report) => {
          const now = this.#clock.now();
          // Every block of a transfer is told; nobody reads faster than this.
          if (report.unit === 'bytes' && report.done !== report.total) {
            if (now - lastBytesAt < minimumBytesIntervalMs) return;
            lastBytesAt = now;
          }
          this.#emit({ type: 'progress', id, time: this.#time(), ...report });
        },
        skip: (reason) => {
          skipped = reason;
        },
      });
      return skipped === undefined ? { value } : { value, skipped };
    });
  }

  async #run<T>(
    parent: string | undefined,
    kind: 'stage' | 'step',
    name: string,
    body: (id: string) => Promise<{ readonly value: T; readonly skipped?: string }>,
  ): Promise<T> {
    this.#lastId += 1;
    const id = String(this.#lastId);
    const startedAt = this.#clock.now();
    this.#emit({
      type: 'started',
      id,
      time: this.#time(),
      kind,
      name,
      ...(parent === undefined ? {} : { parent }),
    });
    try {
      const { value, skipped } = await body(id);
      const ended = { id, time: this.#time(), durationMs: this.#clock.now() - startedAt };
      this.#emit(
        skipped === undefined
          ? { type: 'finished', ...ended }
          : { type: 'skipped', ...ended, reason: skipped },
      );
      return value;
    } catch (error) {
      const code = errorCode(error);
      this.#emit({
        type: 'failed',
        id,
        time: this.#time(),
        durationMs: this.#clock.now() - startedAt,
        error: { ...(code === undefined ? {} : { code }), message: messageChain(error).join(': ') },
      });
      throw error;
    }
  }

  #time(): string {
    return new Date(this.#clock.now()).toISOString();
  }

  #emit(event: DeployEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}
