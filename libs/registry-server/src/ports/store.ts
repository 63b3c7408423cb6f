/** Times are milliseconds since the epoch everywhere in the store. */
export interface SealedSettings {
  readonly instanceId: string;
  /** Nonce, cipher text and tag; or the plain bytes when `keyId` is `PLAIN_KEY_ID`. */
  readonly sealed: Uint8Array;
  readonly keyId: string;
  /** New with every write, kept by a change of key. */
  readonly etag: string;
  /** Of the document in clear. */
  readonly sizeBytes: number;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  /** Who wrote it: the name of the identity. */
  readonly updatedBy: string;
}

/** `If-Match` and `If-None-Match` of a write. `*` matches any existing row. */
export interface WriteCondition {
  readonly ifMatch?: readonly string[] | '*';
  readonly ifNoneMatch?: readonly string[] | '*';
}

export interface SettingsWrite extends WriteCondition {
  readonly row: SealedSettings;
  /** SHA-256 of the nonce of the lease under which the caller writes. */
  readonly leaseHash?: string;
  readonly nowMs: number;
}

export interface SettingsRemoval extends WriteCondition {
  readonly instanceId: string;
  readonly leaseHash?: string;
  readonly nowMs: number;
}

export interface LeaseRow {
  readonly instanceId: string;
  readonly owner: string;
  /** SHA-256 of the nonce, hexadecimal. */
  readonly nonceHash: string;
  /** An exclusive lease also refuses writes that do not name it. */
  readonly exclusive: boolean;
  readonly acquiredAtMs: number;
  readonly expiresAtMs: number;
}

export type WriteOutcome =
  | { readonly kind: 'written'; readonly created: boolean }
  | { readonly kind: 'condition-failed'; readonly currentEtag?: string }
  | { readonly kind: 'leased'; readonly lease: LeaseRow };

export type RemoveOutcome =
  | { readonly kind: 'removed' | 'absent' }
  | { readonly kind: 'condition-failed'; readonly currentEtag?: string }
  | { readonly kind: 'leased'; readonly lease: LeaseRow };

/** A read token. The token itself is never stored, only its SHA-256. */
export interface TokenRow {
  readonly tokenHash: string;
  readonly tokenId: string;
  readonly instanceId: string;
  readonly createdAtMs: number;
  readonly expiresAtMs?: number;
  /** How many confirmed reads it is good for. */
  readonly maxReads?: number;
  readonly confirmedReads: number;
}

export interface ActivityDelta {
  readonly instanceId: string;
  readonly reads: number;
  readonly deniedReads: number;
  readonly lastReadAtMs?: number;
}

export interface InstanceSummary {
  readonly instanceId: string;
  readonly etag: string;
  readonly keyId: string;
  readonly sizeBytes: number;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  readonly updatedBy: string;
  readonly lastReadAtMs?: number;
  readonly reads: number;
  readonly deniedReads: number;
  readonly activeTokens: number;
  readonly lease?: Pick<LeaseRow, 'owner' | 'exclusive' | 'expiresAtMs'>;
}

export interface ListQuery {
  /** Only ids that sort after this one, by bytes. */
  readonly after?: string;
  readonly limit: number;
  /** Only rows neither written nor read since. */
  readonly untouchedSinceMs?: number;
  readonly nowMs: number;
}

/** The settings documents, one row per instance. Every promise is kept only when the change is on stable storage. */
export interface SettingsStore {
  read(instanceId: string): Promise<SealedSettings | undefined>;
  /** One visit to the store for what an agent's read needs: the token, and the row it names. */
  readWithToken(
    instanceId: string,
    tokenHash: string,
  ): Promise<{ readonly token?: TokenRow; readonly settings?: SealedSettings }>;
  write(write: SettingsWrite): Promise<WriteOutcome>;
  /** Removes the row with its tokens, its lease and its activity. */
  remove(removal: SettingsRemoval): Promise<RemoveOutcome>;
  list(query: ListQuery): Promise<readonly InstanceSummary[]>;
  /** Adds to the counters of instances that have a row; ids without a row are ignored. */
  recordActivity(deltas: readonly ActivityDelta[]): Promise<void>;
}

