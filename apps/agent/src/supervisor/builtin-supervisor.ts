import { randomUUID } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isJsonObject, messageOf } from '@microbosh/errors';
import { writeFileDurably } from '@microbosh/host';
import { ActionError } from '../errors.ts';
import type { Layout } from '../layout.ts';
import type { Log } from '../ports/log.ts';
import { loadControlFiles, type LoadedControlFiles } from './control-files.ts';
import type { ControlProgram, ControlReaction, ControlRule, ControlService } from './control-language.ts';
import { PidIdentities } from './pid-identities.ts';
import type { ControlProblem, JobSupervisor, ProcessStatus, SupervisorEvent } from './port.ts';
import {
  cpuPercent,
  processFacts,
  processMatching,
  processTree,
  totalMemoryKb,
  uptimeSecs,
  type ProcessFacts,
} from './process-table.ts';
import {
  conditionHolds,
  cpuCount,
  describeTest,
  eventOf,
  matchesCron,
  mountOf,
  type RuleMemory,
} from './rule-checks.ts';
import { runProgram } from './run-program.ts';

export interface BuiltinSupervisorOptions {
  readonly layout: Layout;
  readonly log: Log;
  readonly onEvent?: (event: SupervisorEvent) => void;
  /** Between two looks at every process. Default 1 000. */
  readonly intervalMs?: number;
  /** Length of a cycle, in which rules are looked at and counted. Default that of monit: 10 000. */
  readonly cycleMs?: number;
}

type Phase = 'unmonitored' | 'starting' | 'monitored' | 'stopping';

interface Watched {
  readonly file: string;
  readonly service: ControlService;
  phase: Phase;
  problem: string | undefined;
  last: { readonly facts: ProcessFacts; readonly at: number } | undefined;
  cpu: number;
  /** Of `check program`. */
  exitCode: number | undefined;
  readonly rules: readonly RuleState[];
  /** Cycles in which it was restarted. */
  restarts: number[];
  cycle: number;
  retryAt: number;
  retryDelayMs: number;
  work: Promise<void> | undefined;
}

interface RuleState {
  readonly rule: ControlRule;
  readonly memory: RuleMemory;
  /** Whether the condition held in the last cycles. */
  readonly history: boolean[];
  failed: boolean;
}

/**
 * Reads the control files that releases ship for monit and does what they ask. The processes are not its children:
 * they outlive the agent, and the next agent takes up watching them (what was monitored is recorded).
 */
export class BuiltinSupervisor implements JobSupervisor {
  readonly #options: BuiltinSupervisorOptions;
  readonly #services = new Map<string, Watched>();
  readonly #pids = new PidIdentities();
  readonly #stopping = new AbortController();
  /** Names of services whose control file cannot be used. */
  #unusable: readonly string[] = [];
  #loop: Promise<void> | undefined;
  #nextRuleCheck = 0;

  constructor(options: BuiltinSupervisorOptions) {
    this.#options = options;
  }

