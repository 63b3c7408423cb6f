import type { CommandRunner } from '@microbosh/host';
import type { LinuxOptions } from '../config/agent-config.ts';
import type { SupervisorKind } from '../config/command-line.ts';
import type { AgentSettingsService } from '../settings/settings-service.ts';
import type { AgentPaths } from './agent-paths.ts';
import type { HostLog } from './host-log.ts';

/** What every part that changes the machine works with. */
export interface HostContext {
  readonly linux: LinuxOptions;
  readonly supervisor: SupervisorKind;
  readonly paths: AgentPaths;
  readonly runner: CommandRunner;
  readonly log: HostLog;
  readonly settings: AgentSettingsService;
}
