import type { PoolClient, PoolConfig } from 'pg';
import { SchemaTooNew } from '../../errors.ts';
import type {
  ActivityDelta,
  InstanceSummary,
  KeyCheck,
  LeaseRow,
  ListQuery,
  RegistryStore,
  RemoveOutcome,
  SealedSettings,
  SettingsRemoval,
  SettingsWrite,
  SnapshotRecord,
  TokenRow,
  WriteCondition,
  WriteOutcome,
} from '../../ports/store.ts';
import { meetsCondition } from '../conditions.ts';
import {
  bytes,
  integer,
  text,
  toActivity,
  toKeyCheck,
  toLease,
  toSettings,
  toSummary,
  toToken,
  toTokenRead,
} from '../rows.ts';
import type { Row } from '../rows.ts';
import { POSTGRES_MIGRATIONS } from './postgres-schema.ts';
import { PostgresSession, classifyPostgresError } from './postgres-session.ts';
import type { Parameter } from './postgres-session.ts';

export interface PostgresStoreOptions {
  /** Options of `pg`: host, port, user, password, database, ssl, max … */
  readonly connection: PoolConfig;
  /** How long a request waits for a server that is away. Default 10 000 ms. */
  readonly retryForMs?: number;
  /** Default: the newest version that this program knows. */
  readonly migrations?: readonly string[];
}

const SETTINGS_COLUMNS = 'instance_id, sealed, key_id, etag, size_bytes, created_at, updated_at, updated_by';
const TOKEN_COLUMNS = 'token_hash, token_id, instance_id, created_at, expires_at, max_reads, confirmed_reads';
const LEASE_COLUMNS = 'instance_id, owner, nonce_hash, exclusive, acquired_at, expires_at';
const TABLES = [
  'microbosh_settings',
  'microbosh_activity',
  'microbosh_tokens',
  'microbosh_leases',
  'microbosh_keys',
] as const;
/** Any number that is ours: registries that start together migrate one after the other. */
const MIGRATION_LOCK = 7_306_225_777;
const PAGE = 500;

const SNAPSHOT_SOURCES: readonly { readonly sql: string; readonly record: (row: Row) => SnapshotRecord }[] = [
  {
    sql: 'SELECT key_id, sealed FROM microbosh_keys',
    record: (row) => ({ kind: 'key', key: toKeyCheck(row) }),
  },
  {
    sql: `SELECT ${SETTINGS_COLUMNS} FROM microbosh_settings`,
    record: (row) => ({ kind: 'settings', settings: toSettings(row) }),
  },
  {
    sql: 'SELECT instance_id, reads, denied_reads, last_read_at FROM microbosh_activity',
    record: (row) => ({ kind: 'activity', activity: toActivity(row) }),
  },
  {
    sql: `SELECT ${TOKEN_COLUMNS} FROM microbosh_tokens`,
    record: (row) => ({ kind: 'token', token: toToken(row) }),
  },
  {
    sql: `SELECT ${LEASE_COLUMNS} FROM microbosh_leases`,
    record: (row) => ({ kind: 'lease', lease: toLease(row) }),
  },
];

/** The store for fleets: any number of registry processes share one PostgreSQL. */
export class PostgresStore implements RegistryStore {
  readonly kind = 'postgres';
  readonly #session: PostgresSession;
  readonly #migrations: readonly string[];