  async begin(): Promise<void> {
    const monitored = await this.#restore();
    await this.#load();
    for (const [name, watched] of this.#services) {
      if (!monitored.has(name)) continue;
      // A manual one is not brought up by a boot, but looked after when it is up.
      if (watched.service.mode !== 'manual' || (await this.#find(watched))) watched.phase = 'monitored';
    }
    this.#loop = this.#run();
  }

  async reload(): Promise<readonly ControlProblem[]> {
    const problems = await this.#load();
    await this.#record();
    return problems;
  }

  async start(): Promise<void> {
    for (const watched of this.#ordered()) {
      if (watched.phase === 'monitored' && (await this.#find(watched))) continue;
      watched.retryDelayMs = 1_000;
      watched.restarts = [];
      // Now, not when its turn comes: a boot after this moment has to bring it up.
      watched.phase = 'starting';
      void this.#begin(watched, () => this.#bringUp(watched));
    }
    await this.#record();
  }

  async stop({ wait, signal }: { readonly wait: boolean; readonly signal?: AbortSignal }): Promise<void> {
    const works = this.#takeDown(this.#ordered());
    await this.#record();
    if (!wait) return;
    await orAborted(Promise.all(works), signal);
    const failed = [...this.#services.values()].filter(({ problem }) => problem === 'failed to stop');
    if (failed.length === 0) return;
    const names = failed.map(({ service }) => service.name).join(', ');
    throw new ActionError(`Stopping services '[${names}]' errored`, {
      code: 'E_STOP',
      advice: 'Look at the logs of the job in /var/vcap/sys/log on the VM; its stop program did not end it.',
    });
  }

  async unmonitor(signal?: AbortSignal): Promise<void> {
    const works: Promise<void>[] = [];
    for (const watched of this.#services.values()) {
      if (watched.work) works.push(watched.work);
      // What is being stopped goes on to be stopped, and is not monitored after that.
      if (watched.phase !== 'stopping') watched.phase = 'unmonitored';
    }
    await this.#record();
    await orAborted(Promise.all(works), signal);
  }

  async processes(): Promise<readonly ProcessStatus[]> {
    const memory = await totalMemoryKb();
    const statuses: ProcessStatus[] = [];
    for (const watched of this.#services.values()) statuses.push(await this.#status(watched, memory));
    for (const name of this.#unusable) statuses.push({ name, state: 'failing' });
    return statuses;
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    await this.#loop;
    await this.#recordIdentities();
  }

  /** Which process each pid file means, for the supervisor after this one. */
  async #recordIdentities(): Promise<void> {
    if (!this.#pids.takeChanged()) return;
    await this.#record().catch((error: unknown) =>
      this.#options.log.error({ err: messageOf(error) }, 'what is supervised could not be recorded'),
    );
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

  async #load(): Promise<readonly ControlProblem[]> {
    const loaded = await loadControlFiles(this.#options.layout);
    this.#tell(loaded);
    this.#unusable = loaded.unusable;
    const found = new Map(
      loaded.services
        .filter(({ service: { groups } }) => groups.length === 0 || groups.includes('vcap'))
        .map((entry) => [entry.service.name, entry]),
    );
    for (const name of this.#services.keys()) if (!found.has(name)) this.#services.delete(name);
    for (const [name, { file, service }] of found) {
      const known = this.#services.get(name);
      if (known && isSameService(known.service, service)) continue;
      this.#services.set(name, watch(file, service, known));
    }
    return loaded.problems;
  }

  #tell({ services, problems }: LoadedControlFiles): void {
    const { log } = this.#options;
    for (const { file, line, message } of problems) {
      log.error({ file, line, problem: message }, 'a control file cannot be used');
    }
    for (const { file, service } of services) {
      for (const { test, line } of service.rules) {
        const at = { file, line, service: service.name };
        if (test.kind === 'unsupported')
          log.warn({ ...at, condition: test.text }, 'condition is not looked at');
        if (test.kind === 'connection' && test.unspoken !== undefined)
          log.warn({ ...at, protocol: test.unspoken }, 'protocol is checked by connecting');
      }
    }
  }

  /** Services after those they depend on. */
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

  /** Services that depend on it, directly or not, after those they depend on. */
  #dependants(root: Watched): readonly Watched[] {
    const names = new Set([root.service.name]);
    return this.#ordered().filter((watched) => {
      if (watched === root || !watched.service.dependsOn.some((name) => names.has(name))) return false;
      names.add(watched.service.name);
      return true;
    });
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

  async #bringUp(watched: Watched, how: 'start' | 'restart' = 'start'): Promise<void> {
    const { service } = watched;
    const isProcess = service.kind === 'process';
    // What was asked for since it was put in line counts.
    if (this.#stopping.signal.aborted || this.#phase(watched) !== 'starting') return;
    for (const name of service.dependsOn) await this.#services.get(name)?.work;
    if (this.#phase(watched) !== 'starting') return;
    if (how === 'start' && (await this.#find(watched))) return this.#becomeMonitored(watched);
    const absent = await this.#absentDependency(service);
    const program = service[how];
    if (program && absent === undefined) {
      const failure = await this.#runProgram(program, service.name);
      const deadline = Date.now() + program.timeoutMs;
      while (
        isProcess &&
        !(await this.#find(watched)) &&
        Date.now() < deadline &&
        !this.#stopping.signal.aborted
      ) {
        // A stop that was asked for meanwhile waits for this to end.
        if (this.#phase(watched) !== 'starting') return;
        if (failure !== undefined) break;
        await sleep(100);
      }
      if (failure !== undefined && (!isProcess || how === 'restart'))
        this.#event(watched, 'execution failed', 'alert', `failed to ${how}: ${failure}`);
    }
    if (!isProcess) return this.#becomeMonitored(watched);
    if (this.#phase(watched) !== 'starting') return;
    if (await this.#find(watched)) return this.#becomeMonitored(watched);
    watched.phase = 'monitored';
    watched.problem = 'failed to start';
    watched.retryAt = Date.now() + watched.retryDelayMs;
    watched.retryDelayMs = Math.min(watched.retryDelayMs * 2, 60_000);
    const reason = absent === undefined ? '' : `: '${absent}', which it depends on, does not run`;
    this.#event(watched, 'execution failed', 'alert', `failed to start${reason}`);
  }

  /** A process it depends on that does not run. */
  async #absentDependency({ dependsOn }: ControlService): Promise<string | undefined> {
    for (const name of dependsOn) {
      const dependency = this.#services.get(name);
      if (dependency?.service.kind === 'process' && !(await this.#find(dependency))) return name;
    }
    return undefined;
  }

  /** Read anew: others change it while we wait. */
  #phase(watched: Watched): Phase {
    return watched.phase;
  }

  #becomeMonitored(watched: Watched): void {
    watched.phase = 'monitored';
    watched.problem = undefined;
    for (const state of watched.rules) {
      state.failed = false;
      state.history.length = 0;
    }
  }

  /** Stops services, given after those they depend on; each after its dependants. */
  #takeDown(services: readonly Watched[]): readonly Promise<void>[] {
    const works: Promise<void>[] = [];
    for (const watched of [...services].reverse()) {
      const dependants = services.filter(({ service }) => service.dependsOn.includes(watched.service.name));
      const waitFor = dependants.flatMap(({ work }) => (work ? [work] : []));
      watched.phase = 'stopping';
      works.push(
        this.#begin(watched, async () => {
          await Promise.all(waitFor);
          await this.#bringDown(watched);
        }),
      );
    }
    return works;
  }

  async #bringDown(watched: Watched): Promise<void> {
    const { service } = watched;
    const facts = await this.#find(watched);
    if (service.kind !== 'process' && service.stop) await this.#runProgram(service.stop, service.name);
    if (facts) {
      if (service.stop) {
        await this.#runProgram(service.stop, service.name);
        await this.#waitUntilGone(facts, service.stop.timeoutMs);
      } else {
        signalProcess(facts.pid, 'SIGTERM');
        await this.#waitUntilGone(facts, 10_000);
        if (await isSame(facts)) signalProcess(facts.pid, 'SIGKILL');
        await this.#waitUntilGone(facts, 5_000);
      }
    }
    watched.problem = facts && (await isSame(facts)) ? 'failed to stop' : undefined;
    // A start that was asked for meanwhile comes after this.
    if (this.#phase(watched) === 'stopping') watched.phase = 'unmonitored';
    if (watched.problem) this.#event(watched, 'execution failed', 'alert', 'failed to stop');
  }

  /** As monit: what depends on it is stopped before and started after it. */
  #restart(watched: Watched): void {
    const dependants = this.#dependants(watched).filter(({ phase }) => phase === 'monitored');
    const hasProgram = watched.service.restart !== undefined;
    const stopped = hasProgram ? dependants : [watched, ...dependants];
    const works = this.#takeDown(stopped);
    if (hasProgram) {
      watched.phase = 'starting';
      void this.#begin(watched, async () => {
        await Promise.all(works);
        await this.#bringUp(watched, 'restart');
      });
    }
    for (const each of stopped) {
      void this.#begin(each, async () => {
        // Only what this restart took down: a stop or unmonitor that came meanwhile counts.
        if (this.#phase(each) !== 'unmonitored' || each.problem !== undefined) {
          if (each.problem === 'failed to stop') each.phase = 'monitored';
          return;
        }
        each.phase = 'starting';
        await this.#bringUp(each);
      });
    }
  }

  async #waitUntilGone(facts: ProcessFacts, timeoutMs: number): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while ((await isSame(facts)) && Date.now() < deadline) await sleep(50);
  }

  async #find(watched: Watched): Promise<ProcessFacts | undefined> {
    const { service } = watched;
    if (service.kind !== 'process') return undefined;
    return service.matching === undefined
      ? this.#pids.processOf(service.target)
      : processMatching(service.matching);
  }

  /** Undefined on success, else what went wrong. */
  async #runProgram(
    program: ControlProgram,
    service: string,
    env: Readonly<Record<string, string>> = {},
  ): Promise<string | undefined> {
    const { failure } = await runProgram(program, { MONIT_SERVICE: service, ...env });
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
      if (checkRules) this.#nextRuleCheck = Date.now() + (this.#options.cycleMs ?? 10_000);
      for (const watched of this.#services.values()) {
        try {
          await this.#look(watched, checkRules);
        } catch (error) {
          this.#options.log.error({ service: watched.service.name, err: messageOf(error) }, 'looking failed');
        }
      }
      await this.#recordIdentities();
      await sleep(this.#options.intervalMs ?? 1_000, undefined, { signal }).catch(() => undefined);
    }
  }

