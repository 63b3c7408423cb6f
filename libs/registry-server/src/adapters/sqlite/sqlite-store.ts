import { closeSync, existsSync, mkdirSync, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { SQLInputValue, StatementSync } from 'node:sqlite';
import { SchemaTooNew, StoreUnavailable } from '../../errors.ts';
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
import { CommitQueue } from './commit-queue.ts';
import { ReadQueue } from './read-queue.ts';
import { SQLITE_MIGRATIONS } from './sqlite-schema.ts';
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

export interface SqliteStoreOptions {
  /** File of the database; made with mode 0600 when absent. */
  readonly path: string;
  /** How long a request waits for a lock that another process holds. Default 10 000 ms. */
  readonly lockWaitMs?: number;
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

/** The embedded store: one file, write-ahead log, a commit is on stable storage before it is answered. */
export class SqliteStore implements RegistryStore {
  readonly kind = 'sqlite';
  readonly path: string;
  readonly #database: DatabaseSync;
  readonly #queue: CommitQueue;
  readonly #reads: ReadQueue;
  readonly #lockWaitMs: number;
  readonly #migrations: readonly string[];
  readonly #statements = new Map<string, StatementSync>();

  constructor(options: SqliteStoreOptions) {
    this.path = options.path;
    this.#lockWaitMs = options.lockWaitMs ?? 10_000;
    this.#migrations = options.migrations ?? SQLITE_MIGRATIONS;
    makePrivate(options.path);
    // Until it serves, this connection may wait for a lock inside SQLite; afterwards the queue waits outside.
    this.#database = new DatabaseSync(options.path, { timeout: this.#lockWaitMs });
    this.#database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF;');
    this.#database.exec('PRAGMA busy_timeout = 0');
    this.#queue = new CommitQueue(this.#database, this.#lockWaitMs);
    this.#reads = new ReadQueue(this.#database, this.#lockWaitMs);
  }

  async migrate(): Promise<readonly number[]> {
    return this.#queue.run(() => {
      this.#database.exec(
        'CREATE TABLE IF NOT EXISTS microbosh_registry_schema (version INTEGER NOT NULL PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT',
      );
      const current = this.#get('SELECT coalesce(max(version), 0) AS version FROM microbosh_registry_schema');
      const version = current ? integer(current, 'version') : 0;
      if (version > this.#migrations.length) {
        throw new SchemaTooNew(
          `The database has schema version ${version}, this program knows up to ${this.#migrations.length}.`,
          { advice: 'Run the version of microbosh-registry that made it, or a newer one.' },
        );
      }
      const applied: number[] = [];
      for (const [index, migration] of this.#migrations.entries()) {
        if (index < version) continue;
        this.#database.exec(migration);
        this.#database
          .prepare('INSERT INTO microbosh_registry_schema (version, applied_at) VALUES (?, ?)')
          .run(index + 1, Date.now());
        applied.push(index + 1);
      }
      return applied;
    });
  }

  async ping(): Promise<void> {
    await this.#reads.run(() => this.#get('SELECT 1 AS one FROM microbosh_registry_schema LIMIT 1'));
  }

  async read(instanceId: string): Promise<SealedSettings | undefined> {
    return this.#reads.run(() => this.#readSettings(instanceId));
  }

  async readWithToken(
    instanceId: string,
    tokenHash: string,
  ): Promise<{ readonly token?: TokenRow; readonly settings?: SealedSettings }> {
    return this.#reads.run(() => {
      const row = this.#get(
        `SELECT t.token_hash, t.token_id, t.instance_id, t.created_at AS token_created_at, t.expires_at, t.max_reads,
           t.confirmed_reads, s.sealed, s.key_id, s.etag, s.size_bytes, s.created_at, s.updated_at, s.updated_by
         FROM microbosh_tokens t LEFT JOIN microbosh_settings s ON s.instance_id = t.instance_id
         WHERE t.token_hash = ? AND t.instance_id = ?`,
        tokenHash,
        instanceId,
      );
      return row ? toTokenRead(row) : {};
    });
  }

  async write(write: SettingsWrite): Promise<WriteOutcome> {
    const { row } = write;
    return this.#queue.run((): WriteOutcome => {
      const refusal = this.#refusal(row.instanceId, write);
      if (refusal) return refusal;
      const known = this.#get('SELECT etag FROM microbosh_settings WHERE instance_id = ?', row.instanceId);
      this.#putSettings(row);
      return { kind: 'written', created: known === undefined };
    });
  }

  async remove(removal: SettingsRemoval): Promise<RemoveOutcome> {
    return this.#queue.run((): RemoveOutcome => {
      const refusal = this.#refusal(removal.instanceId, removal);
      if (refusal) return refusal;
      const removed = this.#change(
        'DELETE FROM microbosh_settings WHERE instance_id = ?',
        removal.instanceId,
      );
      for (const table of ['microbosh_tokens', 'microbosh_activity', 'microbosh_leases']) {
        this.#change(`DELETE FROM ${table} WHERE instance_id = ?`, removal.instanceId);
      }
      return { kind: removed > 0 ? 'removed' : 'absent' };
    });
  }

  async list(query: ListQuery): Promise<readonly InstanceSummary[]> {
    return this.#reads.run(() =>
      this.#all(
        `SELECT s.instance_id, s.etag, s.key_id, s.size_bytes, s.created_at, s.updated_at, s.updated_by,
           a.last_read_at, coalesce(a.reads, 0) AS reads, coalesce(a.denied_reads, 0) AS denied_reads,
           (SELECT count(*) FROM microbosh_tokens t WHERE t.instance_id = s.instance_id
              AND (t.expires_at IS NULL OR t.expires_at > :now)
              AND (t.max_reads IS NULL OR t.confirmed_reads < t.max_reads)) AS active_tokens,
           l.owner AS lease_owner, l.exclusive AS lease_exclusive, l.expires_at AS lease_expires_at
         FROM microbosh_settings s
         LEFT JOIN microbosh_activity a ON a.instance_id = s.instance_id
         LEFT JOIN microbosh_leases l ON l.instance_id = s.instance_id AND l.expires_at > :now
         WHERE s.instance_id > :after
           AND (:untouched IS NULL OR max(s.updated_at, coalesce(a.last_read_at, 0)) < :untouched)
         ORDER BY s.instance_id LIMIT :limit`,
        {
          now: query.nowMs,
          after: query.after ?? '',
          untouched: query.untouchedSinceMs ?? null,
          limit: query.limit,
        },
      ).map(toSummary),
    );
  }

  async recordActivity(deltas: readonly ActivityDelta[]): Promise<void> {
    await this.#queue.run(() => deltas.forEach((delta) => this.#addActivity(delta)));
  }

  async addToken(token: TokenRow): Promise<boolean> {
    return this.#queue.run(() => this.#addToken(token));
  }

  async listTokens(instanceId: string): Promise<readonly TokenRow[]> {
    return this.#reads.run(() =>
      this.#all(
        `SELECT ${TOKEN_COLUMNS} FROM microbosh_tokens WHERE instance_id = ? ORDER BY created_at, token_id`,
        instanceId,
      ).map(toToken),
    );
  }

  async removeToken(instanceId: string, tokenId: string): Promise<boolean> {
    return this.#queue.run(
      () =>
        this.#change(
          'DELETE FROM microbosh_tokens WHERE instance_id = ? AND token_id = ?',
          instanceId,
          tokenId,
        ) > 0,
    );
  }

  async confirmRead(confirmation: {
    readonly instanceId: string;
    readonly tokenHash: string;
    readonly etag?: string;
    readonly nowMs: number;
  }): Promise<'confirmed' | 'unusable' | 'stale'> {
    const { instanceId, tokenHash, etag, nowMs } = confirmation;
    return this.#queue.run(() => {
      if (etag !== undefined && this.#etagOf(instanceId) !== etag) return 'stale';
      const counted = this.#change(
        `UPDATE microbosh_tokens SET confirmed_reads = confirmed_reads + 1
         WHERE token_hash = ? AND instance_id = ? AND (expires_at IS NULL OR expires_at > ?)
           AND (max_reads IS NULL OR confirmed_reads < max_reads)`,
        tokenHash,
        instanceId,
        nowMs,
      );
      return counted > 0 ? 'confirmed' : 'unusable';
    });
  }

  async acquireLease(lease: LeaseRow): Promise<{ readonly acquired: boolean; readonly lease: LeaseRow }> {
    return this.#queue.run(() => {
      const held = this.#leaseOf(lease.instanceId, lease.acquiredAtMs);
      if (held && held.nonceHash !== lease.nonceHash) return { acquired: false, lease: held };
      const kept = held ? { ...lease, acquiredAtMs: held.acquiredAtMs } : lease;
      this.#putLease(kept);
      return { acquired: true, lease: kept };
    });
  }

  async readLease(instanceId: string, nowMs: number): Promise<LeaseRow | undefined> {
    return this.#reads.run(() => this.#leaseOf(instanceId, nowMs));
  }

  async releaseLease(instanceId: string, nonceHash: string): Promise<boolean> {
    return this.#queue.run(
      () =>
        this.#change(
          'DELETE FROM microbosh_leases WHERE instance_id = ? AND nonce_hash = ?',
          instanceId,
          nonceHash,
        ) > 0,
    );
  }

  async keyChecks(): Promise<readonly KeyCheck[]> {
    return this.#reads.run(() =>
      this.#all('SELECT key_id, sealed FROM microbosh_keys ORDER BY key_id').map(toKeyCheck),
    );
  }

  async addKeyCheck(check: KeyCheck): Promise<void> {
    await this.#queue.run(() => this.#addKeyCheck(check));
  }

  async sealedWithOtherKeys(
    keyId: string,
    page: { readonly after?: string; readonly limit: number },
  ): Promise<readonly SealedSettings[]> {
    return this.#reads.run(() =>
      this.#all(
        `SELECT ${SETTINGS_COLUMNS} FROM microbosh_settings
         WHERE key_id <> ? AND instance_id > ? ORDER BY instance_id LIMIT ?`,
        keyId,
        page.after ?? '',
        page.limit,
      ).map(toSettings),
    );
  }

  async reseal(rows: readonly SealedSettings[]): Promise<number> {
    return this.#queue.run(() => {
      let count = 0;
      for (const row of rows) {
        count += this.#change(
          'UPDATE microbosh_settings SET sealed = ?, key_id = ? WHERE instance_id = ? AND etag = ?',
          row.sealed,
          row.keyId,
          row.instanceId,
          row.etag,
        );
      }
      return count;
    });
  }

  async sweep(nowMs: number): Promise<{ readonly tokens: number; readonly leases: number }> {
    return this.#queue.run(() => ({
      tokens: this.#change(
        `DELETE FROM microbosh_tokens
         WHERE expires_at <= ? OR (max_reads IS NOT NULL AND confirmed_reads >= max_reads)`,
        nowMs,
      ),
      leases: this.#change('DELETE FROM microbosh_leases WHERE expires_at <= ?', nowMs),
    }));
  }

  async *snapshot(): AsyncIterable<SnapshotRecord> {
    // A second connection: its read transaction sees one instant while this one goes on writing.
    const reader = new DatabaseSync(this.path, { readOnly: true, timeout: this.#lockWaitMs });
    try {
      reader.exec('BEGIN');
      const rows = (table: string, columns: string) =>
        reader.prepare(`SELECT ${columns} FROM ${table} ORDER BY 1`).iterate();
      let pause = 0;
      const breathe = async () => {
        pause += 1;
        if (pause % 200 === 0) await new Promise((resolve) => setImmediate(resolve));
      };
      for (const row of rows('microbosh_keys', 'key_id, sealed')) {
        yield { kind: 'key', key: toKeyCheck(row) };
      }
      for (const row of rows('microbosh_settings', SETTINGS_COLUMNS)) {
        yield { kind: 'settings', settings: toSettings(row) };
        await breathe();
      }
      for (const row of rows('microbosh_activity', 'instance_id, reads, denied_reads, last_read_at')) {
        yield { kind: 'activity', activity: toActivity(row) };
        await breathe();
      }
      for (const row of rows('microbosh_tokens', TOKEN_COLUMNS)) {
        yield { kind: 'token', token: toToken(row) };
        await breathe();
      }
      for (const row of rows('microbosh_leases', LEASE_COLUMNS)) {
        yield { kind: 'lease', lease: toLease(row) };
        await breathe();
      }
    } finally {
      reader.close();
    }
  }

  async load(records: AsyncIterable<SnapshotRecord>, mode: 'replace' | 'merge'): Promise<number> {
    // Everything is collected before the lock is taken: the source may be slow, other writers must not wait for it.
    const all: SnapshotRecord[] = [];
    for await (const record of records) all.push(record);
    return this.#queue.run(() => {
      if (mode === 'replace') TABLES.forEach((table) => this.#change(`DELETE FROM ${table}`));
      let rows = 0;
      for (const record of all) rows += this.#load(record);
      return rows;
    });
  }

  async *originalRows(): AsyncIterable<{ readonly instanceId: string; readonly settings: Uint8Array }> {
    const table = this.#get(
      "SELECT count(*) AS tables FROM sqlite_master WHERE type = 'table' AND name = 'registry_instances'",
    );
    if (!table || integer(table, 'tables') === 0) return;
    const rows = this.#all(
      'SELECT instance_id, CAST(settings AS BLOB) AS settings FROM registry_instances ORDER BY instance_id',
    );
    for (const row of rows) yield { instanceId: text(row, 'instance_id'), settings: bytes(row, 'settings') };
  }

  async close(): Promise<void> {
    await this.#queue.idle();
    if (this.#database.isOpen) this.#database.close();
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (!statement) {
      if (!this.#database.isOpen) throw new StoreUnavailable('The database is closed.');
      statement = this.#database.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #get(sql: string, ...parameters: SQLInputValue[]): Row | undefined {
    return this.#statement(sql).get(...parameters);
  }

  #all(sql: string, ...parameters: SQLInputValue[] | [Record<string, SQLInputValue>]): Row[] {
    const statement = this.#statement(sql);
    const [first] = parameters;
    if (isNamed(first)) return statement.all(first);
    return statement.all(...parameters.filter((value): value is SQLInputValue => !isNamed(value)));
  }

  #change(sql: string, ...parameters: SQLInputValue[]): number {
    return Number(this.#statement(sql).run(...parameters).changes);
  }

  #readSettings(instanceId: string): SealedSettings | undefined {
    const row = this.#get(
      `SELECT ${SETTINGS_COLUMNS} FROM microbosh_settings WHERE instance_id = ?`,
      instanceId,
    );
    return row && toSettings(row);
  }

  #etagOf(instanceId: string): string | undefined {
    const row = this.#get('SELECT etag FROM microbosh_settings WHERE instance_id = ?', instanceId);
    return row && text(row, 'etag');
  }

  #leaseOf(instanceId: string, nowMs: number): LeaseRow | undefined {
    const row = this.#get(
      `SELECT ${LEASE_COLUMNS} FROM microbosh_leases WHERE instance_id = ? AND expires_at > ?`,
      instanceId,
      nowMs,
    );
    return row && toLease(row);
  }

  #refusal(
    instanceId: string,
    request: WriteCondition & { readonly leaseHash?: string; readonly nowMs: number },
  ): Exclude<WriteOutcome, { readonly kind: 'written' }> | undefined {
    const lease = this.#leaseOf(instanceId, request.nowMs);
    if (lease?.exclusive && lease.nonceHash !== request.leaseHash) return { kind: 'leased', lease };
    if (request.ifMatch === undefined && request.ifNoneMatch === undefined) return undefined;
    const currentEtag = this.#etagOf(instanceId);
    if (meetsCondition(request, currentEtag)) return undefined;
    return { kind: 'condition-failed', ...(currentEtag === undefined ? {} : { currentEtag }) };
  }

  #putSettings(row: SealedSettings): void {
    this.#change(
      `INSERT INTO microbosh_settings (${SETTINGS_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (instance_id) DO UPDATE SET sealed = excluded.sealed, key_id = excluded.key_id,
         etag = excluded.etag, size_bytes = excluded.size_bytes, updated_at = excluded.updated_at,
         updated_by = excluded.updated_by`,
      row.instanceId,
      row.sealed,
      row.keyId,
      row.etag,
      row.sizeBytes,
      row.createdAtMs,
      row.updatedAtMs,
      row.updatedBy,
    );
  }

  #addToken(token: TokenRow): boolean {
    const added = this.#change(
      `INSERT INTO microbosh_tokens (${TOKEN_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (token_hash) DO NOTHING`,
      token.tokenHash,
      token.tokenId,
      token.instanceId,
      token.createdAtMs,
      token.expiresAtMs ?? null,
      token.maxReads ?? null,
      token.confirmedReads,
    );
    if (added > 0) return true;
    const holder = this.#get(
      'SELECT instance_id FROM microbosh_tokens WHERE token_hash = ?',
      token.tokenHash,
    );
    return holder !== undefined && text(holder, 'instance_id') === token.instanceId;
  }

  #putLease(lease: LeaseRow): void {
    this.#change(
      `INSERT OR REPLACE INTO microbosh_leases (${LEASE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)`,
      lease.instanceId,
      lease.owner,
      lease.nonceHash,
      lease.exclusive ? 1 : 0,
      lease.acquiredAtMs,
      lease.expiresAtMs,
    );
  }

  #addActivity(delta: ActivityDelta): void {
    this.#change(
      `INSERT INTO microbosh_activity (instance_id, reads, denied_reads, last_read_at)
       SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM microbosh_settings WHERE instance_id = ?1)
       ON CONFLICT (instance_id) DO UPDATE SET reads = reads + excluded.reads,
         denied_reads = denied_reads + excluded.denied_reads,
         last_read_at = nullif(max(coalesce(last_read_at, 0), coalesce(excluded.last_read_at, 0)), 0)`,
      delta.instanceId,
      delta.reads,
      delta.deniedReads,
      delta.lastReadAtMs ?? null,
    );
  }

  #addKeyCheck(check: KeyCheck): void {
    this.#change(
      'INSERT INTO microbosh_keys (key_id, sealed) VALUES (?, ?) ON CONFLICT (key_id) DO NOTHING',
      check.keyId,
      check.sealed,
    );
  }

  #load(record: SnapshotRecord): number {
    switch (record.kind) {
      case 'key':
        this.#addKeyCheck(record.key);
        return 0;
      case 'settings':
        this.#putSettings(record.settings);
        return 1;
      case 'activity':
        this.#addActivity(record.activity);
        return 0;
      case 'token':
        this.#addToken(record.token);
        return 0;
      case 'lease':
        this.#putLease(record.lease);
        return 0;
    }
  }
}

function isNamed(
  value: SQLInputValue | Record<string, SQLInputValue> | undefined,
): value is Record<string, SQLInputValue> {
  return typeof value === 'object' && value !== null && !ArrayBuffer.isView(value);
}

function makePrivate(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  if (!existsSync(path)) closeSync(openSync(path, 'a', 0o600));
  // The log and the shared memory beside it take the mode of the database itself.
  if (!statSync(path).isFile()) throw new StoreUnavailable(`'${path}' is not a file.`);
}
