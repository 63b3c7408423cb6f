import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import type { Logger } from 'pino';
import { messageOf } from '@microbosh/errors';
import { CachedInstanceAddresses } from './access/address-check.ts';
import type { AddressCacheOptions, InstanceAddresses } from './access/address-check.ts';
import { AdminCredentials } from './access/admin-credentials.ts';
import type { AdminCredential } from './access/admin-credentials.ts';
import { TrustedProxies } from './access/client-address.ts';
import { FailedLogins } from './access/failed-logins.ts';
import type { FailedLoginLimit } from './access/failed-logins.ts';
import { Gatekeeper } from './access/gatekeeper.ts';
import type { CertificateRule } from './access/gatekeeper.ts';
import { scryptHasher } from './access/passwords.ts';
import type { PasswordHasher } from './access/passwords.ts';
import { isReadToken } from './access/read-tokens.ts';
import { SqliteStore } from './adapters/sqlite/sqlite-store.ts';
import { readKeyFile, readOrMakeKeyFile } from './crypto/key-file.ts';
import { Keyring } from './crypto/keyring.ts';
import type { KeyMaterial } from './crypto/keyring.ts';
import { RegistryMisconfigured } from './errors.ts';
import { buildApp } from './http/app.ts';
import type { Access, AnsweredRequest } from './http/context.ts';
import { DEFAULT_LIMITS } from './http/limits.ts';
import type { HttpLimits } from './http/limits.ts';
import { Listener } from './http/listener.ts';
import type { BoundListener, ListenerOptions, TlsMaterial } from './http/listener.ts';
import { Metrics } from './http/metrics.ts';
import type { RegistryStore } from './ports/store.ts';
import { Registry, verifyKeys } from './registry.ts';

/** Where the key of the settings comes from. `load` is asked again on reload and when a row names an unknown key. */
export type EncryptionOptions =
  { readonly keyFile: string } | { readonly load: () => Promise<KeyMaterial> } | { readonly off: true };

export interface AccessOptions {
  readonly admins: readonly AdminCredential[];
  readonly certificateRules?: readonly CertificateRule[];
  /** Let requests from this machine read without credentials. Default false. */
  readonly allowLoopbackReads?: boolean;
  /** Networks whose forwarded headers are believed. Default none. */
  readonly trustedProxies?: readonly string[];
}

export interface RegistryServerOptions extends AccessOptions {
  /** A file for SQLite, or a store that is already made; the server closes it in both cases. */
  readonly store: { readonly sqliteFile: string } | RegistryStore;
  /** Default: a key file `<database>.key` beside a SQLite file, made when absent. Required for other stores. */
  readonly encryption?: EncryptionOptions;
  readonly listeners: readonly ListenerOptions[];
  readonly limits?: Partial<HttpLimits>;
  readonly failedLogins?: FailedLoginLimit;
  /** Asks the IaaS which addresses an instance has, for reads without credentials. */
  readonly instanceAddresses?: InstanceAddresses;
  readonly addressCache?: AddressCacheOptions;
  /** Refuse settings that are not a JSON object. Default true. */
  readonly requireJson?: boolean;
  /** Remove rows that were neither written nor read for so long. Default: never. */
  readonly expireUntouchedAfterMs?: number;
  /** How often what has expired is looked for. Default 60 000 ms. */
  readonly sweepIntervalMs?: number;
  /** How long running requests may take when the server closes. Default 10 000 ms. */
  readonly drainMs?: number;
  readonly logger?: Logger;
  readonly audit?: Logger;
  /** Told of every request, once it is answered. */
  readonly onAnswer?: (answer: AnsweredRequest) => void;
  readonly hasher?: PasswordHasher;
  readonly clock?: () => number;
}

export interface ReloadOptions extends Partial<AccessOptions> {
  /** For all TLS listeners. */
  readonly tls?: TlsMaterial;
}

