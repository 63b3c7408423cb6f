-- A database of schema version 1, as the program that knew no other wrote it (pg_dump --inserts).
-- Key k1: 32 bytes of the value 1. Token of vm-1: mbt_ and 43 times A, two reads, one of them confirmed.
CREATE TABLE public.microbosh_activity (
    instance_id text NOT NULL COLLATE pg_catalog."C",
    reads bigint NOT NULL,
    denied_reads bigint NOT NULL,
    last_read_at bigint
);
CREATE TABLE public.microbosh_keys (
    key_id text NOT NULL COLLATE pg_catalog."C",
    sealed bytea NOT NULL
);
CREATE TABLE public.microbosh_leases (
    instance_id text NOT NULL COLLATE pg_catalog."C",
    owner text NOT NULL,
    nonce_hash text NOT NULL,
    exclusive smallint NOT NULL,
    acquired_at bigint NOT NULL,
    expires_at bigint NOT NULL
);
CREATE TABLE public.microbosh_registry_schema (
    version integer NOT NULL,
    applied_at bigint NOT NULL
);
CREATE TABLE public.microbosh_settings (
    instance_id text NOT NULL COLLATE pg_catalog."C",
    sealed bytea NOT NULL,
    key_id text NOT NULL COLLATE pg_catalog."C",
    etag text NOT NULL,
    size_bytes bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    updated_by text NOT NULL
);
ALTER TABLE ONLY public.microbosh_settings ALTER COLUMN sealed SET STORAGE EXTERNAL;
CREATE TABLE public.microbosh_tokens (
    token_hash text NOT NULL COLLATE pg_catalog."C",
    token_id text NOT NULL,
    instance_id text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    expires_at bigint,
    max_reads bigint,
    confirmed_reads bigint NOT NULL
);
INSERT INTO public.microbosh_activity VALUES ('vm-1', 1, 0, 1767225600000);
INSERT INTO public.microbosh_keys VALUES ('k1', '\x927dd9565807bf43487f4d8e0fcba07f20c5ab98deb3f69f763aac5c5ed186f52780e9f6b3bd9d2668aedb731c54f929eab147a8ddde9a5b');
INSERT INTO public.microbosh_leases VALUES ('vm-2', 'cpi', 'cc06c9cf56a7ceffc7ced2ff1ac00f0ab7601974e80277583bf88873b72addf3', 1, 1767225600000, 1767226200000);
INSERT INTO public.microbosh_registry_schema VALUES (1, 1795405407518);
INSERT INTO public.microbosh_settings VALUES ('vm-1', '\x8c00c3e3a179213e7c03a6d6c42faaf31220d40e206ea992c9754759f2a62d6fe1618b43a0a17c820ea3e3adbb52a0ecbb683075f671b046604bdb833244823123', 'k1', 'pa75p65q8caocqhE', 37, 1767225600000, 1767225600000, 'admin');
INSERT INTO public.microbosh_settings VALUES ('vm-2', '\x2d2137f56ee51e9306d5e985080960f8ce205112d6b84b0360e37c98c6400f80c73f6cb85e09dd16055478c37f3f64', 'k1', '8iYfmW2BkqLfaqpT', 19, 1767225600000, 1767225600000, 'admin');
INSERT INTO public.microbosh_tokens VALUES ('005c5361ac15f1edb4f5cb33b715392a3f3b297365a64fdfe5f632381d97b751', '005c5361ac15f1ed', 'vm-1', 1767225600000, NULL, 2, 1);
ALTER TABLE ONLY public.microbosh_activity
    ADD CONSTRAINT microbosh_activity_pkey PRIMARY KEY (instance_id);
ALTER TABLE ONLY public.microbosh_keys
    ADD CONSTRAINT microbosh_keys_pkey PRIMARY KEY (key_id);
ALTER TABLE ONLY public.microbosh_leases
    ADD CONSTRAINT microbosh_leases_pkey PRIMARY KEY (instance_id);
ALTER TABLE ONLY public.microbosh_registry_schema
    ADD CONSTRAINT microbosh_registry_schema_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.microbosh_settings
    ADD CONSTRAINT microbosh_settings_pkey PRIMARY KEY (instance_id);
ALTER TABLE ONLY public.microbosh_tokens
    ADD CONSTRAINT microbosh_tokens_pkey PRIMARY KEY (token_hash);
CREATE INDEX microbosh_settings_key ON public.microbosh_settings USING btree (key_id, instance_id);
CREATE INDEX microbosh_tokens_instance ON public.microbosh_tokens USING btree (instance_id);
