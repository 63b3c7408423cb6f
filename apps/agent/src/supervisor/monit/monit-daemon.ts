import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CommandFailed, type CommandRunner } from '@microbosh/host';
import { ActionError } from '../../errors.ts';
import { readTextIfPresent, statIfPresent } from '../../platform/files.ts';
import { hasUnit, isSystemdRunning, serviceRuns } from '../../platform/service-manager.ts';
import { which } from '../../platform/which.ts';
import type { Log } from '../../ports/log.ts';
import type { Layout } from '../../layout.ts';
import { loadControlFiles } from '../control-files.ts';
import type { ControlProblem } from '../port.ts';
import { processFacts, processOfPidFile } from '../process-table.ts';
import type { MonitPaths } from './monit-files.ts';

export interface MonitDaemonOptions {
  readonly layout: Layout;
  readonly paths: MonitPaths;
  readonly runner: CommandRunner;
  readonly log: Log;
  /** For monit to end when it is asked to, before it is killed. Default 15 000. */
  readonly endTimeoutMs?: number;
}

/** Who keeps monit running. */
type Keeper = 'systemd' | 'runit' | 'agent';

/** systemd runs these through its own notion of the unit; runit through `sv`. */
const defaultPidFiles = ['/run/monit.pid', '/var/run/monit.pid'];
const watchIntervalMs = 1_000;
const startTimeoutMs = 15_000;

/**
 * monit's process. The service manager of the machine keeps it running; where there is none, the agent does: it starts
 * monit in a session of its own, so that it outlives the agent, and starts it again when it ends.
 */
export class MonitDaemon {
  readonly #options: MonitDaemonOptions;
  readonly #stopping = new AbortController();
  #keeper: Keeper = 'agent';
  #watching: Promise<void> | undefined;
  #replacing = false;

  constructor(options: MonitDaemonOptions) {
    this.#options = options;
  }