export interface RegistryServer {
  readonly registry: Registry;
  /** The application, for requests without a socket. */
  readonly app: FastifyInstance;
  /** `GET /path`, of all routes. */
  readonly routes: readonly string[];
  /** Filled by `listen`. */
  readonly addresses: readonly BoundListener[];
  /** Starts all listeners, or none. */
  listen(): Promise<readonly BoundListener[]>;
  /** Replaces what is given, without a break: credentials, proxies, certificates; the keys are always read again. */
  reload(options: ReloadOptions): Promise<void>;
  /** Takes no new requests, ends the running ones, writes what is counted, closes the store. */
  close(): Promise<void>;
}

const FLUSH_INTERVAL_MS = 5_000;
const SWEEP_INTERVAL_MS = 60_000;
const KEY_POLL_INTERVAL_MS = 2_000;

/** Opens the store, checks the keys against it and builds the server; nothing listens yet. */
export async function createRegistryServer(options: RegistryServerOptions): Promise<RegistryServer> {
  const clock = options.clock ?? Date.now;
  const logger = options.logger ?? pino({ enabled: false });
  const audit = options.audit ?? logger.child({ component: 'audit' });
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  refuseTokenLikePasswords(options.admins);
  const trustedProxies = new TrustedProxies(options.trustedProxies ?? []);
  const encryption = encryptionOf(options);
  const loadKeyring = keyringLoader(encryption, clock);
  const store =
    'sqliteFile' in options.store ? new SqliteStore({ path: options.store.sqliteFile }) : options.store;

  try {
    await store.migrate();
    const keyring = await loadKeyring('make');
    await verifyKeys(store, keyring);
    const registry = new Registry({ store, keyring, clock, reloadKeys: () => loadKeyring('read') });
    const admins = new AdminCredentials(options.admins, options.hasher ?? scryptHasher);
    const failedLogins = new FailedLogins(options.failedLogins ?? { attempts: 10, windowMs: 60_000 }, clock);
    const addresses =
      options.instanceAddresses &&
      new CachedInstanceAddresses(options.instanceAddresses, { clock, ...options.addressCache });
    const makeGatekeeper = (accessOptions: Partial<AccessOptions>) =>
      new Gatekeeper({
        registry,
        admins,
        failedLogins,
        ...(addresses ? { addresses } : {}),
        certificateRules: accessOptions.certificateRules ?? [],
        allowLoopbackReads: accessOptions.allowLoopbackReads ?? false,
      });
    const access: Access = { gatekeeper: makeGatekeeper(options), proxies: trustedProxies };
    const listeners: Listener[] = [];
    const metrics = new Metrics(() => listeners.reduce((sum, listener) => sum + listener.connections, 0));
    let draining = false;
    const { app, routes } = await buildApp(
      {
        registry,
        access,
        metrics,
        limits,
        audit,
        ...(options.onAnswer && { onAnswer: options.onAnswer }),
        requireJson: options.requireJson ?? true,
        isDraining: () => draining,
      },
      logger,
    );
    for (const listener of options.listeners) {
      listeners.push(new Listener(listener, limits, (request, response) => app.routing(request, response)));
    }
    const background = new Background(logger);
    let bound: readonly BoundListener[] = [];
    let current: AccessOptions = options;
    let closing: Promise<void> | undefined;

    const server: RegistryServer = {
      registry,
      app,
      routes,
      get addresses() {
        return bound;
      },
      async listen() {
        const started: BoundListener[] = [];
        try {
          for (const listener of listeners) started.push(await listener.listen());
        } catch (error) {
          await Promise.all(listeners.map((listener) => listener.close(0)));
          throw error;
        }
        bound = started;
        setImmediate(() => metrics.watchProcess());
        background.every(FLUSH_INTERVAL_MS, 'write activity', () => registry.flushActivity());
        background.every(options.sweepIntervalMs ?? SWEEP_INTERVAL_MS, 'sweep', async () => {
          await store.sweep(clock());
          if (options.expireUntouchedAfterMs === undefined) return;
          const expired = await registry.expireUntouched(options.expireUntouchedAfterMs, { dryRun: false });
          if (expired.length > 0)
            audit.info({ event: 'expired', instanceIds: expired }, 'stale instances expired');
        });
        if (!('off' in encryption)) {
          background.every(KEY_POLL_INTERVAL_MS, 'read keys', () =>
            refreshKeys(registry, loadKeyring, encryption),
          );
        }
        logger.info({ addresses: bound.map((one) => one.url) }, 'registry listens');
        return bound;
      },
      async reload(changed) {
        if (changed.admins) refuseTokenLikePasswords(changed.admins);
        const proxies = changed.trustedProxies && new TrustedProxies(changed.trustedProxies);
        await registry.useKeyring(await loadKeyring('read'));
        current = { ...current, ...changed };
        if (changed.admins) admins.replace(changed.admins);
        if (proxies) access.proxies = proxies;
        access.gatekeeper = makeGatekeeper(current);
        if (changed.tls) for (const listener of listeners) listener.replaceTls(changed.tls);
        logger.info('registry reloaded');
      },
      close() {
        closing ??= (async () => {
          draining = true;
          await Promise.all(listeners.map((listener) => listener.close(options.drainMs ?? 10_000)));
          await background.stop();
          await registry.flushActivity().catch((error: unknown) => {
            logger.warn({ reason: messageOf(error) }, 'the counters of the last reads are lost');
          });
          await app.close();
          await store.close();
        })();
        return closing;
      },
    };
    return server;
  } catch (error) {
    await store.close().catch(() => undefined);
    throw error;
  }
}