export interface TokenStore {
  /** Keeps the token, or does nothing when the same hash is there for the same instance. False: it is another instance's. */
  addToken(token: TokenRow): Promise<boolean>;
  listTokens(instanceId: string): Promise<readonly TokenRow[]>;
  removeToken(instanceId: string, tokenId: string): Promise<boolean>;
  /**
   * Counts one confirmed read, unless the token is absent, expired or spent. `etag`: count only when the row still
   * has it, otherwise `stale`.
   */
  confirmRead(confirmation: {
    readonly instanceId: string;
    readonly tokenHash: string;
    readonly etag?: string;
    readonly nowMs: number;
  }): Promise<'confirmed' | 'unusable' | 'stale'>;
}

export interface LeaseStore {
  /** Takes a free or expired lease, or prolongs the one with the same nonce. Otherwise: the lease that stands in the way. */
  acquireLease(lease: LeaseRow): Promise<{ readonly acquired: boolean; readonly lease: LeaseRow }>;
  readLease(instanceId: string, nowMs: number): Promise<LeaseRow | undefined>;
  releaseLease(instanceId: string, nonceHash: string): Promise<boolean>;
}

/** A value of ours sealed with a key: shows at start whether the key of that name is the right one. */
export interface KeyCheck {
  readonly keyId: string;
  readonly sealed: Uint8Array;
}

/** A row with what belongs to it, for backups and moves. */
export interface StoredInstance {
  readonly settings?: SealedSettings;
  readonly activity?: ActivityDelta;
  readonly tokens: readonly TokenRow[];
  readonly lease?: LeaseRow;
}

export type SnapshotRecord =
  | { readonly kind: 'key'; readonly key: KeyCheck }
  | { readonly kind: 'settings'; readonly settings: SealedSettings }
  | { readonly kind: 'activity'; readonly activity: ActivityDelta }
  | { readonly kind: 'token'; readonly token: TokenRow }
  | { readonly kind: 'lease'; readonly lease: LeaseRow };

export interface StoreMaintenance {
  readonly kind: 'sqlite' | 'postgres';
  /** Applies the migrations that are missing. Returns the versions it applied. Refuses a schema that is newer than this program. */
  migrate(): Promise<readonly number[]>;
  /** Rejects when the store cannot serve now. */
  ping(): Promise<void>;
  keyChecks(): Promise<readonly KeyCheck[]>;
  addKeyCheck(check: KeyCheck): Promise<void>;
  /** Rows sealed with another key than this one, in id order. */
  sealedWithOtherKeys(
    keyId: string,
    page: { readonly after?: string; readonly limit: number },
  ): Promise<readonly SealedSettings[]>;
  /** Puts the newly sealed bytes in place where the etag and the old key are still the same. Returns how many. */
  reseal(rows: readonly SealedSettings[]): Promise<number>;
  /** Removes expired and spent tokens and expired leases. Returns how many. */
  sweep(nowMs: number): Promise<{ readonly tokens: number; readonly leases: number }>;
  /** One consistent picture of everything, taken while others write. */
  snapshot(): AsyncIterable<SnapshotRecord>;
  /** Takes records in, in one transaction. `replace` empties the store first. */
  load(records: AsyncIterable<SnapshotRecord>, mode: 'replace' | 'merge'): Promise<number>;
  /** Rows of the table of the original, when this database has one. */
  originalRows(): AsyncIterable<{ readonly instanceId: string; readonly settings: Uint8Array }>;
  close(): Promise<void>;
}

export interface RegistryStore extends SettingsStore, TokenStore, LeaseStore, StoreMaintenance {}

export const PLAIN_KEY_ID = 'none';