  constructor(options: PostgresStoreOptions) {
    this.#session = new PostgresSession({
      connection: options.connection,
      retryForMs: options.retryForMs ?? 10_000,
    });
    this.#migrations = options.migrations ?? POSTGRES_MIGRATIONS;
  }

  async migrate(): Promise<readonly number[]> {
    return this.#session.repeat(() => this.#migrate());
  }

  async #migrate(): Promise<readonly number[]> {
    return this.#session.transaction('BEGIN', async (client) => {
      await client.query('SELECT pg_advisory_xact_lock($1)', [MIGRATION_LOCK]);
      await client.query(
        'CREATE TABLE IF NOT EXISTS microbosh_registry_schema (version INTEGER NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)',
      );
      const current = await client.query<Row>(
        'SELECT coalesce(max(version), 0) AS version FROM microbosh_registry_schema',
      );
      const version = current.rows[0] ? integer(current.rows[0], 'version') : 0;
      if (version > this.#migrations.length) {
        throw new SchemaTooNew(
          `The database has schema version ${version}, this program knows up to ${this.#migrations.length}.`,
          { advice: 'Run the version of microbosh-registry that made it, or a newer one.' },
        );
      }
      const applied: number[] = [];
      for (const [index, migration] of this.#migrations.entries()) {
        if (index < version) continue;
        await client.query(migration);
        await client.query('INSERT INTO microbosh_registry_schema (version, applied_at) VALUES ($1, $2)', [
          index + 1,
          Date.now(),
        ]);
        applied.push(index + 1);
      }
      return applied;
    });
  }

  async ping(): Promise<void> {
    await this.#session.query('ping', 'SELECT 1 FROM microbosh_registry_schema LIMIT 1');
  }

  async read(instanceId: string): Promise<SealedSettings | undefined> {
    const [row] = await this.#session.query(
      'read',
      `SELECT ${SETTINGS_COLUMNS} FROM microbosh_settings WHERE instance_id = $1`,
      [instanceId],
    );
    return row && toSettings(row);
  }

  async readWithToken(
    instanceId: string,
    tokenHash: string,
  ): Promise<{ readonly token?: TokenRow; readonly settings?: SealedSettings }> {
    const [row] = await this.#session.query(
      'read-with-token',
      `SELECT t.token_hash, t.token_id, t.instance_id, t.created_at AS token_created_at, t.expires_at, t.max_reads,
         t.confirmed_reads, s.sealed, s.key_id, s.etag, s.size_bytes, s.created_at, s.updated_at, s.updated_by
       FROM microbosh_tokens t LEFT JOIN microbosh_settings s ON s.instance_id = t.instance_id
       WHERE t.token_hash = $1 AND t.instance_id = $2`,
      [tokenHash, instanceId],
    );
    return row ? toTokenRead(row) : {};
  }

  async write(write: SettingsWrite): Promise<WriteOutcome> {
    const { row } = write;
    const [written] = await this.#session.query(
      'write',
      `INSERT INTO microbosh_settings AS s (${SETTINGS_COLUMNS})
       SELECT $1, $2, $3, $4, $5::bigint, $6::bigint, $7::bigint, $8
       WHERE NOT EXISTS (SELECT 1 FROM microbosh_leases l WHERE l.instance_id = $1 AND l.exclusive = 1
           AND l.expires_at > $9 AND l.nonce_hash IS DISTINCT FROM $10)
         AND ($11::text[] IS NULL OR EXISTS (SELECT 1 FROM microbosh_settings c WHERE c.instance_id = $1
           AND ($11 = '{*}' OR c.etag = ANY ($11))))
         AND ($12::text[] IS NULL OR NOT EXISTS (SELECT 1 FROM microbosh_settings c WHERE c.instance_id = $1
           AND ($12 = '{*}' OR c.etag = ANY ($12))))
       ON CONFLICT (instance_id) DO UPDATE SET sealed = excluded.sealed, key_id = excluded.key_id,
         etag = excluded.etag, size_bytes = excluded.size_bytes, updated_at = excluded.updated_at,
         updated_by = excluded.updated_by
         WHERE ($11 IS NULL OR $11 = '{*}' OR s.etag = ANY ($11))
           AND ($12 IS NULL OR ($12 <> '{*}' AND s.etag <> ALL ($12)))
       RETURNING (xmax = 0)::int AS created`,
      [
        row.instanceId,
        row.sealed,
        row.keyId,
        row.etag,
        row.sizeBytes,
        row.createdAtMs,
        row.updatedAtMs,
        row.updatedBy,
        write.nowMs,
        write.leaseHash ?? null,
        tags(write.ifMatch),
        tags(write.ifNoneMatch),
      ],
    );
    if (written) return { kind: 'written', created: integer(written, 'created') === 1 };
    const refusal = await this.#refusal(row.instanceId, write);
    // The answer to a commit was lost and the statement ran again: the row has our etag already.
    if (refusal.kind === 'condition-failed' && refusal.currentEtag === row.etag) {
      return { kind: 'written', created: false };
    }
    return refusal;
  }

  async remove(removal: SettingsRemoval): Promise<RemoveOutcome> {
    return this.#session.repeat((attempt) =>
      this.#session.transaction('BEGIN', async (client): Promise<RemoveOutcome> => {
        // The lock on the row orders this removal with writes of the same instance.
        const locked = await client.query<Row>(
          'SELECT etag FROM microbosh_settings WHERE instance_id = $1 FOR UPDATE',
          [removal.instanceId],
        );
        const currentEtag = locked.rows[0] && text(locked.rows[0], 'etag');
        const lease = await client.query<Row>(
          `SELECT ${LEASE_COLUMNS} FROM microbosh_leases
           WHERE instance_id = $1 AND exclusive = 1 AND expires_at > $2 AND nonce_hash IS DISTINCT FROM $3`,
          [removal.instanceId, removal.nowMs, removal.leaseHash ?? null],
        );
        if (lease.rows[0]) return { kind: 'leased', lease: toLease(lease.rows[0]) };
        // On a second attempt an absent row is one that the first attempt has removed.
        if (!meetsCondition(removal, currentEtag) && (attempt === 1 || currentEtag !== undefined)) {
          return { kind: 'condition-failed', ...(currentEtag === undefined ? {} : { currentEtag }) };
        }
        for (const table of ['settings', 'tokens', 'activity', 'leases']) {
          await client.query(`DELETE FROM microbosh_${table} WHERE instance_id = $1`, [removal.instanceId]);
        }
        return { kind: currentEtag === undefined ? 'absent' : 'removed' };
      }),
    );
  }

  async list(query: ListQuery): Promise<readonly InstanceSummary[]> {
    const rows = await this.#session.query(
      'list',
      `SELECT s.instance_id, s.etag, s.key_id, s.size_bytes, s.created_at, s.updated_at, s.updated_by,
         a.last_read_at, coalesce(a.reads, 0) AS reads, coalesce(a.denied_reads, 0) AS denied_reads,
         (SELECT count(*) FROM microbosh_tokens t WHERE t.instance_id = s.instance_id
            AND (t.expires_at IS NULL OR t.expires_at > $1)
            AND (t.max_reads IS NULL OR t.confirmed_reads < t.max_reads)) AS active_tokens,
         l.owner AS lease_owner, l.exclusive AS lease_exclusive, l.expires_at AS lease_expires_at
       FROM microbosh_settings s
       LEFT JOIN microbosh_activity a ON a.instance_id = s.instance_id
       LEFT JOIN microbosh_leases l ON l.instance_id = s.instance_id AND l.expires_at > $1
       WHERE s.instance_id > $2
         AND ($3::bigint IS NULL OR greatest(s.updated_at, coalesce(a.last_read_at, 0)) < $3)
       ORDER BY s.instance_id LIMIT $4`,
      [query.nowMs, query.after ?? '', query.untouchedSinceMs ?? null, query.limit],
    );
    return rows.map(toSummary);
  }

  async recordActivity(deltas: readonly ActivityDelta[]): Promise<void> {
    await this.#transaction('BEGIN', (client) => addActivity(client, deltas));
  }

  async addToken(token: TokenRow): Promise<boolean> {
    await this.#session.query(
      'add-token',
      `INSERT INTO microbosh_tokens (${TOKEN_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)
       ON CONFLICT (token_hash) DO NOTHING`,
      tokenValues(token),
    );
    const [holder] = await this.#session.query(
      'token-holder',
      'SELECT instance_id FROM microbosh_tokens WHERE token_hash = $1',
      [token.tokenHash],
    );
    return holder !== undefined && text(holder, 'instance_id') === token.instanceId;
  }

  async listTokens(instanceId: string): Promise<readonly TokenRow[]> {
    const rows = await this.#session.query(
      'list-tokens',
      `SELECT ${TOKEN_COLUMNS} FROM microbosh_tokens WHERE instance_id = $1 ORDER BY created_at, token_id`,
      [instanceId],
    );
    return rows.map(toToken);
  }

  async removeToken(instanceId: string, tokenId: string): Promise<boolean> {
    const rows = await this.#session.query(
      'remove-token',
      'DELETE FROM microbosh_tokens WHERE instance_id = $1 AND token_id = $2 RETURNING token_id',
      [instanceId, tokenId],
    );
    return rows.length > 0;
  }

  async confirmRead(confirmation: {
    readonly instanceId: string;
    readonly tokenHash: string;
    readonly etag?: string;
    readonly nowMs: number;
  }): Promise<'confirmed' | 'unusable' | 'stale'> {
    const { instanceId, tokenHash, etag, nowMs } = confirmation;
    const counted = await this.#session.query(
      'confirm-read',
      `UPDATE microbosh_tokens t SET confirmed_reads = confirmed_reads + 1
       WHERE token_hash = $1 AND instance_id = $2 AND (expires_at IS NULL OR expires_at > $3)
         AND (max_reads IS NULL OR confirmed_reads < max_reads)
         AND ($4::text IS NULL OR EXISTS (SELECT 1 FROM microbosh_settings s
           WHERE s.instance_id = t.instance_id AND s.etag = $4))
       RETURNING token_id`,
      [tokenHash, instanceId, nowMs, etag ?? null],
    );
    if (counted.length > 0) return 'confirmed';
    if (etag === undefined) return 'unusable';
    return (await this.read(instanceId))?.etag === etag ? 'unusable' : 'stale';
  }

  async acquireLease(lease: LeaseRow): Promise<{ readonly acquired: boolean; readonly lease: LeaseRow }> {
    const [row] = await this.#session.query(
      'acquire-lease',
      `INSERT INTO microbosh_leases AS l (${LEASE_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6)
       ON CONFLICT (instance_id) DO UPDATE SET owner = excluded.owner, nonce_hash = excluded.nonce_hash,
         exclusive = excluded.exclusive, expires_at = excluded.expires_at,
         acquired_at = CASE WHEN l.expires_at > excluded.acquired_at THEN l.acquired_at ELSE excluded.acquired_at END
         WHERE l.nonce_hash = excluded.nonce_hash OR l.expires_at <= excluded.acquired_at
       RETURNING ${LEASE_COLUMNS}`,
      leaseValues(lease),
    );
    if (row) return { acquired: true, lease: toLease(row) };
    const held = await this.readLease(lease.instanceId, lease.acquiredAtMs);
    // Released between the two statements: take it now.
    return held ? { acquired: false, lease: held } : this.acquireLease(lease);
  }

  async readLease(instanceId: string, nowMs: number): Promise<LeaseRow | undefined> {
    const [row] = await this.#session.query(
      'read-lease',
      `SELECT ${LEASE_COLUMNS} FROM microbosh_leases WHERE instance_id = $1 AND expires_at > $2`,
      [instanceId, nowMs],
    );
    return row && toLease(row);
  }

  async releaseLease(instanceId: string, nonceHash: string): Promise<boolean> {
    const rows = await this.#session.query(
      'release-lease',
      'DELETE FROM microbosh_leases WHERE instance_id = $1 AND nonce_hash = $2 RETURNING instance_id',
      [instanceId, nonceHash],
    );
    return rows.length > 0;
  }

  async keyChecks(): Promise<readonly KeyCheck[]> {
    const rows = await this.#session.query(
      'key-checks',
      'SELECT key_id, sealed FROM microbosh_keys ORDER BY key_id',
    );
    return rows.map(toKeyCheck);
  }

  async addKeyCheck(check: KeyCheck): Promise<void> {
    await this.#session.query(
      'add-key-check',
      'INSERT INTO microbosh_keys (key_id, sealed) VALUES ($1, $2) ON CONFLICT (key_id) DO NOTHING',
      [check.keyId, check.sealed],
    );
  }

  async sealedWithOtherKeys(
    keyId: string,
    page: { readonly after?: string; readonly limit: number },
  ): Promise<readonly SealedSettings[]> {
    const rows = await this.#session.query(
      'sealed-with-other-keys',
      `SELECT ${SETTINGS_COLUMNS} FROM microbosh_settings
       WHERE key_id <> $1 AND instance_id > $2 ORDER BY instance_id LIMIT $3`,
      [keyId, page.after ?? '', page.limit],
    );
    return rows.map(toSettings);
  }

  async reseal(rows: readonly SealedSettings[]): Promise<number> {
    const changed = await this.#session.query(
      'reseal',
      `UPDATE microbosh_settings s SET sealed = n.sealed, key_id = n.key_id
       FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[]) AS n (instance_id, etag, sealed, key_id)
       WHERE s.instance_id = n.instance_id AND s.etag = n.etag RETURNING 1 AS one`,
      [
        rows.map((row) => row.instanceId),
        rows.map((row) => row.etag),
        rows.map((row) => Buffer.from(row.sealed)),
        rows.map((row) => row.keyId),
      ],
    );
    return changed.length;
  }

  async sweep(nowMs: number): Promise<{ readonly tokens: number; readonly leases: number }> {
    const tokens = await this.#session.query(
      'sweep-tokens',
      `DELETE FROM microbosh_tokens
       WHERE expires_at <= $1 OR (max_reads IS NOT NULL AND confirmed_reads >= max_reads) RETURNING 1 AS one`,
      [nowMs],
    );
    const leases = await this.#session.query(
      'sweep-leases',
      'DELETE FROM microbosh_leases WHERE expires_at <= $1 RETURNING 1 AS one',
      [nowMs],
    );
    return { tokens: tokens.length, leases: leases.length };
  }

  async *snapshot(): AsyncIterable<SnapshotRecord> {
    yield* this.#session.stream('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY', SNAPSHOT_SOURCES);
  }

  async load(records: AsyncIterable<SnapshotRecord>, mode: 'replace' | 'merge'): Promise<number> {
    return this.#transaction('BEGIN', async (client) => {
      // Writers wait for the end of the load, readers go on with what was there before.
      await client.query(`LOCK TABLE ${TABLES.join(', ')} IN EXCLUSIVE MODE`);
      if (mode === 'replace') for (const table of TABLES) await client.query(`DELETE FROM ${table}`);
      let count = 0;
      for await (const record of records) count += await load(client, record);
      return count;
    });
  }

  async *originalRows(): AsyncIterable<{ readonly instanceId: string; readonly settings: Uint8Array }> {
    const [table] = await this.#session.query(
      'original-table',
      "SELECT (to_regclass('registry_instances') IS NOT NULL)::int AS present",
    );
    if (!table || integer(table, 'present') === 0) return;
    yield* this.#session.stream('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY', [
      {
        sql: `SELECT instance_id, convert_to(settings, 'UTF8') AS settings FROM registry_instances`,
        record: (row: Row) => ({ instanceId: text(row, 'instance_id'), settings: bytes(row, 'settings') }),
      },
    ]);
  }

  async close(): Promise<void> {
    await this.#session.close();
  }

  /** The failures of transactions, in the words of the store. */
  async #transaction<T>(begin: string, work: (client: PoolClient) => Promise<T>): Promise<T> {
    try {
      return await this.#session.transaction(begin, work);
    } catch (error) {
      throw classifyPostgresError(error);
    }
  }

  async #refusal(
    instanceId: string,
    request: WriteCondition & { readonly leaseHash?: string; readonly nowMs: number },
  ): Promise<Exclude<WriteOutcome, { readonly kind: 'written' }>> {
    const lease = await this.readLease(instanceId, request.nowMs);
    if (lease?.exclusive && lease.nonceHash !== request.leaseHash) return { kind: 'leased', lease };
    const currentEtag = (await this.read(instanceId))?.etag;
    return { kind: 'condition-failed', ...(currentEtag === undefined ? {} : { currentEtag }) };
  }
}

