import type { MemoryImage } from './interpreter.ts';

/** One template as the worker gets it. */
export interface WorkItem {
  readonly id: number;
  readonly context: string;
  readonly template: string;
  /** Shown as the file's name in Ruby's own messages. */
  readonly file: string;
}

/** What Ruby says about a template that raised. */
export interface RubyFailure {
  readonly class: string;
  readonly message: string;
  readonly inspect: string;
  readonly line: string | null;
  readonly syntaxLine: string | null;
  readonly subject: string | null;
  /** Names of the last property lookup before the failure. */
  readonly properties: readonly string[];
}

export type WorkResult =
  | { readonly kind: 'rendered'; readonly content: Uint8Array }
  | { readonly kind: 'raised'; readonly failure: RubyFailure }
  | { readonly kind: 'crashed'; readonly reason: string };

export interface Warm {
  readonly module: WebAssembly.Module;
  readonly image: MemoryImage;
}

export type ToWorker =
  { readonly kind: 'restore'; readonly warm: Warm } | { readonly kind: 'render'; readonly item: WorkItem };

export type FromWorker =
  | { readonly kind: 'ready'; readonly warm?: Warm }
  | { readonly kind: 'done'; readonly id: number; readonly result: WorkResult };

/** `workerData`: a worker that boots answers with its warm image, the others wait for it. */
export interface WorkerSetUp {
  readonly boots: boolean;
  readonly binary: string;
  readonly prelude: string;
  readonly maxMemoryPages: number;
}