  async begin(signal?: AbortSignal): Promise<void> {
    this.#keeper = await this.#findKeeper();
    await this.#start(signal);
    if (this.#keeper === 'agent') this.#watching = this.#watch();
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    await this.#watching;
  }

  /** Problems that monit itself finds in its control files. */
  async problems(signal?: AbortSignal): Promise<readonly (ControlProblem & { readonly path: string })[]> {
    try {
      await this.#options.runner.run([await this.#program(), '-t', '-c', this.#options.paths.controlFile], {
        timeoutMs: 30_000,
        ...(signal ? { signal } : {}),
      });
      return [];
    } catch (error) {
      if (!(error instanceof CommandFailed) || error.exitCode === null) throw error;
      const found = parseProblems(`${error.stdout}\n${error.stderr}`);
      if (found.length > 0) return found;
      // It does not say where a dependency is named that is not there.
      const { problems } = await loadControlFiles(this.#options.layout);
      if (problems.length > 0) {
        return problems.map((each) => ({ ...each, path: join(this.#options.layout.monitJobs, each.file) }));
      }
      throw unusable('monit does not accept its control files', error);
    }
  }

  /** Asks it to read its control files anew. */
  async signalReload(): Promise<void> {
    const facts = await this.#process();
    if (!facts) return this.#start();
    try {
      process.kill(facts.pid, 'SIGHUP');
    } catch (error) {
      throw unusable('monit cannot be asked to reload', error);
    }
  }

  /** Ends it and starts it anew; the services go on. */
  async replace(signal?: AbortSignal): Promise<void> {
    const options = { timeoutMs: 60_000, ...(signal ? { signal } : {}) };
    if (this.#keeper === 'systemd') {
      await this.#options.runner.run(['systemctl', 'restart', 'monit.service'], options);
      return;
    }
    if (this.#keeper === 'runit') {
      await this.#options.runner.run(['sv', 'force-restart', 'monit'], options);
      return;
    }
    this.#replacing = true;
    try {
      const facts = await this.#process();
      if (facts) {
        process.kill(facts.pid, 'SIGTERM');
        const deadline = Date.now() + (this.#options.endTimeoutMs ?? 15_000);
        while ((await processFacts(facts.pid))?.startTicks === facts.startTicks) {
          if (Date.now() > deadline) process.kill(facts.pid, 'SIGKILL');
          await sleep(50, undefined, signal ? { signal } : {});
        }
      }
      await this.#start(signal);
    } finally {
      this.#replacing = false;
    }
  }

  async #findKeeper(): Promise<Keeper> {
    if ((await isSystemdRunning()) && (await hasUnit('monit.service'))) return 'systemd';
    const hasRunit = (await which('sv')) !== undefined && (await statIfPresent('/etc/service')) !== undefined;
    if (hasRunit && (await statIfPresent('/etc/service/monit'))) return 'runit';
    return 'agent';
  }

  async #start(signal?: AbortSignal): Promise<void> {
    const options = { timeoutMs: 60_000, ...(signal ? { signal } : {}) };
    if (this.#keeper === 'systemd') {
      if (await serviceRuns('monit.service', 'monit')) return;
      await this.#options.runner.run(['systemctl', 'start', 'monit.service'], options);
    } else if (this.#keeper === 'runit') {
      await this.#options.runner.run(['sv', 'start', 'monit'], options);
    } else if (!(await this.#process())) await this.#spawn();
  }

  async #spawn(): Promise<void> {
    const program = await this.#program();
    const { log, paths } = this.#options;
    const child = spawn('nice', ['-n', '-10', program, '-I', '-c', paths.controlFile], {
      cwd: '/',
      env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', LANG: 'C' },
      stdio: 'ignore',
      detached: true,
    });
    child.once('error', (error) => log.error({ err: error.message }, 'monit does not start'));
    child.unref();
    // It is there when it has written its pid file: until then it is ours to wait for.
    const deadline = Date.now() + startTimeoutMs;
    while (!(await this.#process()) && child.exitCode === null && Date.now() < deadline) await sleep(50);
    if (child.exitCode !== null && !(await this.#process())) {
      log.error({ exitCode: child.exitCode, log: join(paths.dir, 'monit.log') }, 'monit ended at once');
    }
  }

  async #watch(): Promise<void> {
    const { signal } = this.#stopping;
    let delay = watchIntervalMs;
    while (!signal.aborted) {
      await sleep(delay, undefined, { signal }).catch(() => undefined);
      if (signal.aborted || this.#replacing) continue;
      if (await this.#process()) {
        delay = watchIntervalMs;
        continue;
      }
      this.#options.log.warn({}, 'monit has ended; starting it again');
      await this.#spawn().catch((error: unknown) =>
        this.#options.log.error({ err: String(error) }, 'monit does not start'),
      );
      delay = Math.min(delay * 2, 30_000);
    }
  }

  /** The wrapper of the stemcell lets the caller through the firewall; else Debian's own. */
  async #program(): Promise<string> {
    const wrapper = join(this.#options.layout.bosh, 'bin', 'monit');
    if ((await statIfPresent(wrapper))?.isFile()) return wrapper;
    const found = await which('monit');
    if (found !== undefined) return found;
    throw new ActionError('monit is not installed on this machine', {
      code: 'E_SUPERVISOR',
      advice: 'Install the package monit, or start the agent with -M builtin.',
    });
  }

  async #process() {
    const control = (await readTextIfPresent(this.#options.paths.controlFile)) ?? '';
    const named = /^\s*set\s+pidfile\s+(\S+)/m.exec(control)?.[1];
    for (const file of named === undefined ? defaultPidFiles : [named]) {
      const facts = await processOfPidFile(file);
      // A pid file may be older than the machine's last start.
      if (facts && (await isMonit(facts.pid))) return facts;
    }
    return undefined;
  }
}

async function isMonit(pid: number): Promise<boolean> {
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return basename(command.split('\0')[0] ?? '').startsWith('monit');
}

/** Lines `<path>:<line>: <message>` that monit prints about its control files. */
export function parseProblems(output: string): readonly (ControlProblem & { readonly path: string })[] {
  return [...output.matchAll(/^(\/[^\n]*?):(\d+): ([^\n]+)$/gm)].map(([, path = '', line, message = '']) => ({
    path,
    file: basename(path),
    line: Number(line),
    message: message.trim(),
  }));
}

function unusable(message: string, cause: unknown): ActionError {
  return new ActionError(message, {
    code: 'E_SUPERVISOR',
    cause,
    advice: 'Look at monit/monit.log on the VM.',
  });
}
