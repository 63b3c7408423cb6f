import { setTimeout as sleep } from 'node:timers/promises';
import { Pool, types } from 'pg';
import type { PoolClient, PoolConfig } from 'pg';
import { errorCode, messageOf } from '@microbosh/errors';
import { StoreFull, StoreUnavailable } from '../../errors.ts';
import type { Row } from '../rows.ts';

export type Parameter =
  string | number | null | Uint8Array | readonly (string | number | null | Uint8Array)[];

const INT8 = 20;
const STREAM_PAGE = 500;
const DISK_FULL = '53100';
/** Connection lost or refused, server starting or stopping, too many connections, deadlock, serialisation. */
const TRANSIENT_SQL_STATE = /^(08...|57P0[1235]|53300|40001|40P01)$/;
const TRANSIENT_SYSTEM_CODE = /^(ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|ENOENT|EHOSTUNREACH|EAI_AGAIN)$/;
const TRANSIENT_MESSAGE =
  /connection terminated|timeout exceeded when trying to connect|not queryable|query read timeout/i;

export interface SessionOptions {
  readonly connection: PoolConfig;
  /** How long an operation goes on trying while the server is away. */
  readonly retryForMs: number;
}

/** A pool of connections; what can be repeated is repeated while the server restarts. */
export class PostgresSession {
  readonly #pool: Pool;
  readonly #retryForMs: number;

  constructor(options: SessionOptions) {
    this.#retryForMs = options.retryForMs;
    this.#pool = new Pool({
      connectionTimeoutMillis: 5_000,
      query_timeout: 15_000,
      keepAlive: true,
      application_name: 'microbosh-registry',
      // An answer means stable storage, whatever the default of this server is.
      options:
        '-c synchronous_commit=on -c statement_timeout=15000 -c idle_in_transaction_session_timeout=60000',
      ...options.connection,
      types: {
        getTypeParser: (oid: number, format?: 'text' | 'binary'): ((text: string) => unknown) =>
          oid === INT8 ? Number : (types.getTypeParser(oid, format) as (text: string) => unknown),
      },
    });
    // An idle connection that breaks has no caller; the next query opens a new one.
    this.#pool.on('error', () => undefined);
    // One that breaks while it is lent out fails its query; the event without a listener would end the process.
    this.#pool.on('connect', (client) => client.on('error', () => undefined));
  }

  /** For statements that may run twice: `name` makes the server keep the plan. */
  async query(name: string, text: string, values: readonly Parameter[] = []): Promise<readonly Row[]> {
    return this.repeat(async () => (await this.#pool.query<Row>({ name, text, values: [...values] })).rows);
  }

  /** Tries again, from the start, as long as the failure is one that passes. `attempt` counts from 1. */
  async repeat<T>(work: (attempt: number) => Promise<T>): Promise<T> {
    const deadlineMs = performance.now() + this.#retryForMs;
    let delayMs = 25;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await work(attempt);
      } catch (error) {
        if (!isTransient(error)) throw classifyPostgresError(error);
        if (performance.now() + delayMs > deadlineMs) throw classifyPostgresError(error);
      }
      await sleep(delayMs * (0.5 + Math.random()));
      delayMs = Math.min(delayMs * 2, 1_000);
    }
  }

  /** One transaction on one connection. Not repeated: the caller knows whether it may be. */
  async transaction<T>(begin: string, work: (client: PoolClient) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect();
    let broken: Error | undefined;
    try {
      await client.query(begin);
      const result = await work(client);
      await client.query('COMMIT');
      return result;
    } catch (error) {
      await client.query('ROLLBACK').catch((failure: unknown) => {
        broken = failure instanceof Error ? failure : new Error(messageOf(failure));
      });
      throw error;
    } finally {
      client.release(broken);
    }
  }

  /** The rows of several queries in one transaction, a page at a time: memory does not grow with the table. */
  async *stream<T>(
    begin: string,
    sources: readonly { readonly sql: string; readonly record: (row: Row) => T }[],
  ): AsyncIterable<T> {
    const client = await this.#pool.connect();
    let finished = false;
    try {
      await client.query(begin);
      for (const { sql, record } of sources) {
        await client.query(`DECLARE page CURSOR FOR ${sql} ORDER BY 1`);
        for (;;) {
          const page = await client.query<Row>(`FETCH ${STREAM_PAGE} FROM page`);
          for (const row of page.rows) yield record(row);
          if (page.rows.length < STREAM_PAGE) break;
        }
        await client.query('CLOSE page');
      }
      await client.query('COMMIT');
      finished = true;
    } catch (error) {
      throw classifyPostgresError(error);
    } finally {
      // A consumer that stops early leaves a transaction open: this connection is not used again.
      client.release(!finished);
    }
  }

  async close(): Promise<void> {
    if (!this.#pool.ending) await this.#pool.end();
  }
}

export function isTransient(error: unknown): boolean {
  const code = errorCode(error) ?? '';
  if (TRANSIENT_SQL_STATE.test(code) || TRANSIENT_SYSTEM_CODE.test(code)) return true;
  return TRANSIENT_MESSAGE.test(messageOf(error));
}

export function classifyPostgresError(error: unknown): unknown {
  if (errorCode(error) === DISK_FULL) {
    return new StoreFull('The database server has no room.', {
      advice: 'Free space on the file system of PostgreSQL.',
      cause: error,
    });
  }
  if (!isTransient(error)) return error;
  return new StoreUnavailable(`The database server cannot be used now: ${messageOf(error)}`, {
    cause: error,
  });
}
