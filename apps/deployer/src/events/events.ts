import type { Json } from '@microbosh/errors';

interface Common {
  /** Of the stage or step that the event is about. */
  readonly id: string;
  /** RFC 3339, UTC. */
  readonly time: string;
}

/** A stage holds other stages and steps; a step is one line of output. */
export interface Started extends Common {
  readonly type: 'started';
  readonly kind: 'stage' | 'step';
  readonly name: string;
  /** Absent at the top level. */
  readonly parent?: string;
}

export interface Progress extends Common {
  readonly type: 'progress';
  readonly message?: string;
  readonly done?: number;
  readonly total?: number;
  readonly unit?: 'bytes' | 'items';
}

export interface Finished extends Common {
  readonly type: 'finished';
  readonly durationMs: number;
}

export interface Skipped extends Common {
  readonly type: 'skipped';
  readonly reason: string;
  readonly durationMs: number;
}

export interface Failed extends Common {
  readonly type: 'failed';
  readonly durationMs: number;
  readonly error: { readonly code?: string; readonly message: string };
}

/** A line for the operator outside of any step. */
export interface Message {
  readonly type: 'message';
  readonly time: string;
  readonly level: 'info' | 'warning';
  readonly text: string;
  /** For programs that read the events. */
  readonly details?: Readonly<Record<string, Json>>;
}

/** One request to the world outside, when it is over: for the log, for `timeline`, and to measure the deployer itself. */
export interface ExternalCall {
  readonly type: 'call';
  /** Of its end. */
  readonly time: string;
  readonly to: 'cpi' | 'agent' | 'service';
  readonly method: string;
  readonly durationMs: number;
  /** No answer, an error, or the answer that it is not there yet. */
  readonly failed: boolean;
}

/** What happens during a command. Every output (terminal, plain text, JSON lines, timeline) is a view of these. */
export type DeployEvent = Started | Progress | Finished | Skipped | Failed | Message;
