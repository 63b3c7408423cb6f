import { spawn } from 'node:child_process';
import { OperationalError } from '@microbosh/errors';

export interface RunOptions {
  readonly signal?: AbortSignal;
  /** Default 60 000 ms; the whole process group is killed when it is over. */
  readonly timeoutMs?: number;
  /** Per stream; what exceeds it is cut from the front. Default 1 MiB. */
  readonly maxOutputBytes?: number;
  /** Secrets travel here, never in argv. */
  readonly stdin?: Uint8Array | string;
  /** Replaces the environment, does not extend it. Default: the environment of this process. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Exit codes that are not failures. Default [0]. */
  readonly okExitCodes?: readonly number[];
  /** Called with each chunk of stdout and stderr as it arrives. */
  readonly onOutput?: (stream: 'stdout' | 'stderr', chunk: Buffer) => void;
}

export interface CommandResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

/** The only door to other programs: argv, never a shell. */
export interface CommandRunner {
  /** Rejects with CommandFailed on an exit code that is not ok, on a signal, on time-out and when the program is absent. */
  run(argv: readonly [string, ...string[]], options?: RunOptions): Promise<CommandResult>;
}

export class CommandFailed extends OperationalError {
  readonly code = 'E_COMMAND_FAILED';
  readonly argv: readonly string[];
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;

  constructor(
    argv: readonly string[],
    exitCode: number | null,
    stdout: string,
    stderr: string,
    reason: string,
  ) {
    // The shape that clients of the Go tools know: Running command: '…', stdout: '…', stderr: '…': reason
    super(`Running command: '${argv.join(' ')}', stdout: '${stdout}', stderr: '${stderr}': ${reason}`, {
      details: { command: argv[0] ?? '', exitCode },
    });
    this.argv = argv;
    this.exitCode = exitCode;
    this.stdout = stdout;
    this.stderr = stderr;
  }
}

/** Keeps the last `limit` bytes. */
class Tail {
  #chunks: Buffer[] = [];
  #size = 0;
  readonly #limit: number;
  constructor(limit: number) {
    this.#limit = limit;
  }
  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    while (this.#chunks.length > 1 && this.#size - (this.#chunks[0]?.length ?? 0) >= this.#limit) {
      this.#size -= this.#chunks.shift()?.length ?? 0;
    }
  }
  toString(): string {
    const all = Buffer.concat(this.#chunks);
    return (all.length > this.#limit ? all.subarray(all.length - this.#limit) : all).toString('utf8');
  }
}

export class NodeCommandRunner implements CommandRunner {
  async run(argv: readonly [string, ...string[]], options: RunOptions = {}): Promise<CommandResult> {
    const [program, ...args] = argv;
    const limit = options.maxOutputBytes ?? 1 << 20;
    const stdout = new Tail(limit);
    const stderr = new Tail(limit);
    options.signal?.throwIfAborted();

    const child = spawn(program, args, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      stdio: [options.stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      detached: true,
    });
    const collect = (name: 'stdout' | 'stderr', tail: Tail) => (chunk: Buffer) => {
      tail.push(chunk);
      options.onOutput?.(name, chunk);
    };
    child.stdout?.on('data', collect('stdout', stdout));
    child.stderr?.on('data', collect('stderr', stderr));
    // A program that ends without reading its input is not an error of ours: its exit code tells.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(options.stdin);

    let stopReason: string | undefined;
    const stop = (reason: string) => {
      stopReason ??= reason;
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        // already gone
      }
    };
    const timeoutMs = options.timeoutMs ?? 60_000;
    const timer = setTimeout(() => stop(`timed out after ${timeoutMs} ms`), timeoutMs);
    const onAbort = () => stop('cancelled');
    options.signal?.addEventListener('abort', onAbort, { once: true });

    try {
      const [exitCode, signalName] = await new Promise<[number | null, NodeJS.Signals | null]>(
        (resolve, reject) => {
          child.once('error', (error) => reject(new CommandFailed(argv, null, '', '', error.message)));
          child.once('close', (code, signal) => resolve([code, signal]));
        },
      );
      if (stopReason === 'cancelled') options.signal?.throwIfAborted();
      const ok =
        exitCode !== null && stopReason === undefined && (options.okExitCodes ?? [0]).includes(exitCode);
      if (!ok) {
        const reason = stopReason ?? (exitCode === null ? `signal ${signalName}` : `exit status ${exitCode}`);
        throw new CommandFailed(argv, exitCode, stdout.toString(), stderr.toString(), reason);
      }
      return { stdout: stdout.toString(), stderr: stderr.toString(), exitCode };
    } finally {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', onAbort);
    }
  }
}
