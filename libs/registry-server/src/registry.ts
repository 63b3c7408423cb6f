import { randomBytes } from 'node:crypto';
import { sealContext } from './crypto/keyring.ts';
import type { Keyring } from './crypto/keyring.ts';
import { KeyMissing } from './errors.ts';
import type {
  ActivityDelta,
  RegistryStore,
  RemoveOutcome,
  SealedSettings,
  WriteCondition,
  WriteOutcome,
} from './ports/store.ts';
import { hashReadToken } from './access/read-tokens.ts';

export interface RegistryOptions {
  readonly store: RegistryStore;
  readonly keyring: Keyring;
  /** Reads the key material again: asked when a row names a key that is not known here. */
  readonly reloadKeys?: () => Promise<Keyring>;
  readonly clock?: () => number;
}

export interface WriteRequest extends WriteCondition {
  readonly by: string;
  readonly leaseNonce?: string;
}

const ACTIVITY_LIMIT = 10_000;
const EXPIRE_PAGE = 500;
const KEY_RELOAD_PAUSE_MS = 1_000;

/** The domain of the registry: documents sealed on the way in, opened on the way out, reads counted. */
export class Registry {
  readonly store: RegistryStore;
  readonly clock: () => number;
  readonly #reloadKeys: (() => Promise<Keyring>) | undefined;
  #keyring: Keyring;
  #keysReloadedAtMs = Number.NEGATIVE_INFINITY;
  #activity = new Map<string, { reads: number; deniedReads: number; lastReadAtMs?: number }>();

  constructor(options: RegistryOptions) {
    this.store = options.store;
    this.clock = options.clock ?? Date.now;
    this.#keyring = options.keyring;
    this.#reloadKeys = options.reloadKeys;
  }

  get keyring(): Keyring {
    return this.#keyring;
  }

  /** Replaces the keys, after the same check against the database as at start. */
  async useKeyring(keyring: Keyring): Promise<void> {
    await verifyKeys(this.store, keyring);
    this.#keyring = keyring;
  }

  /** The document of a row in clear. Opened for every request; nothing opened is kept. */
  async open(row: SealedSettings): Promise<Uint8Array> {
    if (!this.#keyring.has(row.keyId) && this.#mayReloadKeys()) {
      const keyring = await this.#reloadKeys?.();
      if (keyring) await this.useKeyring(keyring);
    }
    return this.#keyring.open(row.keyId, row.sealed, sealContext(row.instanceId, row.etag));
  }

  async write(
    instanceId: string,
    document: Uint8Array,
    request: WriteRequest,
  ): Promise<WriteOutcome & { readonly etag: string }> {
    const nowMs = this.clock();
    const { by, leaseNonce, ...condition } = request;
    const row = this.sealRow(instanceId, document, by, nowMs);
    const outcome = await this.store.write({
      ...condition,
      row,
      nowMs,
      ...(leaseNonce === undefined ? {} : { leaseHash: hashReadToken(leaseNonce) }),
    });
    return { ...outcome, etag: row.etag };
  }

  sealRow(instanceId: string, document: Uint8Array, by: string, nowMs: number): SealedSettings {
    const etag = randomBytes(12).toString('base64url');
    return {
      instanceId,
      ...this.#keyring.seal(document, sealContext(instanceId, etag)),
      etag,
      sizeBytes: document.length,
      createdAtMs: nowMs,
      updatedAtMs: nowMs,
      updatedBy: by,
    };
  }

  async remove(
    instanceId: string,
    request: WriteCondition & { readonly leaseNonce?: string },
  ): Promise<RemoveOutcome> {
    const { leaseNonce, ...condition } = request;
    return this.store.remove({
      ...condition,
      instanceId,
      nowMs: this.clock(),
      ...(leaseNonce === undefined ? {} : { leaseHash: hashReadToken(leaseNonce) }),
    });
  }

