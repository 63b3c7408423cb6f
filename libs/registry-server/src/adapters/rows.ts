import { StoreCorrupt } from '../errors.ts';
import type {
  ActivityDelta,
  InstanceSummary,
  KeyCheck,
  LeaseRow,
  SealedSettings,
  TokenRow,
} from '../ports/store.ts';

/** A row of either store; columns have the same names and types in both. */
export type Row = Readonly<Record<string, unknown>>;

export function text(row: Row, column: string): string {
  const value = row[column];
  if (typeof value !== 'string') throw new StoreCorrupt(`Column ${column} does not hold text.`);
  return value;
}

export function integer(row: Row, column: string): number {
  const value = row[column];
  if (typeof value !== 'number') throw new StoreCorrupt(`Column ${column} does not hold a number.`);
  return value;
}

export function optionalInteger(row: Row, column: string): number | undefined {
  return row[column] === null ? undefined : integer(row, column);
}

export function bytes(row: Row, column: string): Uint8Array {
  const value = row[column];
  if (!(value instanceof Uint8Array)) throw new StoreCorrupt(`Column ${column} does not hold bytes.`);
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}

export function toSettings(row: Row): SealedSettings {
  return {
    instanceId: text(row, 'instance_id'),
    sealed: bytes(row, 'sealed'),
    keyId: text(row, 'key_id'),
    etag: text(row, 'etag'),
    sizeBytes: integer(row, 'size_bytes'),
    createdAtMs: integer(row, 'created_at'),
    updatedAtMs: integer(row, 'updated_at'),
    updatedBy: text(row, 'updated_by'),
  };
}

export function toToken(row: Row): TokenRow {
  return tokenOf(row, 'created_at');
}

function tokenOf(row: Row, createdAtColumn: string): TokenRow {
  const expiresAtMs = optionalInteger(row, 'expires_at');
  const maxReads = optionalInteger(row, 'max_reads');
  return {
    tokenHash: text(row, 'token_hash'),
    tokenId: text(row, 'token_id'),
    instanceId: text(row, 'instance_id'),
    createdAtMs: integer(row, createdAtColumn),
    ...(expiresAtMs === undefined ? {} : { expiresAtMs }),
    ...(maxReads === undefined ? {} : { maxReads }),
    confirmedReads: integer(row, 'confirmed_reads'),
  };
}

/** Of a token joined with the settings of its instance. */
export function toTokenRead(row: Row): { readonly token: TokenRow; readonly settings?: SealedSettings } {
  const token = tokenOf(row, 'token_created_at');
  return row['etag'] === null ? { token } : { token, settings: toSettings(row) };
}

export function toLease(row: Row): LeaseRow {
  return {
    instanceId: text(row, 'instance_id'),
    owner: text(row, 'owner'),
    nonceHash: text(row, 'nonce_hash'),
    exclusive: integer(row, 'exclusive') === 1,
    acquiredAtMs: integer(row, 'acquired_at'),
    expiresAtMs: integer(row, 'expires_at'),
  };
}

export function toActivity(row: Row): ActivityDelta {
  const lastReadAtMs = optionalInteger(row, 'last_read_at');
  return {
    instanceId: text(row, 'instance_id'),
    reads: integer(row, 'reads'),
    deniedReads: integer(row, 'denied_reads'),
    ...(lastReadAtMs === undefined ? {} : { lastReadAtMs }),
  };
}

export function toKeyCheck(row: Row): KeyCheck {
  return { keyId: text(row, 'key_id'), sealed: bytes(row, 'sealed') };
}

/** Of the columns that both stores' list query returns. */
export function toSummary(row: Row): InstanceSummary {
  const lastReadAtMs = optionalInteger(row, 'last_read_at');
  const leaseExpiresAtMs = optionalInteger(row, 'lease_expires_at');
  return {
    instanceId: text(row, 'instance_id'),
    etag: text(row, 'etag'),
    keyId: text(row, 'key_id'),
    sizeBytes: integer(row, 'size_bytes'),
    createdAtMs: integer(row, 'created_at'),
    updatedAtMs: integer(row, 'updated_at'),
    updatedBy: text(row, 'updated_by'),
    ...(lastReadAtMs === undefined ? {} : { lastReadAtMs }),
    reads: integer(row, 'reads'),
    deniedReads: integer(row, 'denied_reads'),
    activeTokens: integer(row, 'active_tokens'),
    ...(leaseExpiresAtMs === undefined
      ? {}
      : {
          lease: {
            owner: text(row, 'lease_owner'),
            exclusive: integer(row, 'lease_exclusive') === 1,
            expiresAtMs: leaseExpiresAtMs,
          },
        }),
  };
}