  async #look(watched: Watched, checkRules: boolean): Promise<void> {
    if (watched.phase !== 'monitored' || watched.work) return;
    const { service } = watched;
    const facts = await this.#find(watched);
    if (service.kind === 'process' && !facts) {
      const rules = watched.rules.filter(isAboutAbsence);
      if (rules.length === 0) return this.#missing(watched);
      watched.problem = 'does not exist';
      if (checkRules) await this.#checkRules(watched, undefined, rules);
      return;
    }
    if (facts) {
      const at = Date.now();
      watched.cpu = cpuPercent(watched.last?.facts, facts, at - (watched.last?.at ?? at), cpuCount);
      watched.last = { facts, at };
      watched.retryDelayMs = 1_000;
      if (watched.problem === 'failed to start' || watched.problem === 'does not exist')
        watched.problem = undefined;
    }
    if (!checkRules) return;
    watched.cycle += 1;
    if (!isDue(watched)) return;
    if (['file', 'directory', 'filesystem'].includes(service.kind)) await this.#lookAtPath(watched);
    if (service.program) watched.exitCode = (await runProgram(service.program)).exitCode ?? -1;
    await this.#checkRules(watched, facts);
  }

  /** A process that is gone. */
  #missing(watched: Watched): void {
    const { mode } = watched.service;
    if (watched.problem === undefined) {
      watched.problem = 'does not exist';
      const action = mode === 'passive' ? 'alert' : 'restart';
      this.#event(watched, 'does not exist', action, 'process is not running');
      if (action === 'restart') watched.restarts.push(watched.cycle);
      for (const dependant of action === 'restart' ? this.#dependants(watched) : []) {
        if (dependant.phase === 'monitored') this.#restart(dependant);
      }
    }
    if (mode === 'passive' || Date.now() < watched.retryAt) return;
    watched.phase = 'starting';
    void this.#begin(watched, () => this.#bringUp(watched));
  }

  async #lookAtPath(watched: Watched): Promise<void> {
    const { kind, target } = watched.service;
    const problem = await pathProblem(kind, target);
    const isNew = problem !== undefined && problem !== watched.problem;
    watched.problem = problem;
    // A rule of its own says what happens then.
    if (!isNew || (problem === 'does not exist' && watched.rules.some(isAboutAbsence))) return;
    this.#event(
      watched,
      problem,
      'alert',
      problem === 'does not exist' ? `${kind} does not exist` : `is no ${kind}`,
    );
  }

  async #checkRules(
    watched: Watched,
    facts: ProcessFacts | undefined,
    rules: readonly RuleState[] = watched.rules,
  ): Promise<void> {
    for (const state of rules) {
      const { rule, history, memory } = state;
      const holds = await conditionHolds(
        watched.service,
        rule.test,
        {
          facts,
          cpu: watched.cpu,
          exitCode: watched.exitCode,
          restartsWithin: (cycles) =>
            watched.restarts.filter((cycle) => watched.cycle - cycle < cycles).length,
        },
        memory,
      );
      history.push(holds);
      if (history.length > rule.within) history.shift();
      if (holds && history.filter(Boolean).length >= rule.times) {
        const isNew = !state.failed;
        // A change is over as soon as it is told.
        state.failed = rule.test.kind !== 'changed';
        history.length = 0;
        if (await this.#react(watched, state, isNew)) return;
      } else if (!holds && state.failed && !history.some(Boolean)) {
        state.failed = false;
        if (rule.recovery && (await this.#do(watched, rule.recovery))) return;
      }
    }
  }

  /** True when the other rules have to wait for what was begun. */
  async #react(watched: Watched, { rule, memory }: RuleState, isNew: boolean): Promise<boolean> {
    const isQuiet = rule.action === 'alert' || rule.action === 'exec';
    // As monit: told once until it is over; what changes the service is done each time.
    if (isQuiet && !isNew) return false;
    const [event, description] = [eventOf(rule.test), describeTest(rule.test, memory)];
    this.#event(watched, event, rule.action, description);
    return this.#do(watched, rule, { MONIT_EVENT: event, MONIT_DESCRIPTION: description });
  }

  async #do(
    watched: Watched,
    { action, exec }: ControlReaction,
    env: Readonly<Record<string, string>> = {},
  ): Promise<boolean> {
    switch (action) {
      case 'alert':
        return false;
      case 'exec':
        if (exec) await this.#runProgram(exec, watched.service.name, env);
        return false;
      case 'restart':
        watched.restarts.push(watched.cycle);
        this.#restart(watched);
        return true;
      case 'start':
        watched.phase = 'starting';
        void this.#begin(watched, () => this.#bringUp(watched));
        return true;
      case 'stop':
        void Promise.all(this.#takeDown([watched, ...this.#dependants(watched)]));
        await this.#record();
        return true;
      case 'monitor':
        watched.phase = 'monitored';
        return true;
      case 'unmonitor':
        watched.phase = 'unmonitored';
        await this.#record();
        return true;
    }
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
    const services = [...this.#services.values()];
    const monitored = services
      .filter(({ phase }) => phase === 'monitored' || phase === 'starting')
      .map(({ service }) => service.name);
    const pidFiles = new Set(services.map(({ service }) => service.target));
    await writeFileDurably(
      this.#stateFile,
      JSON.stringify({ monitored, processes: this.#pids.toJson(pidFiles) }),
    );
  }

  /** Names of what was monitored. */
  async #restore(): Promise<ReadonlySet<string>> {
    const content = await readFile(this.#stateFile, 'utf8').catch(() => '{}');
    try {
      const document: unknown = JSON.parse(content);
      if (!isJsonObject(document)) return new Set();
      this.#pids.restore(document.processes);
      const names = Array.isArray(document.monitored) ? document.monitored : [];
      return new Set(names.filter((name): name is string => typeof name === 'string'));
    } catch {
      return new Set();
    }
  }

  get #stateFile(): string {
    return join(this.#options.layout.monit, 'builtin.json');
  }
}

function watch(file: string, service: ControlService, before: Watched | undefined): Watched {
  return {
    file,
    service,
    phase: before?.phase ?? 'unmonitored',
    problem: undefined,
    last: undefined,
    cpu: 0,
    exitCode: undefined,
    rules: service.rules.map((rule) => ({ rule, memory: {}, history: [], failed: false })),
    restarts: [],
    cycle: 0,
    retryAt: 0,
    retryDelayMs: 1_000,
    work: before?.work,
  };
}

/** Moved lines are no change. */
function isSameService(before: ControlService, now: ControlService): boolean {
  const text = (service: ControlService) =>
    JSON.stringify(service, (key, value: unknown) => (key === 'line' ? undefined : value));
  return text(before) === text(now);
}

/** `if does not exist`: replaces what happens by itself. */
function isAboutAbsence({ rule: { test } }: RuleState): boolean {
  return test.kind === 'exists' && test.negated;
}

/** The event of a path that is not there, or not what it has to be. */
async function pathProblem(kind: ControlService['kind'], path: string): Promise<string | undefined> {
  if (kind === 'filesystem') return (await mountOf(path)) ? undefined : 'does not exist';
  const found = await stat(path).catch(() => undefined);
  if (!found) return 'does not exist';
  return found.isDirectory() === (kind === 'directory') ? undefined : 'invalid type';
}

function isDue({ service: { every }, cycle }: Watched): boolean {
  if (every.kind === 'cycles') return cycle % every.cycles === 0;
  return matchesCron(every.cron, new Date()) !== every.negated;
}

function stateOf(watched: Watched, isAlive: boolean): ProcessStatus['state'] {
  if (watched.phase === 'starting') return 'starting';
  if (watched.phase !== 'monitored') return 'unknown';
  const isThere = isAlive || watched.service.kind !== 'process';
  const isWell = watched.problem === undefined && !watched.rules.some(({ failed }) => failed);
  return isThere && isWell ? 'running' : 'failing';
}

async function orAborted(work: Promise<unknown>, signal: AbortSignal | undefined): Promise<void> {
  if (!signal) {
    await work;
    return;
  }
  signal.throwIfAborted();
  let onAbort = () => undefined as void;
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
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
