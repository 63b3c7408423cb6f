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

/** A control file that cannot be used: its services are left out, those of other files are not. */
export interface ControlProblem {
  /** Name of the control file in `monit/job`. */
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

/**
 * Keeps the services of group `vcap` running that the control files in `monit/job` describe. Contract:
 * `test/supervisor.contract.ts`, for every implementation.
 */
export interface JobSupervisor {
  /** Takes up what a previous agent looked after; once, before anything else. */
  begin(signal?: AbortSignal): Promise<void>;
  /**
   * Reads the control files anew; what they no longer name is no longer watched, but not stopped. Resolves with the files
   * that cannot be used.
   */
  reload(signal?: AbortSignal): Promise<readonly ControlProblem[]>;
  /** Asks every service to start; returns when the requests are accepted. */
  start(signal?: AbortSignal): Promise<void>;
  /** Stops every service; with `wait` until they have ended. */
  stop(options: { readonly wait: boolean; readonly signal?: AbortSignal }): Promise<void>;
  /** Stops watching; processes go on. */
  unmonitor(signal?: AbortSignal): Promise<void>;
  /** Throws when the supervisor cannot be asked. A control file that cannot be used is `failing`. */
  processes(signal?: AbortSignal): Promise<readonly ProcessStatus[]>;
  /** Ends looking after the services; they go on. */
  close(): Promise<void>;
}
