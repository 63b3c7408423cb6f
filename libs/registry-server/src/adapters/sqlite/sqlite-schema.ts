/** One entry per version, never changed once shipped. Applied in order, each in its own transaction. */
export const SQLITE_MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE microbosh_settings (
    instance_id TEXT NOT NULL PRIMARY KEY,
    sealed BLOB NOT NULL,
    key_id TEXT NOT NULL,
    etag TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL
  ) STRICT;
  CREATE INDEX microbosh_settings_key ON microbosh_settings (key_id, instance_id);
  CREATE TABLE microbosh_activity (
    instance_id TEXT NOT NULL PRIMARY KEY,
    reads INTEGER NOT NULL,
    denied_reads INTEGER NOT NULL,
    last_read_at INTEGER
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE microbosh_tokens (
    token_hash TEXT NOT NULL PRIMARY KEY,
    token_id TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    max_reads INTEGER,
    confirmed_reads INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX microbosh_tokens_instance ON microbosh_tokens (instance_id);
  CREATE TABLE microbosh_leases (
    instance_id TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    nonce_hash TEXT NOT NULL,
    exclusive INTEGER NOT NULL,
    acquired_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE microbosh_keys (
    key_id TEXT NOT NULL PRIMARY KEY,
    sealed BLOB NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
];
