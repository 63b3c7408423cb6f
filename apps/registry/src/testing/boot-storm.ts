import { writeFileSync } from 'node:fs';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import {
  Keyring,
  hashReadToken,
  mintReadToken,
  readOrMakeKeyFile,
  readTokenId,
  sealContext,
} from '@microbosh/registry-server';
import type { SnapshotRecord } from '@microbosh/registry-server';
import { PostgresStore } from '@microbosh/registry-server/postgres';
import { PostgresServer, TestCa, call, sampleSettings } from '@microbosh/registry-server/testing';
import { RegistryProcess, baseConfig, freePort } from './registry-process.ts';

export interface StormReport {
  readonly agents: number;
  readonly errors: readonly string[];
  readonly seconds: number;
  /** Answers by each process. */
  readonly shares: readonly number[];
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/**
 * Boots `agents` agents at once against two registry processes on one PostgreSQL: each makes a TLS connection of its
 * own, verifies the server against the CA, shows its token, and compares what it gets.
 */
export async function bootStorm(agents: number, parallel: number): Promise<StormReport> {
  const directory = mkdtempSync(join(tmpdir(), 'microbosh-storm-'));
  const postgres = await PostgresServer.start();
  const registries: RegistryProcess[] = [];
  try {
    const ca = await TestCa.create();
    const issued = await ca.issue('registry');
    const [certificate, privateKey] = [join(directory, 'server.crt'), join(directory, 'server.key')];
    writeFileSync(certificate, issued.certificate);
    writeFileSync(privateKey, issued.privateKey, { mode: 0o600 });
    const keyFile = join(directory, 'registry.key');
    const connection = await postgres.newDatabase();
    const tokens = Array.from({ length: agents }, () => mintReadToken());
    await seed(new PostgresStore({ connection }), keyFile, tokens);

    for (let index = 0; index < 2; index += 1) {
      const port = await freePort();
      const base = baseConfig(port, {
        adapter: 'postgres',
        ...connection,
        connection_options: { max_connections: 16 },
      });
      const config = {
        ...base,
        http: { ...base.http, tls: { certificate, private_key: privateKey } },
        encryption: { key_file: keyFile },
      };
      registries.push(new RegistryProcess(config, { port, directory, ca: ca.certificate }));
    }
    await Promise.all(registries.map((registry) => registry.start()));
    return await storm(registries, tokens, parallel, ca.certificate);
  } finally {
    for (const registry of registries) await registry.stop('SIGKILL');
    await postgres.destroy();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function seed(store: PostgresStore, keyFile: string, tokens: readonly string[]): Promise<void> {
  const keyring = new Keyring(await readOrMakeKeyFile(keyFile, Date.now()));
  await store.migrate();
  const records = async function* (): AsyncIterable<SnapshotRecord> {
    for (const [index, token] of tokens.entries()) {
      const instanceId = `vm-${index}`;
      const etag = `etag-${index}`;
      const document = Buffer.from(sampleSettings(instanceId));
      const times = { createdAtMs: Date.now(), updatedAtMs: Date.now() };
      yield {
        kind: 'settings',
        settings: {
          instanceId,
          etag,
          ...keyring.seal(document, sealContext(instanceId, etag)),
          sizeBytes: document.length,
          ...times,
          updatedBy: 'storm',
        },
      };
      const tokenHash = hashReadToken(token);
      yield {
        kind: 'token',
        token: {
          tokenHash,
          tokenId: readTokenId(tokenHash),
          instanceId,
          createdAtMs: times.createdAtMs,
          confirmedReads: 0,
        },
      };
    }
  };
  await store.load(records(), 'merge');
  await store.close();
}

async function storm(
  registries: readonly RegistryProcess[],
  tokens: readonly string[],
  parallel: number,
  ca: string,
): Promise<StormReport> {
  const errors: string[] = [];
  const times: number[] = [];
  const shares = registries.map(() => 0);
  let next = 0;
  // Made once: parsing the CA is the agents' work, not what is measured.
  const secureContext = createSecureContext({ ca });
  const agent = async () => {
    for (let index = next++; index < tokens.length; index = next++) {
      const chosen = index % registries.length;
      const registry = registries[chosen];
      const token = tokens[index];
      if (!registry || token === undefined)
        throw new Error('there are two registries and a token for each agent');
      const began = performance.now();
      try {
        const answer = await call(`${registry.url}/instances/vm-${index}/settings`, 'GET', {
          auth: `vm-${index}:${token}`,
          secureContext,
        });
        if (answer.status !== 200) errors.push(`vm-${index}: ${answer.status}`);
        else if (answer.json?.['settings'] !== sampleSettings(`vm-${index}`))
          errors.push(`vm-${index}: wrong settings`);
        else shares[chosen] = (shares[chosen] ?? 0) + 1;
      } catch (error) {
        errors.push(`vm-${index}: ${String(error)}`);
      }
      times.push(performance.now() - began);
    }
  };
  const began = performance.now();
  await Promise.all(Array.from({ length: parallel }, agent));
  times.sort((a, b) => a - b);
  return {
    agents: tokens.length,
    errors,
    seconds: (performance.now() - began) / 1000,
    shares,
    p50Ms: times[Math.floor(times.length * 0.5)] ?? 0,
    p99Ms: times[Math.floor(times.length * 0.99)] ?? 0,
  };
}
