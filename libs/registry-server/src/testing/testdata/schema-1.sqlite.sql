-- A database of schema version 1, as the program that knew no other wrote it (iterdump of SQLite).
-- Key k1: 32 bytes of the value 1. Token of vm-1: mbt_ and 43 times A, two reads, one of them confirmed.
BEGIN TRANSACTION;
CREATE TABLE microbosh_activity (
    instance_id TEXT NOT NULL PRIMARY KEY,
    reads INTEGER NOT NULL,
    denied_reads INTEGER NOT NULL,
    last_read_at INTEGER
  ) STRICT, WITHOUT ROWID;
INSERT INTO "microbosh_activity" VALUES('vm-1',1,0,1767225600000);
CREATE TABLE microbosh_keys (
    key_id TEXT NOT NULL PRIMARY KEY,
    sealed BLOB NOT NULL
  ) STRICT, WITHOUT ROWID;
INSERT INTO "microbosh_keys" VALUES('k1',X'D970E54290AEF34F3E3F80A2150EB9545E5CAAD106F0D43FFE8FCE8BFDF04ED1D7CBE55400B3A6D854FB340694A128089C842BA7643E191D');
CREATE TABLE microbosh_leases (
    instance_id TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    nonce_hash TEXT NOT NULL,
    exclusive INTEGER NOT NULL,
    acquired_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
INSERT INTO "microbosh_leases" VALUES('vm-2','cpi','cc06c9cf56a7ceffc7ced2ff1ac00f0ab7601974e80277583bf88873b72addf3',1,1767225600000,1767226200000);
CREATE TABLE microbosh_registry_schema (version INTEGER NOT NULL PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT;
INSERT INTO "microbosh_registry_schema" VALUES(1,1795405405684);
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
INSERT INTO "microbosh_settings" VALUES('vm-1',X'2C6033F502D25CF25534562E707AD1341DFBC45F71CA7EC4CCAC4DE556A326D95BA22E0D42DFF07B948F8906AD3EA1E3F04B380C06926F3AC82DE9ED071E8683B7','k1','reAhl0jOFi5bORWO',37,1767225600000,1767225600000,'admin');
INSERT INTO "microbosh_settings" VALUES('vm-2',X'9F12269F7BDF959EB22F26A7C59C37773AAB51DD2F6DE09C4C4ABA12C001A8209F4A3CA2110CB4F11C2D96B6481028','k1','FqfzyH_QH3Rn8pqd',19,1767225600000,1767225600000,'admin');
CREATE TABLE microbosh_tokens (
    token_hash TEXT NOT NULL PRIMARY KEY,
    token_id TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    max_reads INTEGER,
    confirmed_reads INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
INSERT INTO "microbosh_tokens" VALUES('005c5361ac15f1edb4f5cb33b715392a3f3b297365a64fdfe5f632381d97b751','005c5361ac15f1ed','vm-1',1767225600000,NULL,2,1);
CREATE INDEX microbosh_settings_key ON microbosh_settings (key_id, instance_id);
CREATE INDEX microbosh_tokens_instance ON microbosh_tokens (instance_id);
COMMIT;
