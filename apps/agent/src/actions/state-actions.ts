import type { JsonObject } from '@microbosh/errors';
import { readBootstrapReport } from '../bootstrap/read-report.ts';
import { specForState } from '../apply/spec-store.ts';
import { wrapping } from '../errors.ts';
import type { ActionTable } from '../handlers/dispatcher.ts';
import type { ProcessStatus } from '../supervisor/port.ts';
import type { AgentParts } from './context.ts';
import { jobStateOf } from './job-state.ts';

/** Questions. */
export function stateActions(parts: AgentParts): ActionTable {
  return {
    ping: async () => 'pong',
    noop: async () => 'nope',
    info: async () => ({ api_version: 1 }),
    get_bootstrap_report: () => readBootstrapReport(parts.layout.bootstrapReport),
    get_state: async ([filter]) => {
      const spec = await wrapping('Getting current spec', () => parts.specs.current());
      const processes = await wrapping('Getting processes status', () => parts.supervisor.processes());
      const settings = parts.host.settings.current();
      return {
        ...specForState(spec),
        agent_id: settings.agent_id,
        vm: typeof settings.vm?.name === 'string' ? { name: settings.vm.name } : { name: '' },
        job_state: await jobStateOf(parts.layout, processes),
        ...(processes.length === 0 ? {} : { processes: processes.map(processJson) }),
        ...(filter === 'full' ? { vitals: await parts.vitals.read() } : {}),
      };
    },
  };
}

function processJson(status: ProcessStatus): JsonObject {
  const { name, state, uptimeSecs, memKb, memPercent, cpuTotal } = status;
  return {
    name,
    state,
    uptime: { ...(uptimeSecs === undefined ? {} : { secs: uptimeSecs }) },
    mem: {
      ...(memKb === undefined ? {} : { kb: memKb }),
      ...(memPercent === undefined ? {} : { percent: memPercent }),
    },
    cpu: { ...(cpuTotal === undefined ? {} : { total: cpuTotal }) },
  };
}
