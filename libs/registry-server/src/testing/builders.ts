import { Keyring, newKeyMaterial, sealContext } from '../index.ts';
import type { LeaseRow, SealedSettings, TokenRow } from '../index.ts';
import { hashReadToken, readTokenId } from '../access/read-tokens.ts';

/** A document of about the size that CPIs write. */
export function sampleSettings(agentId: string, sizeBytes = 2_048): string {
  const empty = JSON.stringify({ agent_id: agentId, env: { padding: '' } });
  return JSON.stringify({
    agent_id: agentId,
    env: { padding: 'x'.repeat(Math.max(0, sizeBytes - empty.length)) },
  });
}

export function testKeyring(): Keyring {
  return new Keyring(newKeyMaterial(0));
}

export function sealedRow(
  instanceId: string,
  options: {
    readonly etag?: string;
    readonly text?: string;
    readonly keyring?: Keyring;
    readonly atMs?: number;
  } = {},
): SealedSettings {
  const etag = options.etag ?? `etag-of-${instanceId}`;
  const plain = Buffer.from(options.text ?? `{"agent_id":"${instanceId}"}`);
  const sealed = options.keyring?.seal(plain, sealContext(instanceId, etag)) ?? {
    keyId: 'none',
    sealed: plain,
  };
  const atMs = options.atMs ?? 1_000;
  return {
    instanceId,
    ...sealed,
    etag,
    sizeBytes: plain.length,
    createdAtMs: atMs,
    updatedAtMs: atMs,
    updatedBy: 'admin',
  };
}

export function tokenRow(instanceId: string, token: string, limits: Partial<TokenRow> = {}): TokenRow {
  const tokenHash = hashReadToken(token);
  return {
    tokenHash,
    tokenId: readTokenId(tokenHash),
    instanceId,
    createdAtMs: 1_000,
    confirmedReads: 0,
    ...limits,
  };
}

export function leaseRow(instanceId: string, nonce: string, limits: Partial<LeaseRow> = {}): LeaseRow {
  return {
    instanceId,
    owner: `owner of ${nonce}`,
    nonceHash: hashReadToken(nonce),
    exclusive: false,
    acquiredAtMs: 1_000,
    expiresAtMs: 61_000,
    ...limits,
  };
}
