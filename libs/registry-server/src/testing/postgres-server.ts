import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import type { PoolConfig } from 'pg';

const DEBIAN_ROOT = '/usr/lib/postgresql';

/** Why no PostgreSQL can run here; undefined when one can. */
export function postgresMissing(): string | undefined {
  if (!programs()) return 'PostgreSQL is not installed (apt-get install postgresql)';
  if (process.getuid?.() !== 0) return 'starting PostgreSQL under its own user needs root';
  return undefined;
}

function programs(): string | undefined {
  if (!existsSync(DEBIAN_ROOT)) return undefined;
  const versions = readdirSync(DEBIAN_ROOT).sort((a, b) => Number(b) - Number(a));
  return versions
    .map((version) => join(DEBIAN_ROOT, version, 'bin'))
    .find((path) => existsSync(join(path, 'initdb')));
}

export interface PostgresPlaces {
  /** Directory, on whatever file system, for the data. Default: beside the socket. */
  readonly dataIn?: string;
  /** The same for the write-ahead log. Default: with the data. */
  readonly walIn?: string;
}

/** A real PostgreSQL in a directory of its own, reached through a unix socket there. */
export class PostgresServer {
  readonly directory: string;
  readonly #uid: number;
  readonly #gid: number;
  readonly #bin: string;
  readonly #settings: readonly string[];
  readonly #places: PostgresPlaces;
  #process: ChildProcess | undefined;
  #databases = 0;

  private constructor(settings: readonly string[], places: PostgresPlaces) {
    const bin = programs();
    if (bin === undefined) throw new Error('PostgreSQL is not installed');
    this.#bin = bin;
    this.#settings = settings;
    this.#places = places;
    this.#uid = Number(execFileSync('id', ['-u', 'postgres'], { encoding: 'utf8' }));
    this.#gid = Number(execFileSync('id', ['-g', 'postgres'], { encoding: 'utf8' }));
    this.directory = mkdtempSync(join(tmpdir(), 'microbosh-pg-'));
    for (const directory of [this.directory, places.dataIn, places.walIn]) {
      if (directory !== undefined) chownSync(directory, this.#uid, this.#gid);
    }
  }

  /** `settings` as in postgresql.conf, one `name=value` each. */
  static async start(settings: readonly string[] = [], places: PostgresPlaces = {}): Promise<PostgresServer> {
    const server = new PostgresServer(settings, places);
    execFileSync(
      join(server.#bin, 'initdb'),
      [
        ...['-D', server.#data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8', '-N'],
        ...(places.walIn === undefined ? [] : [`--waldir=${join(places.walIn, 'wal')}`, '--wal-segsize=1']),
      ],
      { ...server.#as(), stdio: 'ignore' },
    );
    await server.up();
    return server;
  }

  get #data(): string {
    return join(this.#places.dataIn ?? this.directory, 'data');
  }

  /** Puts a file where the server can read it, with the mode that it asks for of keys. */
  addFile(name: string, content: string): string {
    const path = join(this.directory, name);
    writeFileSync(path, content, { mode: 0o600 });
    chownSync(path, this.#uid, this.#gid);
    return path;
  }

  async up(): Promise<void> {
    const settings = [
      'listen_addresses=',
      `unix_socket_directories=${this.directory}`,
      'max_connections=100',
    ];
    const child = spawn(
      join(this.#bin, 'postgres'),
      ['-D', this.#data, ...[...settings, ...this.#settings].flatMap((setting) => ['-c', setting])],
      { ...this.#as(), stdio: 'ignore' },
    );
    this.#process = child;
    for (let attempt = 0; ; attempt += 1) {
      const client = new Client(this.connection('postgres'));
      try {
        await client.connect();
        await client.end();
        return;
      } catch (error) {
        if (attempt > 200 || child.exitCode !== null) throw error;
        await sleep(50);
      }
    }
  }

  /** `fast` rolls open transactions back, `immediate` is a crash. */
  async down(mode: 'fast' | 'immediate'): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null) return;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill(mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
    await exited;
    this.#process = undefined;
  }

  connection(database: string): PoolConfig {
    return { host: this.directory, user: 'postgres', database };
  }

  async newDatabase(): Promise<PoolConfig> {
    this.#databases += 1;
    const name = `registry_${this.#databases}`;
    await this.run('postgres', `CREATE DATABASE ${name}`);
    return this.connection(name);
  }

  async run(database: string, sql: string): Promise<Record<string, unknown>[]> {
    const client = new Client(this.connection(database));
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(sql)).rows;
    } finally {
      await client.end();
    }
  }

  async destroy(): Promise<void> {
    await this.down('immediate');
    rmSync(this.directory, { recursive: true, force: true });
  }

  #as(): { uid: number; gid: number; cwd: string } {
    return { uid: this.#uid, gid: this.#gid, cwd: this.directory };
  }
}
