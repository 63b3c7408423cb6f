import { spawn, type ChildProcess } from 'node:child_process';
import { writeSync } from 'node:fs';
import { access, mkdir, open } from 'node:fs/promises';
import { constants, setPriority } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ActionError } from '../errors.ts';
import type { Layout } from '../layout.ts';
import type { Log } from '../ports/log.ts';

export const scriptPath = '/usr/sbin:/usr/bin:/sbin:/bin';

/** A script that never ends would keep the deployment for ever. */
const timeLimitMs = 6 * 3_600_000;
/** Between TERM and KILL. */
const graceMs = 10_000;

export interface ScriptResult {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ScriptRun {
  readonly argv: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** Output is also appended here, when given. */
  readonly logs?: { readonly dir: string; readonly name: string };
  /** Output kept in memory per stream; default none. */
  readonly keepBytes?: number;
  /** Default six hours. */
  readonly timeLimitMs?: number;
}

/** Runs a job's script in its own process group, with lower priority; TERM, 10 s, KILL when it is cancelled. */
export async function runScript(run: ScriptRun): Promise<ScriptResult> {
  run.signal?.throwIfAborted();
  const files = run.logs && (await openLogs(run.logs));
  const keep = { stdout: new Kept(run.keepBytes ?? 0), stderr: new Kept(run.keepBytes ?? 0) };
  try {
    const [program, ...args] = run.argv;
    // Without a need to read it, output goes straight to the log: a daemon that a script leaves may go on writing.
    const direct = run.keepBytes === undefined && files ? files : undefined;
    const child = spawn(program, args, {
      env: { ...run.env },
      stdio: ['ignore', direct?.stdout.fd ?? 'pipe', direct?.stderr.fd ?? 'pipe'],
      detached: true,
    });
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream]?.on('data', (chunk: Buffer) => {
        keep[stream].push(chunk);
        if (files) writeSync(files[stream].fd, chunk);
      });
    }
    const [exitCode, signal] = await ended(child, run.timeLimitMs ?? timeLimitMs, run.signal);
    child.stdout?.destroy();
    child.stderr?.destroy();
    return { exitCode, signal, stdout: keep.stdout.toString(), stderr: keep.stderr.toString() };
  } finally {
    await files?.stdout.close();
    await files?.stderr.close();
  }
}

async function ended(
  child: ChildProcess,
  limitMs: number,
  cancel: AbortSignal | undefined,
): Promise<[number | null, NodeJS.Signals | null]> {
  if (child.pid !== undefined) lowerPriority(child.pid);
  const stop = () => void terminateGroup(child.pid);
  const timer = setTimeout(stop, limitMs);
  cancel?.addEventListener('abort', stop, { once: true });
  try {
    return await new Promise((resolve, reject) => {
      child.once('error', reject);
      // A daemon that inherited the pipes must not keep us: what counts is the script's own end.
      child.once('exit', (code, name) => {
        const done = () => resolve([code, name]);
        child.once('close', done);
        setTimeout(done, 500).unref();
      });
    });
  } finally {
    clearTimeout(timer);
    cancel?.removeEventListener('abort', stop);
  }
}

/** One life cycle script of every job that has it, all at once. Text of failures as the original's. */
export async function runLifecycleScripts(options: {
  readonly layout: Layout;
  readonly jobs: readonly string[];
  readonly name: string;
  readonly env: Readonly<Record<string, string>>;
  readonly log: Log;
  readonly signal?: AbortSignal;
}): Promise<void> {
  const { layout, name } = options;
  if (!/^[A-Za-z0-9._-]+$/.test(name)) {
    throw new ActionError(`'${name}' cannot be the name of a script`, { code: 'E_SCRIPT' });
  }
  const present: string[] = [];
  for (const job of options.jobs) if (await exists(join(layout.jobs, job, 'bin', name))) present.push(job);
  const outcomes = await Promise.all(
    present.map(async (job) => {
      const startedAt = performance.now();
      try {
        const result = await runScript({
          argv: [join(layout.jobs, job, 'bin', name)],
          env: { ...inherited(), PATH: scriptPath, ...options.env },
          logs: { dir: join(layout.logs, job), name },
          ...(options.signal ? { signal: options.signal } : {}),
        });
        const durationMs = Math.round(performance.now() - startedAt);
        options.log.info({ job, script: name, exitCode: result.exitCode, durationMs }, 'script ended');
        return { job, ok: result.exitCode === 0 };
      } catch (error) {
        options.log.error({ job, script: name, err: String(error) }, 'script could not run');
        return { job, ok: false };
      }
    }),
  );
  const failed = outcomes.filter(({ ok }) => !ok).map(({ job }) => job);
  if (failed.length === 0) return;
  const passed = outcomes.filter(({ ok }) => ok).map(({ job }) => job);
  throw new ActionError(
    `${failed.length} of ${outcomes.length} ${name} scripts failed. Failed Jobs: ${failed.join(', ')}.${passed.length > 0 ? ` Successful Jobs: ${passed.join(', ')}.` : ''}`,
    {
      code: 'E_SCRIPT_FAILED',
      advice: `Their output is in ${layout.base}/sys/log/<job>/${name}.{stdout,stderr}.log on the VM.`,
    },
  );
}

export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

export function inherited(): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && !name.startsWith('NODE_')) env[name] = value;
  }
  return env;
}

async function openLogs(logs: { readonly dir: string; readonly name: string }) {
  await mkdir(logs.dir, { recursive: true, mode: 0o750 });
  const append = async (stream: string) => {
    const file = await open(join(logs.dir, `${logs.name}.${stream}.log`), 'a', 0o640);
    await file.chmod(0o640);
    return file;
  };
  return { stdout: await append('stdout'), stderr: await append('stderr') };
}

function lowerPriority(pid: number): void {
  try {
    setPriority(pid, Math.min(5, constants.priority.PRIORITY_LOW));
  } catch {
    // Ended already, or not allowed: the priority is a courtesy.
  }
}

async function terminateGroup(pid: number | undefined): Promise<void> {
  if (pid === undefined) return;
  signalGroup(pid, 'SIGTERM');
  await sleep(graceMs, undefined, { ref: false });
  signalGroup(pid, 'SIGKILL');
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // The group has ended.
  }
}

/** The last `limit` bytes. */
class Kept {
  #content = Buffer.alloc(0);
  readonly #limit: number;
  constructor(limit: number) {
    this.#limit = limit;
  }
  push(chunk: Buffer): void {
    if (this.#limit === 0) return;
    this.#content = Buffer.concat([this.#content, chunk]);
    if (this.#content.length > this.#limit)
      this.#content = this.#content.subarray(this.#content.length - this.#limit);
  }
  toString(): string {
    return this.#content.toString('utf8');
  }
}
