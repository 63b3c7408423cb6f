import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { dirname, join } from 'node:path';

/** Top of the checkout. */
export const root = dirname(dirname(import.meta.dirname));

export interface Finished {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** stdout and stderr as they came. */
  readonly output: string;
}

export interface Running {
  readonly process: ChildProcess;
  readonly finished: Promise<Finished>;
  /** Resolves when the output so far contains the text; rejects when the program ends without it. */
  printed(text: string): Promise<void>;
}

/** Starts a program of this checkout (`bin/…`) or of the machine. Bounded: killed after `timeoutMs`. */
export function start(
  argv: readonly [string, ...string[]],
  options: {
    readonly env?: Record<string, string | undefined>;
    readonly timeoutMs?: number;
    readonly cwd?: string;
  } = {},
): Running {
  const [program, ...args] = argv;
  const child = spawn(program.startsWith('bin/') ? join(root, program) : program, args, {
    cwd: options.cwd ?? root,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  let output = '';
  const listeners = new Set<() => void>();
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
    output += chunk.toString();
    listeners.forEach((listener) => listener());
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
    output += chunk.toString();
    listeners.forEach((listener) => listener());
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 120_000);
  const finished = new Promise<Finished>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (exitCode, signal) => {
      clearTimeout(timer);
      resolve({ exitCode, signal, stdout, stderr, output });
    });
  });
  const printed = (text: string) =>
    new Promise<void>((resolve, reject) => {
      const look = () => {
        if (!output.includes(text)) return;
        listeners.delete(look);
        resolve();
      };
      listeners.add(look);
      look();
      void finished.then(() => reject(new Error(`ended without printing '${text}':\n${output}`)), reject);
    });
  return { process: child, finished, printed };
}

export async function run(
  argv: readonly [string, ...string[]],
  options: Parameters<typeof start>[1] = {},
): Promise<Finished> {
  return start(argv, options).finished;
}

/** Like `run`, but anything else than exit code 0 is an error that shows the output. */
export async function succeed(
  argv: readonly [string, ...string[]],
  options: Parameters<typeof start>[1] = {},
): Promise<Finished> {
  const result = await run(argv, options);
  if (result.exitCode !== 0) {
    throw new Error(`${argv.join(' ')} ended with ${result.exitCode ?? result.signal}:\n${result.output}`);
  }
  return result;
}
