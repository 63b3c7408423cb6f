import { randomUUID } from 'node:crypto';
import { readFile, stat, statfs } from 'node:fs/promises';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isJsonObject, messageOf } from '@microbosh/errors';
import { writeFileDurably } from '@microbosh/host';
import { ActionError } from '../errors.ts';
import type { Layout } from '../layout.ts';
import type { Log } from '../ports/log.ts';
import { connectionWorks } from './connection-check.ts';
import {
  parseControlFile,
  type ControlProgram,
  type ControlRule,
  type ControlService,
} from './control-file.ts';
import { readControlFiles } from './control-files.ts';
import { runProgram } from './run-program.ts';
import type { JobSupervisor, ProcessStatus, SupervisorEvent } from './port.ts';
import {
  cpuPercent,
  processFacts,
  processMatching,
  processOfPidFile,
  processTree,
  totalMemoryKb,
  uptimeSecs,
  type ProcessFacts,
} from './process-table.ts';

export interface BuiltinSupervisorOptions {
  readonly layout: Layout;
  readonly log: Log;
  readonly onEvent?: (event: SupervisorEvent) => void;
  /** Between two looks at every process. Default 1 000. */
  readonly intervalMs?: number;
}

type Phase = 'unmonitored' | 'starting' | 'monitored' | 'stopping';

interface Watched {
  readonly service: ControlService;
  phase: Phase;
  problem: string | undefined;
  last: { readonly facts: ProcessFacts; readonly at: number } | undefined;
  cpu: number;
  /** For each rule, whether its test failed in the last cycles. */
  readonly history: boolean[][];
  /** Times of restarts, for `N restarts within M cycles`. */
  restarts: number;
  retryAt: number;
  retryDelayMs: number;
  work: Promise<void> | undefined;
}

/** Resource and connection rules count cycles of monit's length. */
const cycleMs = 10_000;

/**
 * Reads the control files that releases ship for monit and does what they ask. The processes are not its children:
 * they outlive the agent, and the next agent takes up watching them (what was monitored is recorded).
 */
export class BuiltinSupervisor implements JobSupervisor {
  readonly #options: BuiltinSupervisorOptions;
  readonly #services = new Map<string, Watched>();
  readonly #stopping = new AbortController();
  #loop: Promise<void> | undefined;
  #nextRuleCheck = 0;

  constructor(options: BuiltinSupervisorOptions) {
    this.#options = options;
  }

  /** Takes up what a previous agent watched, and begins to look after it. */
  async begin(): Promise<void> {
    const monitored = await this.#readMonitored();
    await this.#load();
    for (const [name, watched] of this.#services) {
      if (monitored.has(name) && watched.service.mode !== 'manual') watched.phase = 'monitored';
    }
    this.#loop = this.#run();
  }

  async reload(): Promise<void> {
    await this.#load();
    await this.#record();
  }

