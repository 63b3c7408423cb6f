export type JobState = 'running' | 'starting' | 'failing' | 'stopped' | 'unknown';

export interface ProcessStatus {
  readonly name: string;
  readonly state: 'running' | 'starting' | 'failing' | 'unknown';
  readonly uptimeSecs?: number;
  readonly memKb?: number;
  readonly memPercent?: number;
  readonly cpuTotal?: number;
}

/** What a supervisor noticed; becomes an alert on the message bus. */
export interface SupervisorEvent {
  readonly id: string;
  readonly service: string;
  /** monit's words: `does not exist`, `execution failed`, … */
  readonly event: string;
  /** `restart`, `alert`, … */
  readonly action: string;
  readonly description: string;
  readonly at: Date;
}

/**
 * Keeps the services of group `vcap` running that the control files in `monit/job` describe. Contract:
 * `supervisor.contract.ts`, for every implementation.
 */
export interface JobSupervisor {
  /** Reads the control files anew; what they no longer name is no longer watched, but not stopped. */
  reload(signal?: AbortSignal): Promise<void>;
  /** Asks every service to start; returns when the requests are accepted. */
  start(signal?: AbortSignal): Promise<void>;
  /** Stops every service; with `wait` until they have ended. */
  stop(options: { readonly wait: boolean; readonly signal?: AbortSignal }): Promise<void>;
  /** Stops watching; processes go on. */
  unmonitor(signal?: AbortSignal): Promise<void>;
  /** Throws when the supervisor cannot be asked. */
  processes(signal?: AbortSignal): Promise<readonly ProcessStatus[]>;
  close(): Promise<void>;
}