function tags(wanted: readonly string[] | '*' | undefined): readonly string[] | null {
  return wanted === undefined ? null : wanted === '*' ? ['*'] : wanted;
}

function tokenValues(token: TokenRow): Parameter[] {
  return [
    token.tokenHash,
    token.tokenId,
    token.instanceId,
    token.createdAtMs,
    token.expiresAtMs ?? null,
    token.maxReads ?? null,
    token.confirmedReads,
  ];
}

function leaseValues(lease: LeaseRow): Parameter[] {
  return [
    lease.instanceId,
    lease.owner,
    lease.nonceHash,
    lease.exclusive ? 1 : 0,
    lease.acquiredAtMs,
    lease.expiresAtMs,
  ];
}

async function addActivity(client: PoolClient, deltas: readonly ActivityDelta[]): Promise<void> {
  for (let start = 0; start < deltas.length; start += PAGE) {
    const page = deltas.slice(start, start + PAGE);
    await client.query({
      name: 'add-activity',
      text: `INSERT INTO microbosh_activity AS a (instance_id, reads, denied_reads, last_read_at)
         SELECT n.* FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
           AS n (instance_id, reads, denied_reads, last_read_at)
         WHERE EXISTS (SELECT 1 FROM microbosh_settings s WHERE s.instance_id = n.instance_id)
         ON CONFLICT (instance_id) DO UPDATE SET reads = a.reads + excluded.reads,
           denied_reads = a.denied_reads + excluded.denied_reads,
           last_read_at = greatest(a.last_read_at, excluded.last_read_at)`,
      values: [
        page.map((delta) => delta.instanceId),
        page.map((delta) => delta.reads),
        page.map((delta) => delta.deniedReads),
        page.map((delta) => delta.lastReadAtMs ?? null),
      ],
    });
  }
}