  async start(): Promise<void> {
    for (const watched of this.#ordered()) {
      if (watched.phase === 'monitored' && (await this.#find(watched))) continue;
      watched.retryDelayMs = 1_000;
      watched.restarts = 0;
      // Now, not when its turn comes: a boot after this moment has to bring it up.
      watched.phase = 'starting';
      void this.#begin(watched, () => this.#bringUp(watched));
    }
    await this.#record();
  }

  async stop({ wait, signal }: { readonly wait: boolean; readonly signal?: AbortSignal }): Promise<void> {
    const works: Promise<void>[] = [];
    for (const watched of [...this.#ordered()].reverse()) {
      const dependants = [...this.#services.values()].filter(({ service }) =>
        service.dependsOn.includes(watched.service.name),
      );
      const previous = watched.work;
      watched.phase = 'stopping';
      works.push(
        this.#begin(watched, async () => {
          await previous;
          await Promise.all(dependants.map(({ work }) => work ?? Promise.resolve()));
          await this.#bringDown(watched);
        }),
      );
    }
    await this.#record();
    if (!wait) return;
    await Promise.all(works);
    signal?.throwIfAborted();
    const failed = [...this.#services.values()].filter(({ problem }) => problem === 'failed to stop');
    if (failed.length === 0) return;
    const names = failed.map(({ service }) => service.name).join(', ');
    throw new ActionError(`Stopping services '[${names}]' errored`, {
      code: 'E_STOP',
      advice: 'Look at the logs of the job in /var/vcap/sys/log on the VM; its stop program did not end it.',
    });
  }

  async unmonitor(): Promise<void> {
    for (const watched of this.#services.values()) watched.phase = 'unmonitored';
    await this.#record();
  }

  async processes(): Promise<readonly ProcessStatus[]> {
    const memory = await totalMemoryKb();
    const statuses: ProcessStatus[] = [];
    for (const watched of this.#services.values()) {
      if (watched.service.kind !== 'process') continue;
      statuses.push(await this.#status(watched, memory));
    }
    return statuses;
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    await this.#loop;
  }

  async #status(watched: Watched, memoryKb: number): Promise<ProcessStatus> {
    const { name } = watched.service;
    const facts = await this.#find(watched);
    const state = stateOf(watched, facts !== undefined);
    if (!facts) return { name, state };
    const tree = await processTree(facts);
    const memKb = tree.reduce((sum, member) => sum + member.rssKb, 0);
    return {
      name,
      state,
      uptimeSecs: await uptimeSecs(facts),
      memKb,
      memPercent: Math.round((memKb / memoryKb) * 1_000) / 10,
      cpuTotal: Math.round(watched.cpu * 10) / 10,
    };
  }

  // ── control files ──────────────────────────────────────────────────────────────────────────────────────────────

  async #load(): Promise<void> {
    const found = new Map<string, ControlService>();
    for (const [file, content] of await readControlFiles(this.#options.layout)) {
      try {
        for (const service of parseControlFile(content)) {
          if (service.groups.length === 0 || service.groups.includes('vcap'))
            found.set(service.name, service);
          this.#warnUnsupported(file, service);
        }
      } catch (error) {
        throw new ActionError(`The control file '${file}' cannot be read: ${messageOf(error)}`, {
          code: 'E_CONTROL_FILE',
          advice: 'Correct the monit file of the job.',
          cause: error,
        });
      }
    }
    for (const name of this.#services.keys()) if (!found.has(name)) this.#services.delete(name);
    for (const [name, service] of found) {
      const known = this.#services.get(name);
      if (known && JSON.stringify(known.service) === JSON.stringify(service)) continue;
      this.#services.set(name, watch(service, known));
    }
  }

  #warnUnsupported(file: string, service: ControlService): void {
    for (const { test } of service.rules) {
      if (test.kind !== 'unsupported') continue;
      this.#options.log.warn(
        { file, service: service.name, condition: test.text },
        'condition is not supported',
      );
    }
  }

  /** Services after those they depend on; a cycle is cut where it closes. */
  #ordered(): readonly Watched[] {
    const ordered: Watched[] = [];
    const visiting = new Set<string>();
    const visit = (watched: Watched) => {
      if (ordered.includes(watched) || visiting.has(watched.service.name)) return;
      visiting.add(watched.service.name);
      for (const name of watched.service.dependsOn) {
        const dependency = this.#services.get(name);
        if (dependency) visit(dependency);
      }
      ordered.push(watched);
    };
    for (const watched of this.#services.values()) visit(watched);
    return ordered;
  }

  // ── processes ──────────────────────────────────────────────────────────────────────────────────────────────────

  #begin(watched: Watched, run: () => Promise<void>): Promise<void> {
    const work = (watched.work ?? Promise.resolve())
      .then(run)
      .catch((error: unknown) => {
        watched.problem = messageOf(error);
        this.#options.log.error(
          { service: watched.service.name, err: messageOf(error) },
          'supervising failed',
        );
      })
      .finally(() => {
        if (watched.work === work) watched.work = undefined;
      });
    watched.work = work;
    return work;
  }

  async #bringUp(watched: Watched): Promise<void> {
    const { service } = watched;
    if (this.#stopping.signal.aborted) return;
    watched.phase = 'starting';
    for (const name of service.dependsOn) await this.#services.get(name)?.work;
    if (service.kind !== 'process' || (await this.#find(watched))) {
      this.#becomeMonitored(watched);
      return;
    }
    if (service.start) {
      const failure = await this.#runProgram(service.start);
      const deadline = Date.now() + service.start.timeoutMs;
      while (!(await this.#find(watched)) && Date.now() < deadline && !this.#stopping.signal.aborted) {
        // A stop that was asked for meanwhile waits for this to end.
        if (this.#phase(watched) === 'stopping') return;
        if (failure !== undefined) break;
        await sleep(100);
      }
    }
    if (this.#phase(watched) === 'stopping') return;
    if (await this.#find(watched)) {
      this.#becomeMonitored(watched);
      return;
    }
    watched.phase = 'monitored';
    watched.problem = 'failed to start';
    watched.retryAt = Date.now() + watched.retryDelayMs;
    watched.retryDelayMs = Math.min(watched.retryDelayMs * 2, 60_000);
    this.#event(watched, 'execution failed', 'alert', 'failed to start');
  }

  #phase(watched: Watched): Phase {
    return watched.phase;
  }

  #becomeMonitored(watched: Watched): void {
    watched.phase = 'monitored';
    watched.problem = undefined;
  }

  async #bringDown(watched: Watched): Promise<void> {
    const { service } = watched;
    const facts = await this.#find(watched);
    if (facts && service.kind === 'process') {
      if (service.stop) {
        await this.#runProgram(service.stop);
        await this.#waitUntilGone(facts, service.stop.timeoutMs);
      } else {
        signalProcess(facts.pid, 'SIGTERM');
        await this.#waitUntilGone(facts, 10_000);
        if (await isSame(facts)) signalProcess(facts.pid, 'SIGKILL');
        await this.#waitUntilGone(facts, 5_000);
      }
    }
    watched.problem = facts && (await isSame(facts)) ? 'failed to stop' : undefined;
    watched.phase = 'unmonitored';
    if (watched.problem) this.#event(watched, 'execution failed', 'alert', 'failed to stop');
  }

  async #waitUntilGone(facts: ProcessFacts, timeoutMs: number): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while ((await isSame(facts)) && Date.now() < deadline) await sleep(50);
  }

