import { readdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode, messageOf } from '@microbosh/errors';
import type { CommandRunner } from '@microbosh/host';
import { ActionError } from '../../errors.ts';
import type { Layout } from '../../layout.ts';
import { readTextIfPresent } from '../../platform/files.ts';
import type { Log } from '../../ports/log.ts';
import { loadControlFiles, refusedSuffix, servicesNamedIn } from '../control-files.ts';
import type { ControlService } from '../control-language.ts';
import { runProgram } from '../run-program.ts';
import type { ControlProblem, JobSupervisor, ProcessStatus } from '../port.ts';
import { processFacts, processOfPidFile, type ProcessFacts } from '../process-table.ts';
import { isRefused, MonitClient } from './monit-client.ts';
import { MonitDaemon } from './monit-daemon.ts';
import {
  monitPaths,
  monitPorts,
  wantAlerts,
  wantControlFile,
  wantMonitUsers,
  type MonitPlace,
} from './monit-files.ts';
import { processStatus, servicesOfGroup, type MonitService, type MonitStatus } from './monit-status.ts';

export interface MonitSupervisorOptions extends MonitPlace {
  readonly layout: Layout;
  readonly runner: CommandRunner;
  readonly log: Log;
  /** Over both waits of a stop. Default 300 000. */
  readonly stopTimeoutMs?: number;
  /** For another incarnation after a signal; monit of old notices a reload at its next cycle. Default 15 000. */
  readonly reloadTimeoutMs?: number;
  /** See the client and the daemon. */
  readonly requestTimeoutMs?: number;
  readonly statusTimeoutMs?: number;
  readonly endTimeoutMs?: number;
}

const pollMs = 250;
const startTimeoutMs = 30_000;

/** Lets monit look after the services, and asks it over HTTP. */
export class MonitSupervisor implements JobSupervisor {
  readonly #options: MonitSupervisorOptions;
  readonly #client: MonitClient;
  readonly #daemon: MonitDaemon;

