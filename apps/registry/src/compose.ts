import { readFile } from 'node:fs/promises';
import type { Logger } from 'pino';
import { NodeCommandRunner } from '@microbosh/host';
import {
  Keyring,
  Registry,
  SqliteStore,
  createRegistryServer,
  parseKeyFile,
  readKeyFile,
  readOrMakeKeyFile,
  verifyKeys,
} from '@microbosh/registry-server';
import type {
  EncryptionOptions,
  InstanceAddresses,
  KeyMaterial,
  ListenerOptions,
  RegistryServer,
  RegistryStore,
  TlsMaterial,
} from '@microbosh/registry-server';
import type { EncryptionConfig, PostgresConfig, RegistryConfig, TlsFiles } from './config/config.ts';

const KEY_COMMAND_TIMEOUT_MS = 10_000;

/** Opens the configured database; nothing is migrated yet. */
export async function openStore(config: RegistryConfig['db']): Promise<RegistryStore> {
  if (config.adapter === 'sqlite') return new SqliteStore({ path: config.file });
  const { PostgresStore } = await import('@microbosh/registry-server/postgres');
  return new PostgresStore({
    connection: { ...config.connection, ...(await postgresTls(config)) },
    retryForMs: config.retryForMs,
  });
}

async function postgresTls({ tls }: PostgresConfig) {
  if (!tls) return {};
  const read = async (path: string | undefined) => (path === undefined ? undefined : readFile(path, 'utf8'));
  const [ca, cert, key] = await Promise.all([read(tls.ca), read(tls.certificate), read(tls.privateKey)]);
  return {
    ssl: {
      rejectUnauthorized: tls.verify,
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    },
  };
}

export async function loadKeys(
  encryption: EncryptionConfig,
  mode: 'make' | 'read',
): Promise<KeyMaterial | undefined> {
  switch (encryption.mode) {
    case 'off':
      return undefined;
    case 'file':
      return mode === 'make'
        ? readOrMakeKeyFile(encryption.keyFile, Date.now())
        : readKeyFile(encryption.keyFile);
    case 'command': {
      const result = await new NodeCommandRunner().run(encryption.command, {
        timeoutMs: KEY_COMMAND_TIMEOUT_MS,
      });
      return parseKeyFile(result.stdout, 'The output of the key command');
    }
  }
}

/** The database with its keys, for commands that work beside a serving registry. */
export async function openRegistry(config: RegistryConfig): Promise<Registry> {
  const store = await openStore(config.db);
  try {
    await store.migrate();
    const keyring = new Keyring(await loadKeys(config.encryption, 'make'));
    await verifyKeys(store, keyring);
    return new Registry({ store, keyring });
  } catch (error) {
    await store.close();
    throw error;
  }
}

export async function composeServer(
  config: RegistryConfig,
  logs: { readonly log: Logger; readonly audit: Logger },
): Promise<RegistryServer> {
  const listeners: ListenerOptions[] = await Promise.all(
    config.listeners.map(async ({ address, port, tls }) => ({
      address,
      port,
      ...(tls ? { tls: await readTls(tls) } : {}),
    })),
  );
  const instanceAddresses = await composeAddresses(config);
  return createRegistryServer({
    store: await openStore(config.db),
    encryption: encryptionOptions(config.encryption),
    listeners,
    admins: config.admins,
    certificateRules: config.certificateRules,
    allowLoopbackReads: config.loopbackReads,
    trustedProxies: config.trustedProxies,
    failedLogins: config.failedLogins,
    limits: config.limits,
    requireJson: config.requireJson,
    drainMs: config.drainMs,
    ...(config.expireUntouchedAfterMs === undefined
      ? {}
      : { expireUntouchedAfterMs: config.expireUntouchedAfterMs }),
    ...(instanceAddresses && config.cloud
      ? {
          instanceAddresses,
          addressCache: { knownForMs: config.cloud.cacheMs, timeoutMs: config.cloud.timeoutMs },
        }
      : {}),
    logger: logs.log,
    audit: logs.audit,
  });
}

export async function readTls(files: TlsFiles): Promise<TlsMaterial> {
  const [certificate, privateKey, clientCa] = await Promise.all([
    readFile(files.certificate, 'utf8'),
    readFile(files.privateKey, 'utf8'),
    files.clientCa === undefined ? undefined : readFile(files.clientCa, 'utf8'),
  ]);
  return { certificate, privateKey, ...(clientCa === undefined ? {} : { clientCa }) };
}

function encryptionOptions(encryption: EncryptionConfig): EncryptionOptions {
  if (encryption.mode === 'off') return { off: true };
  if (encryption.mode === 'file') return { keyFile: encryption.keyFile };
  return {
    load: async () => {
      const material = await loadKeys(encryption, 'read');
      if (!material) throw new Error('a key command yields keys');
      return material;
    },
  };
}

async function composeAddresses(config: RegistryConfig): Promise<InstanceAddresses | undefined> {
  const { cloud } = config;
  if (!cloud) return undefined;
  const ca = cloud.caFile === undefined ? undefined : await readFile(cloud.caFile, 'utf8');
  if (cloud.plugin === 'openstack') {
    const { OpenStackAddresses } = await import('./adapters/openstack/openstack-addresses.ts');
    return new OpenStackAddresses(cloud, ca);
  }
  const { AwsAddresses } = await import('./adapters/aws/aws-addresses.ts');
  return new AwsAddresses(cloud, ca);
}
