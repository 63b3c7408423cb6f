import { sealContext } from '../crypto/keyring.ts';
import type { Keyring } from '../crypto/keyring.ts';
import { PLAIN_KEY_ID } from '../ports/store.ts';
import type { RegistryStore, SealedSettings, SnapshotRecord } from '../ports/store.ts';

const BATCH = 200;

/** The same document, etag and all, under the active key of `target`. Throws WrongKey or KeyMissing. */
export function resealRow(row: SealedSettings, source: Keyring, target: Keyring): SealedSettings {
  const context = sealContext(row.instanceId, row.etag);
  return { ...row, ...target.seal(source.open(row.keyId, row.sealed, context), context) };
}

/** Puts every row under the active key, in small steps, while others read and write. Returns how many it changed. */
export async function resealAll(store: RegistryStore, keyring: Keyring): Promise<number> {
  let changed = 0;
  let after: string | undefined;
  for (;;) {
    const rows = await store.sealedWithOtherKeys(keyring.activeKeyId, {
      limit: BATCH,
      ...(after === undefined ? {} : { after }),
    });
    if (rows.length > 0) changed += await store.reseal(rows.map((row) => resealRow(row, keyring, keyring)));
    if (rows.length < BATCH) return changed;
    after = rows.at(-1)?.instanceId;
  }
}

/**
 * Records as the store of `target` takes them: every row is opened, so that a wrong key or a changed byte stops the
 * load before anything is replaced, and sealed with the active key where it is under another one.
 */
export async function* adoptRecords(
  records: AsyncIterable<SnapshotRecord>,
  source: Keyring,
  target: Keyring,
): AsyncIterable<SnapshotRecord> {
  for (const keyId of target.keyIds) {
    yield { kind: 'key', key: { keyId, sealed: target.makeCheck(keyId) } };
  }
  for await (const record of records) {
    if (record.kind === 'key') continue;
    if (record.kind !== 'settings') yield record;
    else yield { kind: 'settings', settings: adoptRow(record.settings, source, target) };
  }
}

/** Records with the documents in clear. */
export async function* openRecords(
  records: AsyncIterable<SnapshotRecord>,
  keyring: Keyring,
): AsyncIterable<SnapshotRecord> {
  for await (const record of records) {
    if (record.kind === 'key') continue;
    if (record.kind !== 'settings') {
      yield record;
      continue;
    }
    const { settings } = record;
    const plain = keyring.open(
      settings.keyId,
      settings.sealed,
      sealContext(settings.instanceId, settings.etag),
    );
    yield { kind: 'settings', settings: { ...settings, sealed: plain, keyId: PLAIN_KEY_ID } };
  }
}

function adoptRow(row: SealedSettings, source: Keyring, target: Keyring): SealedSettings {
  const resealed = resealRow(row, source, target);
  return row.keyId === target.activeKeyId ? row : resealed;
}