  constructor(options: MonitSupervisorOptions) {
    const { layout, runner, log, requestTimeoutMs, statusTimeoutMs, endTimeoutMs } = options;
    const paths = monitPaths(layout.base);
    this.#options = options;
    this.#daemon = new MonitDaemon({
      ...{ layout, paths, runner, log },
      ...(endTimeoutMs === undefined ? {} : { endTimeoutMs }),
    });
    this.#client = new MonitClient({
      ...(requestTimeoutMs === undefined ? {} : { requestTimeoutMs }),
      ...(statusTimeoutMs === undefined ? {} : { statusTimeoutMs }),
      port: options.httpPort ?? monitPorts.http,
      credentials: () => readFile(paths.user, 'utf8'),
    });
  }

  async begin(signal?: AbortSignal): Promise<void> {
    const { layout, httpPort, smtpPort, cycleSecs, pidFile } = this.#options;
    const paths = monitPaths(layout.base);
    for (const change of await wantMonitUsers(paths)) await change.apply();
    const changes = [
      ...(await wantAlerts(paths, smtpPort)),
      ...(await wantControlFile(paths, {
        ...(httpPort === undefined ? {} : { port: httpPort }),
        ...(cycleSecs === undefined ? {} : { cycleSecs }),
        ...(pidFile === undefined ? {} : { pidFile }),
      })),
    ];
    for (const change of changes) await change.apply();
    // What it would not start with must not keep the other services down. A machine without jobs has nothing to put aside.
    if ((await this.#filesOf('.monitrc')).length > 0) await this.#putAsideUnusable(signal);
    await this.#daemon.begin(signal);
    const credentialsHold = await this.#answers(signal);
    if (!credentialsHold) {
      this.#options.log.warn({}, 'monit runs with older credentials; starting it anew');
      await this.#daemon.replace(signal);
      await this.#client.status(signal);
    }
  }

  async reload(signal?: AbortSignal): Promise<readonly ControlProblem[]> {
    const problems = await this.#putAsideUnusable(signal);
    const reloadTimeoutMs = this.#options.reloadTimeoutMs ?? 15_000;
    // One that hangs says no incarnation, and would not take the signal either.
    const before = await this.#client.status(signal).then(
      ({ incarnation }) => incarnation,
      (error: unknown) => {
        signal?.throwIfAborted();
        this.#options.log.warn({ err: messageOf(error) }, 'monit does not answer');
        return undefined;
      },
    );
    const signalled = async () =>
      this.#reloaded(before, () => this.#daemon.signalReload(), reloadTimeoutMs, signal);
    if (before !== undefined && (await signalled())) return problems;
    this.#options.log.warn({}, 'monit does not reload; starting it anew');
    if (await this.#reloaded(before, () => this.#daemon.replace(signal), startTimeoutMs, signal))
      return problems;
    throw new ActionError(`Failed to reload monit: before=${before ?? 'unknown'}`, {
      code: 'E_SUPERVISOR',
      advice: 'Look at monit/monit.log on the VM.',
    });
  }

  async start(signal?: AbortSignal): Promise<void> {
    for (const { name } of await this.#services(signal)) await this.#client.act(name, 'start', signal);
    // Starting what others depend on makes monit forget a start of these that it had accepted: asked again until it holds.
    const deadline = Date.now() + startTimeoutMs;
    while (Date.now() < deadline) {
      const forgotten = (await this.#services(signal)).filter(
        ({ monitor, pending }) => monitor === 0 && !pending,
      );
      if (forgotten.length === 0) {
        // An action is taken from the list before it is done.
        await sleep(pollMs, undefined, signal ? { signal } : {});
        const now = await this.#services(signal);
        if (!now.some(({ monitor, pending }) => monitor === 0 || pending)) return;
        continue;
      }
      for (const { name } of forgotten) await this.#client.act(name, 'start', signal);
      await sleep(pollMs, undefined, signal ? { signal } : {});
    }
  }

  async stop({ wait, signal }: { readonly wait: boolean; readonly signal?: AbortSignal }): Promise<void> {
    const limit = AbortSignal.timeout(this.#options.stopTimeoutMs ?? 300_000);
    const waiting = (found: readonly MonitService[]) => found.filter(({ pending }) => pending);
    if (wait) {
      await this.#until(
        async () => waiting(await this.#services(signal)),
        (names) => `Timed out waiting for services '${names}' to no longer be pending after 5 minutes`,
        limit,
        signal,
      );
    }
    const before = await this.#services(signal);
    const running = await this.#runningOf(before);
    for (const { name, monitor } of before) if (monitor !== 0) await this.#client.act(name, 'stop', signal);
    // Later ones say that they stopped what they do not monitor, and do not: after a drain that is everything.
    const ours = this.#stopUnmonitored(running.filter(({ isMonitored }) => !isMonitored));
    if (!wait) {
      void ours.catch((error: unknown) =>
        this.#options.log.error({ err: messageOf(error) }, 'stopping failed'),
      );
      return;
    }
    await Promise.all([
      this.#until(
        async () => (await this.#services(signal)).filter(({ monitor, pending }) => monitor !== 0 || pending),
        (names) => `Timed out waiting for services '${names}' to stop after 5 minutes`,
        limit,
        signal,
      ),
      ours,
    ]);
    // A stop program that does not end its process is given up on: what counts is the process.
    const left: string[] = [];
    for (const { name, facts } of running) if (await isAlive(facts)) left.push(name);
    if (left.length === 0) return;
    throw new ActionError(`Stopping services '[${left.join(', ')}]' errored`, {
      code: 'E_STOP',
      advice: 'Look at the logs of the job in /var/vcap/sys/log on the VM; its stop program did not end it.',
    });
  }

  async unmonitor(signal?: AbortSignal): Promise<void> {
    const services = await this.#services(signal);
    for (const { name } of services) await this.#client.act(name, 'unmonitor', signal);
    // It does so when it is done with the action at hand; until then it would start again what a drain ends.
    await this.#until(
      async () => (await this.#services(signal)).filter(({ monitor, pending }) => monitor !== 0 || pending),
      (names) => `Timed out waiting for services '${names}' to be unmonitored`,
      AbortSignal.timeout(this.#options.stopTimeoutMs ?? 300_000),
      signal,
    );
  }

  async processes(signal?: AbortSignal): Promise<readonly ProcessStatus[]> {
    const services = await this.#services(signal);
    const refused: ProcessStatus[] = [];
    for (const file of await this.#filesOf(`.monitrc${refusedSuffix}`)) {
      const content = (await readTextIfPresent(join(this.#options.layout.monitJobs, file))) ?? '';
      refused.push(...servicesNamedIn(file, content).map((name) => ({ name, state: 'failing' as const })));
    }
    return [...services.map(processStatus), ...refused];
  }

  async close(): Promise<void> {
    await this.#daemon.close();
  }

  async #services(signal: AbortSignal | undefined): Promise<readonly MonitService[]> {
    return servicesOfGroup(await this.#client.status(signal));
  }

  /** The processes behind services: monit names a pid only while it monitors. */
  async #runningOf(services: readonly MonitService[]): Promise<readonly Running[]> {
    const described = new Map(
      (await loadControlFiles(this.#options.layout)).services.map(({ service }) => [service.name, service]),
    );
    const found: Running[] = [];
    for (const { name, pid, monitor } of services) {
      const service = described.get(name);
      const facts =
        pid !== undefined && pid > 0
          ? await processFacts(pid)
          : service?.kind === 'process' && service.target !== ''
            ? await processOfPidFile(service.target)
            : undefined;
      if (facts) found.push({ name, facts, isMonitored: monitor !== 0, service });
    }
    return found;
  }

  /** Runs their stop programs, each after those of what depends on it. */
  async #stopUnmonitored(services: readonly Running[]): Promise<void> {
    const ends = new Map<string, Promise<void>>();
    const stop = async ({ name, facts, service }: Running): Promise<void> => {
      await Promise.all(
        services.filter((other) => other.service?.dependsOn.includes(name)).map((other) => end(other)),
      );
      if (!service?.stop) return;
      const { failure } = await runProgram(service.stop, { MONIT_SERVICE: name });
      if (failure !== undefined)
        this.#options.log.warn({ service: name, err: failure }, 'a stop program failed');
      const deadline = Date.now() + service.stop.timeoutMs;
      while ((await isAlive(facts)) && Date.now() < deadline) await sleep(100);
    };
    const end = (each: Running): Promise<void> => {
      const known = ends.get(each.name) ?? stop(each);
      ends.set(each.name, known);
      return known;
    };
    await Promise.all(services.map(end));
  }

  /** False when it refuses the credentials. */
  async #answers(signal: AbortSignal | undefined): Promise<boolean> {
    const deadline = Date.now() + startTimeoutMs;
    for (;;) {
      try {
        await this.#client.probe(signal);
        return true;
      } catch (error) {
        if (isRefused(error)) return false;
        signal?.throwIfAborted();
        if (Date.now() > deadline) {
          await this.#putAsideUnusable(signal);
          throw new ActionError('monit does not answer', {
            code: 'E_SUPERVISOR',
            cause: error,
            advice: 'Look at monit/monit.log on the VM.',
          });
        }
      }
      await sleep(pollMs);
    }
  }

  /** Runs what makes monit read its files, and waits for another incarnation. */
  async #reloaded(
    before: string | undefined,
    cause: () => Promise<void>,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    // The incarnation is a time in seconds: within the same second it would not differ.
    while (Math.floor(Date.now() / 1_000) <= Number(before ?? 0)) await sleep(50);
    await cause();
    const deadline = Date.now() + timeoutMs;
    while (Date.now() < deadline) {
      const now: MonitStatus | undefined = await this.#client.probe(signal).catch((error: unknown) => {
        signal?.throwIfAborted();
        this.#options.log.debug({ err: messageOf(error) }, 'monit does not answer yet');
        return undefined;
      });
      if (now && now.incarnation !== before) return true;
      await sleep(pollMs, undefined, signal ? { signal } : {});
    }
    return false;
  }

  async #until(
    pending: () => Promise<readonly MonitService[]>,
    message: (names: string) => string,
    limit: AbortSignal,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    for (;;) {
      const left = await pending();
      if (left.length === 0) return;
      signal?.throwIfAborted();
      if (limit.aborted) {
        throw new ActionError(message(left.map(({ name }) => name).join(', ')), { code: 'E_STOP' });
      }
      await sleep(pollMs);
    }
  }

  /** One file that monit does not understand makes it end; it is put aside, so that the other jobs run. */
  async #putAsideUnusable(signal: AbortSignal | undefined): Promise<readonly ControlProblem[]> {
    const { monitJobs } = this.#options.layout;
    const problems: ControlProblem[] = [];
    const rounds = (await this.#filesOf('.monitrc')).length + 1;
    for (let round = 0; round < rounds; round += 1) {
      const found = await this.#daemon.problems(signal);
      if (found.length === 0) return problems;
      const ours = found.filter(({ path, file }) => path === join(monitJobs, file));
      const [first] = found;
      if (ours.length === 0 && first) {
        throw new ActionError(`monit does not accept '${first.path}', line ${first.line}: ${first.message}`, {
          code: 'E_CONTROL_FILE',
          advice: 'Correct the configuration of monit on the stemcell.',
        });
      }
      for (const { file, line, message } of ours) {
        problems.push({ file, line, message });
        await rename(join(monitJobs, file), join(monitJobs, `${file}${refusedSuffix}`)).catch(ignoreAbsent);
        this.#options.log.error({ file, line, problem: message }, 'a control file cannot be used');
      }
    }
    return problems;
  }

  async #filesOf(suffix: string): Promise<readonly string[]> {
    const names = await readdir(this.#options.layout.monitJobs).catch((error: unknown) => {
      ignoreAbsent(error);
      return [];
    });
    return names.filter((name) => name.endsWith(suffix)).sort();
  }
}

interface Running {
  readonly name: string;
  readonly facts: ProcessFacts;
  readonly isMonitored: boolean;
  readonly service: ControlService | undefined;
}

async function isAlive(facts: ProcessFacts): Promise<boolean> {
  return (await processFacts(facts.pid))?.startTicks === facts.startTicks;
}

function ignoreAbsent(error: unknown): void {
  if (errorCode(error) !== 'ENOENT') throw error;
}
