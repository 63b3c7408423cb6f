import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import Type from 'typebox';
import { Check } from 'typebox/value';
import { syncDirectory } from '@microbosh/host';
import { BackupRefused } from '../errors.ts';
import type { SnapshotRecord } from '../ports/store.ts';

/**
 * The file of backups and exports: one JSON document a line. The first names the format, the last counts the records
 * and holds the SHA-256 of all lines before it, so that a file that is cut short or changed is refused.
 *
 *     {"format":"microbosh-registry","version":1}
 *     {"kind":"settings","settings":{"instanceId":"vm-1","sealed":"<base64>","keyId":"k1", …}}
 *     {"end":true,"records":1,"sha256":"…"}
 */
const HEADER = { format: 'microbosh-registry', version: 1 };

const Millis = Type.Integer({ minimum: 0 });
const Bytes = Type.String({ pattern: '^[A-Za-z0-9+/]*={0,2}$' });
const Id = Type.String({ minLength: 1 });
const StoredRecord = Type.Union([
  Type.Object({ kind: Type.Literal('key'), key: Type.Object({ keyId: Id, sealed: Bytes }) }),
  Type.Object({
    kind: Type.Literal('settings'),
    settings: Type.Object({
      instanceId: Id,
      sealed: Bytes,
      keyId: Id,
      etag: Id,
      sizeBytes: Millis,
      createdAtMs: Millis,
      updatedAtMs: Millis,
      updatedBy: Type.String(),
    }),
  }),
  Type.Object({
    kind: Type.Literal('activity'),
    activity: Type.Object({
      instanceId: Id,
      reads: Millis,
      deniedReads: Millis,
      lastReadAtMs: Type.Optional(Millis),
    }),
  }),
  Type.Object({
    kind: Type.Literal('token'),
    token: Type.Object({
      tokenHash: Id,
      tokenId: Id,
      instanceId: Id,
      createdAtMs: Millis,
      expiresAtMs: Type.Optional(Millis),
      maxReads: Type.Optional(Millis),
      confirmedReads: Millis,
    }),
  }),
  Type.Object({
    kind: Type.Literal('lease'),
    lease: Type.Object({
      instanceId: Id,
      owner: Type.String(),
      nonceHash: Id,
      exclusive: Type.Boolean(),
      acquiredAtMs: Millis,
      expiresAtMs: Millis,
    }),
  }),
]);

/** Writes the records durably, mode 0600, complete or not at all. Returns how many. */
export async function writeSnapshotFile(
  path: string,
  records: AsyncIterable<SnapshotRecord>,
): Promise<number> {
  const draft = `${path}.part`;
  const digest = createHash('sha256');
  let count = 0;
  const lines = async function* () {
    const line = (value: unknown) => {
      const text = `${JSON.stringify(value)}\n`;
      digest.update(text);
      return text;
    };
    yield line(HEADER);
    for await (const record of records) {
      count += 1;
      yield line(encode(record));
    }
    yield `${JSON.stringify({ end: true, records: count, sha256: digest.digest('hex') })}\n`;
  };
  try {
    const target = createWriteStream(draft, { flags: 'w', mode: 0o600, flush: true });
    await pipeline(Readable.from(lines()), target);
    const file = await open(draft, 'r');
    await file.chmod(0o600).finally(() => file.close());
    await rename(draft, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    await unlink(draft).catch(() => undefined);
    throw error;
  }
  return count;
}

/** Reads the whole file once before the first record comes out: a damaged one yields nothing. */
export async function* readSnapshotFile(path: string): AsyncIterable<SnapshotRecord> {
  await verify(path);
  for await (const line of linesOf(path)) {
    const value: unknown = JSON.parse(line);
    if (Check(StoredRecord, value)) yield decode(value);
  }
}

async function verify(path: string): Promise<void> {
  const refuse = (reason: string) =>
    new BackupRefused(`'${path}' cannot be used: ${reason}.`, { advice: 'Take another backup file.' });
  const digest = createHash('sha256');
  let records = -1;
  let ended = false;
  for await (const line of linesOf(path)) {
    if (ended) throw refuse('something follows its end');
    const value = parse(line);
    if (records < 0) {
      if (JSON.stringify(value) !== JSON.stringify(HEADER))
        throw refuse('it is not a backup of this registry');
      records = 0;
    } else if (Check(StoredRecord, value)) {
      records += 1;
    } else {
      const end = { end: true, records, sha256: digest.copy().digest('hex') };
      if (JSON.stringify(value) !== JSON.stringify(end)) throw refuse('it was changed or damaged');
      ended = true;
    }
    digest.update(`${line}\n`);
  }
  if (!ended) throw refuse('its end is missing');
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

async function* linesOf(path: string): AsyncIterable<string> {
  const input = createReadStream(path);
  // Opening fails here, with its own error, not as an unhandled event of the reader.
  await new Promise((resolve, reject) => input.once('open', resolve).once('error', reject));
  yield* createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
}

function encode(record: SnapshotRecord): unknown {
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
  if (record.kind === 'settings') {
    return { kind: record.kind, settings: { ...record.settings, sealed: base64(record.settings.sealed) } };
  }
  if (record.kind === 'key')
    return { kind: 'key', key: { ...record.key, sealed: base64(record.key.sealed) } };
  return record;
}

function decode(record: Type.Static<typeof StoredRecord>): SnapshotRecord {
  const bytes = (text: string) => Buffer.from(text, 'base64');
  if (record.kind === 'settings') {
    return { kind: 'settings', settings: { ...record.settings, sealed: bytes(record.settings.sealed) } };
  }
  if (record.kind === 'key') return { kind: 'key', key: { ...record.key, sealed: bytes(record.key.sealed) } };
  return record;
}