  async #find(watched: Watched): Promise<ProcessFacts | undefined> {
    const { service } = watched;
    if (service.kind !== 'process') return undefined;
    return service.matching === undefined
      ? processOfPidFile(service.target)
      : processMatching(service.matching);
  }

  /** Undefined on success, else what went wrong. */
  async #runProgram(program: ControlProgram): Promise<string | undefined> {
    const failure = await runProgram(program);
    if (failure !== undefined) {
      this.#options.log.warn({ program: program.argv[0], err: failure }, 'a program of a job failed');
    }
    return failure;
  }

  // ── loop ───────────────────────────────────────────────────────────────────────────────────────────────────────

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const checkRules = Date.now() >= this.#nextRuleCheck;
      if (checkRules) this.#nextRuleCheck = Date.now() + cycleMs;
      for (const watched of this.#services.values()) {
        try {
          await this.#look(watched, checkRules);
        } catch (error) {
          this.#options.log.error({ service: watched.service.name, err: messageOf(error) }, 'looking failed');
        }
      }
      await sleep(this.#options.intervalMs ?? 1_000, undefined, { signal }).catch(() => undefined);
    }
  }

  async #look(watched: Watched, checkRules: boolean): Promise<void> {
    if (watched.phase !== 'monitored' || watched.work) return;
    const { service } = watched;
    const facts = await this.#find(watched);
    if (service.kind === 'process' && !facts) {
      if (service.mode !== 'active' || Date.now() < watched.retryAt) return;
      if (watched.problem === undefined) {
        watched.problem = 'does not exist';
        watched.restarts += 1;
        this.#event(watched, 'does not exist', 'restart', 'process is not running');
      }
      void this.#begin(watched, () => this.#bringUp(watched));
      return;
    }
    if (facts) {
      const at = Date.now();
      watched.cpu = cpuPercent(watched.last?.facts, facts, at - (watched.last?.at ?? at), cpus().length);
      watched.last = { facts, at };
      watched.retryDelayMs = 1_000;
      if (watched.problem === 'failed to start' || watched.problem === 'does not exist')
        watched.problem = undefined;
    }
    if (checkRules) await this.#checkRules(watched, facts);
  }

  async #checkRules(watched: Watched, facts: ProcessFacts | undefined): Promise<void> {
    for (const [index, rule] of watched.service.rules.entries()) {
      const failed = await this.#fails(watched, rule, facts);
      const history = (watched.history[index] ??= []);
      history.push(failed);
      if (history.length > rule.within) history.shift();
      if (!failed || history.filter(Boolean).length < rule.times) continue;
      history.length = 0;
      await this.#react(watched, rule);
      return;
    }
  }

  async #fails(watched: Watched, rule: ControlRule, facts: ProcessFacts | undefined): Promise<boolean> {
    const { test } = rule;
    switch (test.kind) {
      case 'unsupported':
        return false;
      case 'restarts':
        return watched.restarts >= test.count;
      case 'exists': {
        const present =
          watched.service.kind === 'process' ? facts !== undefined : await pathExists(watched.service.target);
        return test.negated ? !present : present;
      }
      case 'connection':
      case 'unix-socket':
        return !(await connectionWorks(test));
      case 'resource': {
        const value = await this.#measure(watched, test.resource, test.unit, facts);
        return value !== undefined && compare(value, test.comparison, test.value);
      }
    }
  }

  async #measure(
    watched: Watched,
    resource: Extract<ControlRule['test'], { kind: 'resource' }>['resource'],
    unit: 'percent' | 'bytes' | 'count',
    facts: ProcessFacts | undefined,
  ): Promise<number | undefined> {
    if (resource === 'loadavg') return loadavg()[0];
    if (resource === 'space' || resource === 'inode') return diskUse(watched.service.target, resource, unit);
    if (resource === 'size')
      return stat(watched.service.target).then(
        ({ size }) => size,
        () => undefined,
      );
    if (!facts) return undefined;
    if (resource === 'cpu' || resource === 'totalcpu') return watched.cpu;
    const tree = resource === 'memory' ? [facts] : await processTree(facts);
    if (resource === 'children') return tree.length - 1;
    const kb = tree.reduce((sum, member) => sum + member.rssKb, 0);
    return unit === 'percent' ? (kb / (await totalMemoryKb())) * 100 : kb * 1_024;
  }

  async #react(watched: Watched, rule: ControlRule): Promise<void> {
    const event =
      rule.test.kind === 'resource'
        ? 'resource limit matched'
        : rule.test.kind === 'restarts'
          ? 'timeout'
          : 'connection failed';
    this.#event(watched, event, rule.action, describe(rule));
    if (rule.action === 'restart') {
      watched.restarts += 1;
      void this.#begin(watched, async () => {
        watched.phase = 'stopping';
        await this.#bringDown(watched);
        await this.#bringUp(watched);
      });
    } else if (rule.action === 'stop') void this.#begin(watched, () => this.#bringDown(watched));
    else if (rule.action === 'unmonitor') {
      watched.phase = 'unmonitored';
      await this.#record();
    } else if (rule.action === 'exec' && rule.exec)
      await this.#runProgram({ argv: rule.exec, timeoutMs: 30_000 });
  }

  #event(watched: Watched, event: string, action: string, description: string): void {
    this.#options.log.warn({ service: watched.service.name, event, action }, 'a job needs attention');
    this.#options.onEvent?.({
      id: randomUUID(),
      service: watched.service.name,
      event,
      action,
      description,
      at: new Date(),
    });
  }

  // ── what survives the agent ────────────────────────────────────────────────────────────────────────────────────

  async #record(): Promise<void> {
    const monitored = [...this.#services.values()]
      .filter(({ phase }) => phase === 'monitored' || phase === 'starting')
      .map(({ service }) => service.name);
    await writeFileDurably(this.#stateFile, JSON.stringify({ monitored }));
  }

  async #readMonitored(): Promise<ReadonlySet<string>> {
    const content = await readFile(this.#stateFile, 'utf8').catch(() => '{}');
    try {
      const document: unknown = JSON.parse(content);
      const names = isJsonObject(document) && Array.isArray(document.monitored) ? document.monitored : [];
      return new Set(names.filter((name): name is string => typeof name === 'string'));
    } catch {
      return new Set();
    }
  }

  get #stateFile(): string {
    return join(this.#options.layout.monit, 'builtin.json');
  }
}

