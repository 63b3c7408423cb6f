import type { Limits } from '../engine/deploy-run.ts';
import { withTimeLimit } from '../engine/time-limit.ts';
import { StepTimedOut } from '../errors.ts';
import type { EventBus } from '../events/event-bus.ts';
import type { AgentSession } from '../ports/agent.ts';

type LimitName = 'task' | 'drain' | 'compile' | 'copy';

/** The same agent, with an end to every task; pings have their own. Calls are told to those who listen. */
export function limitedAgent(
  agent: AgentSession,
  limits: Pick<Limits, 'taskMs' | 'drainMs' | 'compileMs' | 'copyMs'>,
  events: EventBus,
): AgentSession {
  const within = <T>(
    name: LimitName,
    method: string,
    signal: AbortSignal,
    call: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> => {
    const limitMs = limits[`${name}Ms`];
    const late = () =>
      new StepTimedOut(`The agent did not finish '${method}' in ${limitMs / 1000} s`, {
        details: { method, limit: name, limit_ms: limitMs },
        advice: `Look at its log (microbosh logs MANIFEST --agent). More time: limits.${name} in the manifest, or --limit ${name}=2h.`,
      });
    return events.call('agent', method, () =>
      withTimeLimit(limitMs, late, (over) => call(AbortSignal.any([signal, over]))),
    );
  };
  return {
    ping: (signal) => events.call('agent', 'ping', () => agent.ping(signal)),
    explain: (error) => agent.explain(error),
    getState: (signal, filter) => within('task', 'get_state', signal, (s) => agent.getState(s, filter)),
    apply: (spec, signal) => within('task', 'apply', signal, (s) => agent.apply(spec, s)),
    runScript: (name, signal) =>
      within(name === 'pre-stop' ? 'drain' : 'task', `run_script ${name}`, signal, (s) =>
        agent.runScript(name, s),
      ),
    drain: (signal) => within('drain', 'drain', signal, (s) => agent.drain(s)),
    start: (signal) => within('task', 'start', signal, (s) => agent.start(s)),
    stop: (signal) => within('task', 'stop', signal, (s) => agent.stop(s)),
    listDisk: (signal) => within('task', 'list_disk', signal, (s) => agent.listDisk(s)),
    addPersistentDisk: (cid, hint, signal) =>
      within('task', 'add_persistent_disk', signal, (s) => agent.addPersistentDisk(cid, hint, s)),
    removePersistentDisk: (cid, signal) =>
      within('task', 'remove_persistent_disk', signal, (s) => agent.removePersistentDisk(cid, s)),
    mountDisk: (cid, signal) => within('task', 'mount_disk', signal, (s) => agent.mountDisk(cid, s)),
    unmountDisk: (cid, signal) => within('task', 'unmount_disk', signal, (s) => agent.unmountDisk(cid, s)),
    migrateDisk: (from, to, signal) =>
      within('copy', 'migrate_disk', signal, (s) => agent.migrateDisk(from, to, s)),
    compilePackage: (source, dependencies, signal) =>
      within('compile', `compile_package ${source.name}`, signal, (s) =>
        agent.compilePackage(source, dependencies, s),
      ),
    uploadBlob: (path, signal, onProgress) =>
      within('copy', 'upload', signal, (s) => agent.uploadBlob(path, s, onProgress)),
    downloadBlob: (blob, path, signal, onProgress) =>
      within('copy', 'download', signal, (s) => agent.downloadBlob(blob, path, s, onProgress)),
    releaseApplySpec: (signal) =>
      within('task', 'release_apply_spec', signal, (s) => agent.releaseApplySpec(s)),
    close: () => agent.close(),
  };
}