/** Repeats small duties; one that fails is logged and tried again at its next turn. */
class Background {
  readonly #logger: Logger;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #running = new Set<Promise<void>>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  every(intervalMs: number, duty: string, work: () => Promise<void>): void {
    let busy = false;
    const timer = setInterval(() => {
      if (busy) return;
      busy = true;
      const turn = work()
        .catch((error: unknown) => {
          this.#logger.warn(
            { duty, reason: messageOf(error) },
            'a background duty failed and is tried again',
          );
        })
        .finally(() => {
          busy = false;
          this.#running.delete(turn);
        });
      this.#running.add(turn);
    }, intervalMs);
    timer.unref();
    this.#timers.push(timer);
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await Promise.all(this.#running);
  }
}

type LoadKeyring = (mode: 'make' | 'read') => Promise<Keyring>;

function encryptionOf(options: RegistryServerOptions): EncryptionOptions {
  if (options.encryption) return options.encryption;
  if ('sqliteFile' in options.store) return { keyFile: `${options.store.sqliteFile}.key` };
  throw new RegistryMisconfigured('A store that is not a file needs a key file or a key command.', {
    advice: 'Set encryption.key_file; every registry process of one database needs the same keys.',
  });
}

function keyringLoader(encryption: EncryptionOptions, clock: () => number): LoadKeyring {
  return async (mode) => {
    if ('off' in encryption) return new Keyring(undefined);
    if ('load' in encryption) return new Keyring(await encryption.load());
    return new Keyring(
      mode === 'make'
        ? await readOrMakeKeyFile(encryption.keyFile, clock())
        : await readKeyFile(encryption.keyFile),
    );
  };
}

/** Follows a key file that was changed by `rotate-key`. Key commands are asked only on reload and for unknown keys. */
async function refreshKeys(
  registry: Registry,
  loadKeyring: LoadKeyring,
  encryption: Exclude<EncryptionOptions, { readonly off: true }>,
): Promise<void> {
  if (!('keyFile' in encryption)) return;
  const keyring = await loadKeyring('read');
  const known = registry.keyring;
  const same =
    keyring.activeKeyId === known.activeKeyId && keyring.keyIds.join('\n') === known.keyIds.join('\n');
  if (!same) await registry.useKeyring(keyring);
}

function refuseTokenLikePasswords(admins: readonly AdminCredential[]): void {
  for (const admin of admins) {
    if ('password' in admin && isReadToken(admin.password)) {
      throw new RegistryMisconfigured(`The password of '${admin.user}' has the form of a read token.`, {
        advice: 'Choose one that does not begin with mbt_.',
      });
    }
  }
}