async function load(client: PoolClient, record: SnapshotRecord): Promise<number> {
  switch (record.kind) {
    case 'key':
      await client.query({
        name: 'load-key',
        text: 'INSERT INTO microbosh_keys (key_id, sealed) VALUES ($1, $2) ON CONFLICT (key_id) DO NOTHING',
        values: [record.key.keyId, record.key.sealed],
      });
      return 0;
    case 'settings': {
      const row = record.settings;
      await client.query({
        name: 'load-settings',
        text: `INSERT INTO microbosh_settings (${SETTINGS_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
          ON CONFLICT (instance_id) DO UPDATE SET sealed = excluded.sealed, key_id = excluded.key_id,
            etag = excluded.etag, size_bytes = excluded.size_bytes, updated_at = excluded.updated_at,
            updated_by = excluded.updated_by`,
        values: [
          row.instanceId,
          row.sealed,
          row.keyId,
          row.etag,
          row.sizeBytes,
          row.createdAtMs,
          row.updatedAtMs,
          row.updatedBy,
        ],
      });
      return 1;
    }
    case 'activity':
      await addActivity(client, [record.activity]);
      return 0;
    case 'token':
      await client.query({
        name: 'load-token',
        text: `INSERT INTO microbosh_tokens (${TOKEN_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)
          ON CONFLICT (token_hash) DO NOTHING`,
        values: tokenValues(record.token),
      });
      return 0;
    case 'lease':
      await client.query({
        name: 'load-lease',
        text: `INSERT INTO microbosh_leases (${LEASE_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6)
          ON CONFLICT (instance_id) DO UPDATE SET owner = excluded.owner, nonce_hash = excluded.nonce_hash,
            exclusive = excluded.exclusive, acquired_at = excluded.acquired_at, expires_at = excluded.expires_at`,
        values: leaseValues(record.lease),
      });
      return 0;
  }
}
