/** One entry per version, never changed once shipped. The same columns as in SQLite. */
export const POSTGRES_MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE microbosh_settings (
    instance_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    sealed BYTEA NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    etag TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL
  );
  -- Cipher text does not compress.
  ALTER TABLE microbosh_settings ALTER COLUMN sealed SET STORAGE EXTERNAL;
  CREATE INDEX microbosh_settings_key ON microbosh_settings (key_id, instance_id);
  CREATE TABLE microbosh_activity (
    instance_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    reads BIGINT NOT NULL,
    denied_reads BIGINT NOT NULL,
    last_read_at BIGINT
  );
  CREATE TABLE microbosh_tokens (
    token_hash TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    token_id TEXT NOT NULL,
    instance_id TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    max_reads BIGINT,
    confirmed_reads BIGINT NOT NULL
  );
  CREATE INDEX microbosh_tokens_instance ON microbosh_tokens (instance_id);
  CREATE TABLE microbosh_leases (
    instance_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    nonce_hash TEXT NOT NULL,
    exclusive SMALLINT NOT NULL,
    acquired_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
  );
  CREATE TABLE microbosh_keys (
    key_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    sealed BYTEA NOT NULL
  );
  `,
];
