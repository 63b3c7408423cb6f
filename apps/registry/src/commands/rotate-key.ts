import { setTimeout as sleep } from 'node:timers/promises';
import { Keyring, activateKey, addKey, resealAll, retireKeys, verifyKeys } from '@microbosh/registry-server';
import type { Registry } from '@microbosh/registry-server';
import type { Streams } from '../cli.ts';
import { loadKeys } from '../compose.ts';
import type { EncryptionConfig } from '../config/config.ts';
import { ConfigRefused } from '../config/problems.ts';
import { optional, withRegistry } from './configured.ts';

/** Serving processes look at the key file every two seconds: after this time none writes with the old key. */
const SETTLE_MS = 4_500;

export async function run(streams: Streams, options: Readonly<Record<string, unknown>>): Promise<number> {
  return withRegistry(options, async (registry, { config }) => {
    const { encryption } = config;
    if (encryption.mode === 'off') throw new ConfigRefused(['Encryption is off: there is no key to rotate.']);
    if (options['prepare'] === true) {
      const { added } = await addKey(keyFileOf(encryption), Date.now(), { prepareOnly: true });
      streams.stdout.write(`added ${added}; distribute the key file, then: rotate-key --activate ${added}\n`);
      return 0;
    }
    await activate(encryption, options);
    const keyring = new Keyring(await loadKeys(encryption, 'read'));
    await verifyKeys(registry.store, keyring);
    const count = await resealUntilDone(registry, keyring);
    streams.stdout.write(`${count} instances moved to the key ${keyring.activeKeyId}\n`);
    if (options['retire'] === true) await retire(streams, registry, keyring, keyFileOf(encryption));
    return 0;
  });
}

async function activate(
  encryption: EncryptionConfig,
  options: Readonly<Record<string, unknown>>,
): Promise<void> {
  const prepared = optional(options, 'activate');
  if (prepared !== undefined) await activateKey(keyFileOf(encryption), prepared);
  // What prints the keys makes them: a key command is changed before this runs.
  else if (encryption.mode === 'file' && options['reseal'] !== true) {
    await addKey(encryption.keyFile, Date.now(), { prepareOnly: false });
  }
}

async function resealUntilDone(registry: Registry, keyring: Keyring): Promise<number> {
  let count = await resealAll(registry.store, keyring);
  await sleep(SETTLE_MS);
  for (;;) {
    const late = await resealAll(registry.store, keyring);
    if (late === 0) return count;
    count += late;
  }
}

async function retire(
  streams: Streams,
  registry: Registry,
  keyring: Keyring,
  keyFile: string,
): Promise<void> {
  const left = await registry.store.sealedWithOtherKeys(keyring.activeKeyId, { limit: 1 });
  if (left.length > 0) throw new ConfigRefused(['Rows still use an old key: run rotate-key --reseal again.']);
  const retired = await retireKeys(keyFile);
  streams.stdout.write(`retired ${retired.length === 0 ? 'nothing' : retired.join(', ')}\n`);
}

function keyFileOf(encryption: EncryptionConfig): string {
  if (encryption.mode === 'file') return encryption.keyFile;
  throw new ConfigRefused(['The keys come from a command: change what it prints, then: rotate-key --reseal']);
}