  /** Removes rows that were neither written nor read for so long; a row touched meanwhile stays. Returns their ids. */
  async expireUntouched(
    olderThanMs: number,
    options: { readonly dryRun: boolean },
  ): Promise<readonly string[]> {
    await this.flushActivity();
    const untouchedSinceMs = this.clock() - olderThanMs;
    const expired: string[] = [];
    let after: string | undefined;
    for (;;) {
      const page = await this.store.list({
        limit: EXPIRE_PAGE,
        nowMs: this.clock(),
        untouchedSinceMs,
        ...(after === undefined ? {} : { after }),
      });
      for (const row of page) {
        const outcome = options.dryRun
          ? undefined
          : await this.remove(row.instanceId, { ifMatch: [row.etag] });
        if (!outcome || outcome.kind === 'removed') expired.push(row.instanceId);
      }
      if (page.length < EXPIRE_PAGE) return expired;
      after = page.at(-1)?.instanceId;
    }
  }

  countRead(instanceId: string): void {
    const entry = this.#activityOf(instanceId);
    if (!entry) return;
    entry.reads += 1;
    entry.lastReadAtMs = this.clock();
  }

  countDenied(instanceId: string): void {
    const entry = this.#activityOf(instanceId);
    if (entry) entry.deniedReads += 1;
  }

  /** Writes the counters of reads; they are worth less than an answer, so they travel in bulk. */
  async flushActivity(): Promise<void> {
    if (this.#activity.size === 0) return;
    const counted = this.#activity;
    this.#activity = new Map();
    const deltas: ActivityDelta[] = [...counted]
      .map(([instanceId, entry]) => ({ instanceId, ...entry }))
      // One order for all processes: two of them that flush together do not lock each other out.
      .sort((a, b) => (a.instanceId < b.instanceId ? -1 : 1));
    try {
      await this.store.recordActivity(deltas);
    } catch (error) {
      for (const delta of deltas) {
        const entry = this.#activityOf(delta.instanceId);
        if (!entry) continue;
        entry.reads += delta.reads;
        entry.deniedReads += delta.deniedReads;
        if (delta.lastReadAtMs !== undefined) {
          entry.lastReadAtMs = Math.max(entry.lastReadAtMs ?? 0, delta.lastReadAtMs);
        }
      }
      throw error;
    }
  }

  #activityOf(instanceId: string) {
    let entry = this.#activity.get(instanceId);
    if (!entry) {
      if (this.#activity.size >= ACTIVITY_LIMIT) return undefined;
      entry = { reads: 0, deniedReads: 0 };
      this.#activity.set(instanceId, entry);
    }
    return entry;
  }

  #mayReloadKeys(): boolean {
    const nowMs = performance.now();
    if (nowMs - this.#keysReloadedAtMs < KEY_RELOAD_PAUSE_MS) return false;
    this.#keysReloadedAtMs = nowMs;
    return true;
  }
}

/**
 * Compares the keys at hand with the database: a key that differs from the one of the same name is refused, and so is
 * a start without a key that rows need. A key seen for the first time leaves its check.
 */
export async function verifyKeys(store: RegistryStore, keyring: Keyring): Promise<void> {
  const checks = await store.keyChecks();
  for (const check of checks) {
    if (keyring.has(check.keyId)) keyring.verifyCheck(check.keyId, check.sealed);
  }
  let after: string | undefined;
  const missing = checks.filter((check) => !keyring.has(check.keyId));
  if (missing.length > 0) {
    for (;;) {
      const rows = await store.sealedWithOtherKeys(keyring.activeKeyId, {
        limit: 500,
        ...(after === undefined ? {} : { after }),
      });
      const lost = rows.find((row) => !keyring.has(row.keyId));
      if (lost) {
        throw new KeyMissing(`Settings are sealed with the key '${lost.keyId}', which is not at hand.`, {
          details: { keyId: lost.keyId, activeKeyId: keyring.activeKeyId },
          advice: 'Give the key file that belongs to this database.',
        });
      }
      if (rows.length < 500) break;
      after = rows.at(-1)?.instanceId;
    }
  }
  const known = new Set(checks.map((check) => check.keyId));
  for (const keyId of keyring.keyIds) {
    if (!known.has(keyId)) await store.addKeyCheck({ keyId, sealed: keyring.makeCheck(keyId) });
  }
}
