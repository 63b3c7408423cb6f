import type { JsonObject } from '@microbosh/errors';
import type { AgentSettings, DiskHint } from '@microbosh/spec';

/** Settings as the agent sees them now: last good load, with `update_settings` merged in. */
export interface SettingsService {
  /** Loaded by the bootstrap; throws before the first load. */
  current(): AgentSettings;
  /** Asks the source again; falls back to the cached copy when the source is away. */
  refresh(signal?: AbortSignal): Promise<AgentSettings>;
  /** Merges and stores the argument of `update_settings`; tells whether the agent has to restart itself. */
  update(update: JsonObject): Promise<{ readonly restart: boolean }>;
}

/** Persistent disks, by the CID that the CPI gave them. */
export interface PersistentDisks {
  /** CIDs that settings and hints know. */
  list(): Promise<readonly string[]>;
  addHint(cid: string, hint: DiskHint): Promise<void>;
  removeHint(cid: string): Promise<void>;
  /** Partitions and formats only a disk that is proven empty; mounts it on `store`, or on `store_migration_target` when `store` holds another disk. */
  mount(cid: string, signal?: AbortSignal): Promise<void>;
  /** True when it was mounted. */
  unmount(cid: string, signal?: AbortSignal): Promise<boolean>;
  /** Copies `store` to `store_migration_target`, verifies the copy, and swaps the mounts. */
  migrate(fromCid: string, toCid: string, signal?: AbortSignal): Promise<void>;
}

export type StepOutcome = 'done' | 'unchanged' | 'skipped' | 'failed';

export interface BootstrapStepReport {
  readonly name: string;
  readonly outcome: StepOutcome;
  /** Why it was skipped, or how it failed. */
  readonly reason?: string;
  readonly durationMs: number;
}

export interface BootstrapReport {
  readonly startedAt: string;
  readonly steps: readonly BootstrapStepReport[];
}

/** Makes the machine ready, in the order of the original agents; every step may run again at any time. */
export interface Bootstrap {
  run(signal?: AbortSignal): Promise<BootstrapReport>;
}

/** Everything that touches the machine, as `createHost` of `../host.ts` builds it. */
export interface AgentHost {
  readonly settings: SettingsService;
  readonly disks: PersistentDisks;
  readonly bootstrap: Bootstrap;
}