function watch(service: ControlService, before: Watched | undefined): Watched {
  return {
    service,
    phase: before?.phase ?? 'unmonitored',
    problem: undefined,
    last: undefined,
    cpu: 0,
    history: [],
    restarts: 0,
    retryAt: 0,
    retryDelayMs: 1_000,
    work: before?.work,
  };
}

function stateOf(watched: Watched, isAlive: boolean): ProcessStatus['state'] {
  if (watched.phase === 'starting') return 'starting';
  if (watched.phase === 'monitored') return isAlive && watched.problem === undefined ? 'running' : 'failing';
  return 'unknown';
}

function describe(rule: ControlRule): string {
  const { test } = rule;
  switch (test.kind) {
    case 'resource':
      return `${test.resource} ${test.comparison} ${test.value}`;
    case 'connection':
      return `failed ${test.protocol} at ${test.host}:${test.port}`;
    case 'unix-socket':
      return `failed at ${test.path}`;
    case 'restarts':
      return `service restarted ${test.count} times`;
    case 'exists':
    case 'unsupported':
      return test.kind;
  }
}

function compare(value: number, comparison: '>' | '<' | '==' | '!=', limit: number): boolean {
  switch (comparison) {
    case '>':
      return value > limit;
    case '<':
      return value < limit;
    case '==':
      return value === limit;
    case '!=':
      return value !== limit;
  }
}

async function isSame(facts: ProcessFacts): Promise<boolean> {
  return (await processFacts(facts.pid))?.startTicks === facts.startTicks;
}

function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended by itself.
  }
}

async function pathExists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function diskUse(path: string, resource: 'space' | 'inode', unit: string): Promise<number | undefined> {
  const info = await statfs(path).catch(() => undefined);
  if (!info) return undefined;
  const [total, free] = resource === 'space' ? [info.blocks, info.bavail] : [info.files, info.ffree];
  if (unit === 'percent') return total === 0 ? 0 : ((total - free) / total) * 100;
  return resource === 'space' ? (total - free) * info.bsize : total - free;
}
