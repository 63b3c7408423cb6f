import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { call } from '@microbosh/registry-server/testing';
import type { Answer, CallOptions } from '@microbosh/registry-server/testing';

/** As the command's wrapper does: most of a start is compiling. */
const ENVIRONMENT = { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), 'microbosh-compile-cache') };
const MAIN = join(dirname(import.meta.dirname), 'main.ts');

export const ADMIN = 'admin:s3cret';

/** The real program on a configuration of its own. */
export class RegistryProcess {
  readonly directory: string;
  readonly configFile: string;
  readonly port: number;
  readonly scheme: 'http' | 'https';
  readonly #ca: string | undefined;
  readonly #program: string;
  #child: ChildProcess | undefined;
  output = '';

  constructor(
    config: object,
    options: {
      readonly port: number;
      readonly ca?: string;
      readonly directory?: string;
      /** Instead of the sources: the program as it is shipped. */
      readonly program?: string;
    },
  ) {
    this.directory = options.directory ?? mkdtempSync(join(tmpdir(), 'microbosh-registry-'));
    this.configFile = join(this.directory, `registry-${options.port}.yml`);
    this.port = options.port;
    this.scheme = options.ca === undefined ? 'http' : 'https';
    this.#ca = options.ca;
    this.#program = options.program ?? MAIN;
    this.configure(config);
  }

  /** Writes the configuration file; JSON is YAML. */
  configure(config: object): void {
    writeFileSync(this.configFile, JSON.stringify(config), { mode: 0o600 });
  }

  get url(): string {
    return `${this.scheme}://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  async start(): Promise<void> {
    const child = spawn(process.execPath, [this.#program, '-c', this.configFile], {
      env: ENVIRONMENT,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => (this.output = (this.output + chunk.toString()).slice(-20_000)));
    }
    for (let attempt = 0; attempt < 2_000; attempt += 1) {
      if (child.exitCode !== null) throw new Error(`the registry ended: ${this.output}`);
      const answer = await this.call('GET', '/readyz').catch(() => undefined);
      if (answer?.status === 200) return;
      await sleep(5);
    }
    throw new Error(`the registry is not ready: ${this.output}`);
  }

  /** Resolves to the exit code, or the name of the signal. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | string | null> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null;
    const ended = new Promise<number | string | null>((resolve) => {
      child.once('exit', (code, name) => resolve(code ?? name));
    });
    child.kill(signal);
    return ended;
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  call(method: string, path: string, options: CallOptions = {}): Promise<Answer> {
    return call(`${this.url}${path}`, method, {
      ...(this.#ca === undefined ? {} : { ca: this.#ca }),
      ...options,
    });
  }

  /** Runs one command of the program on the same configuration. */
  async command(...args: string[]): Promise<{ readonly exitCode: number | null; readonly output: string }> {
    const child = spawn(process.execPath, [this.#program, ...args, '-c', this.configFile], {
      env: ENVIRONMENT,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
    }
    const exitCode = await new Promise<number | null>((resolve) => child.once('close', resolve));
    return { exitCode, output };
  }

  async destroy(): Promise<void> {
    await this.stop('SIGKILL');
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** A free port of 127.0.0.1. */
export async function freePort(): Promise<number> {
  const { createServer } = await import('node:net');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('a TCP listener has a port');
  return address.port;
}

/** A configuration with one administrator. */
export function baseConfig(port: number, db: object): { http: object; db: object; loglevel: string } {
  return { loglevel: 'warn', http: { address: '127.0.0.1', port, user: 'admin', password: 's3cret' }, db };
}
