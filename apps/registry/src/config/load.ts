import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import type { TSchema } from 'typebox';
import { Check, Errors } from 'typebox/value';
import type { Json, JsonObject } from '@microbosh/errors';
import { errorCode, isJsonObject, isOperationalError, messageOf } from '@microbosh/errors';
import { DEFAULT_LIMITS, TrustedProxies, isReadToken, parsePasswordHash } from '@microbosh/registry-server';
import type { AdminCredential } from '@microbosh/registry-server';
import { parseYaml, toJson } from '@microbosh/spec/documents';
import type { CloudConfig, EncryptionConfig, ListenerConfig, RegistryConfig } from './config.ts';
import { isSchema, propertiesOf } from './print.ts';
import { ConfigDocument } from './schema.ts';
import { ConfigRefused, nearestName } from './problems.ts';

export interface LoadedConfig {
  readonly config: RegistryConfig;
  /** As it stands in the file, without what is empty. */
  readonly document: JsonObject;
  /** What is accepted but has no effect. */
  readonly warnings: readonly string[];
}

const LEVELS = ['debug', 'info', 'warn', 'error', 'fatal'] as const;

/** Reads a configuration file of ours or of the original. Throws ConfigRefused with all problems. */
export async function loadConfig(path: string): Promise<LoadedConfig> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') throw new ConfigRefused([`Cannot find file '${path}'`]);
    throw new ConfigRefused([`Cannot load YAML file at '${path}': ${messageOf(error)}`]);
  }
  return parseConfig(text, path);
}

export function parseConfig(text: string, path: string): LoadedConfig {
  let document: unknown;
  try {
    // The original is a Ruby program: its files mean what Ruby's YAML says they mean.
    document = toJson(parseYaml(text, { file: path, dialect: 'psych' }));
  } catch (error) {
    if (!isOperationalError(error)) throw error;
    throw new ConfigRefused([`Cannot load YAML file at '${path}': ${error.message}`]);
  }
  if (!isJsonObject(document)) throw new ConfigRefused([`Incorrect file format in '${path}', Hash expected`]);
  const missing = missingSections(document);
  if (missing.length > 0) throw new ConfigRefused(missing);
  const pruned = withoutEmpty(document);
  if (!isConfigDocument(pruned)) {
    throw new ConfigRefused(
      [...Errors(ConfigDocument, pruned)].map((one) => `${keyOf(one.instancePath)}: ${one.message}.`),
    );
  }
  const problems: string[] = [];
  const config = resolve(pruned, problems);
  if (problems.length > 0) throw new ConfigRefused(problems);
  return { config, document: pruned, warnings: unknownKeys(ConfigDocument, pruned, '') };
}

/** The refusals of the original, in its words: operators search for them. */
function missingSections(document: Readonly<Record<string, unknown>>): string[] {
  const problems: string[] = [];
  const { http, db, cloud } = document;
  if (!isJsonObject(http)) problems.push('HTTP configuration is missing from config file');
  if (!isJsonObject(db)) problems.push('Database configuration is missing from config file');
  if (cloud !== undefined && cloud !== null) {
    if (!isJsonObject(cloud)) problems.push('Cloud configuration is missing from config file');
    else if (cloud.plugin === undefined || cloud.plugin === null) {
      problems.push('Cloud plugin is missing from config file');
    } else if (cloud.plugin !== 'aws' && cloud.plugin !== 'openstack') {
      problems.push(`Could not find Provider Plugin: ${JSON.stringify(cloud.plugin).replaceAll('"', '')}`);
    }
  }
  return problems;
}

function isConfigDocument(value: unknown): value is ConfigDocument {
  return Check(ConfigDocument, value);
}

/** Templates leave empty values behind: they count as not given. */
function withoutEmpty(document: JsonObject): JsonObject {
  const prune = (value: Json): Json => {
    if (Array.isArray(value)) return value.map(prune);
    return isJsonObject(value) ? withoutEmpty(value) : value;
  };
  return Object.fromEntries(
    Object.entries(document)
      .filter(([, one]) => one !== null && one !== '')
      .map(([key, one]) => [key, prune(one)]),
  );
}

function resolve(document: ConfigDocument, problems: string[]): RegistryConfig {
  const { http, settings } = document;
  const logFile = str(document.logfile);
  const auditLogFile = str(document.audit_logfile);
  const expireMs = (settings?.expire_untouched_after ?? 0) * 1000;
  const cloud = resolveCloud(document, problems);
  const limits = http.limits ?? {};
  const config: RegistryConfig = {
    ...(logFile === undefined ? {} : { logFile }),
    ...(auditLogFile === undefined ? {} : { auditLogFile }),
    logLevel: resolveLevel(document.loglevel, problems),
    listeners: resolveListeners(http, problems),
    admins: resolveAdmins(http, problems),
    certificateRules: (http.tls?.client_identities ?? []).map((rule) => ({
      commonName: rule.common_name,
      access: rule.access,
    })),
    trustedProxies: http.trusted_proxies ?? [],
    loopbackReads: http.loopback_reads ?? false,
    failedLogins: {
      attempts: http.failed_logins?.attempts ?? 10,
      windowMs: (http.failed_logins?.window ?? 60) * 1000,
    },
    limits: {
      bodyBytes: limits.body_bytes ?? DEFAULT_LIMITS.bodyBytes,
      headerBytes: limits.header_bytes ?? DEFAULT_LIMITS.headerBytes,
      handshakeTimeoutMs: (limits.handshake_timeout ?? DEFAULT_LIMITS.handshakeTimeoutMs / 1000) * 1000,
      headersTimeoutMs: (limits.headers_timeout ?? DEFAULT_LIMITS.headersTimeoutMs / 1000) * 1000,
      requestTimeoutMs: (limits.request_timeout ?? DEFAULT_LIMITS.requestTimeoutMs / 1000) * 1000,
      idleTimeoutMs: (limits.idle_timeout ?? DEFAULT_LIMITS.idleTimeoutMs / 1000) * 1000,
      connections: limits.connections ?? DEFAULT_LIMITS.connections,
    },
    db: resolveDb(document.db, problems),
    encryption: resolveEncryption(document, problems),
    requireJson: settings?.require_json ?? true,
    ...(expireMs > 0 ? { expireUntouchedAfterMs: expireMs } : {}),
    drainMs: (document.drain_timeout ?? 10) * 1000,
    ...(cloud ? { cloud } : {}),
  };
  try {
    new TrustedProxies(config.trustedProxies);
  } catch (error) {
    problems.push(`http.trusted_proxies: ${messageOf(error)}`);
  }
  for (const rule of config.certificateRules) {
    if (rule.commonName === '*' && rule.access !== 'own-instance') {
      problems.push(`http.tls.client_identities: '*' would give everybody ${rule.access} access.`);
    }
  }
  return config;
}

function resolveLevel(level: string | undefined, problems: string[]): RegistryConfig['logLevel'] {
  const wanted = (level ?? 'info').toLowerCase();
  const found = LEVELS.find((known) => known === wanted);
  if (found === undefined) problems.push(`loglevel: '${wanted}' is not one of ${LEVELS.join(', ')}.`);
  return found ?? 'info';
}

function resolveListeners(http: ConfigDocument['http'], problems: string[]): ListenerConfig[] {
  const address = http.address ?? '0.0.0.0';
  if (isIP(address) === 0) problems.push(`http.address: '${address}' is not an IP address.`);
  const port = http.port ?? 25_777;
  if (!http.tls) {
    if (http.plain) problems.push('http.plain: without http.tls the listener at http.port is plain already.');
    return [{ address, port }];
  }
  const certificate = str(http.tls.certificate);
  const privateKey = str(http.tls.private_key);
  const clientCa = str(http.tls.client_ca);
  if (certificate === undefined || privateKey === undefined) {
    problems.push('http.tls: certificate and private_key are both needed.');
  }
  if (http.tls.client_identities && clientCa === undefined) {
    problems.push('http.tls.client_identities: client_ca is needed to verify them.');
  }
  const tls = {
    certificate: certificate ?? '',
    privateKey: privateKey ?? '',
    ...(clientCa === undefined ? {} : { clientCa }),
  };
  const plain = http.plain && { address: http.plain.address ?? '127.0.0.1', port: http.plain.port ?? 0 };
  if (plain && http.plain?.port === undefined) problems.push('http.plain.port is missing.');
  return [{ address, port, tls }, ...(plain ? [plain] : [])];
}

function resolveAdmins(http: ConfigDocument['http'], problems: string[]): AdminCredential[] {
  const admins: AdminCredential[] = [];
  const add = (
    place: string,
    one: { name: unknown; password: unknown; hash: unknown; access: string | undefined },
  ) => {
    const [user, password, passwordHash] = [str(one.name), str(one.password), str(one.hash)];
    const access = one.access === 'read-only' ? 'read-only' : 'read-write';
    if (user === undefined && password === undefined && passwordHash === undefined) return;
    if (user === undefined) problems.push(`${place}: the name is missing.`);
    else if (user.includes(':')) problems.push(`${place}: a name with a colon cannot be sent.`);
    else if ((password === undefined) === (passwordHash === undefined)) {
      problems.push(`${place}: give either a password or a password_hash.`);
    } else if (password !== undefined) {
      if (isReadToken(password)) problems.push(`${place}: the password has the form of a read token.`);
      admins.push({ user, access, password });
    } else if (passwordHash !== undefined) {
      try {
        parsePasswordHash(passwordHash);
      } catch (error) {
        problems.push(`${place}: ${messageOf(error)}`);
      }
      admins.push({ user, access, passwordHash });
    }
  };
  add('http.user', {
    name: http.user,
    password: http.password,
    hash: http.password_hash,
    access: http.access,
  });
  for (const [index, one] of (http.additional_users ?? []).entries()) {
    add(`http.additional_users[${index}]`, {
      name: one.username,
      password: one.password,
      hash: one.password_hash,
      access: one.access,
    });
  }
  return admins;
}

function resolveDb(db: ConfigDocument['db'], problems: string[]): RegistryConfig['db'] {
  const adapter = db.adapter ?? 'sqlite';
  const database = str(db.database);
  if (adapter === 'sqlite') {
    if (database === undefined) problems.push('db.database: the file of the SQLite database is missing.');
    if (database === ':memory:') problems.push('db.database: settings must survive; give a file.');
    return { adapter, file: database ?? '' };
  }
  if (adapter !== 'postgres') {
    problems.push(
      `db.adapter: '${adapter}' is not supported; sqlite and postgres are. Rows of a MySQL registry can be taken over: microbosh-registry import --original-dump FILE.`,
    );
  }
  const options = db.connection_options ?? {};
  const certificates = db.tls?.cert ?? {};
  const internal = db.tls?.bosh_internal ?? {};
  const sslmode = options.sslmode ?? (db.tls?.enabled === true ? 'verify-full' : 'disable');
  const ca = internal.ca_provided === true ? str(certificates.ca) : undefined;
  const mutual = internal.mutual_tls_enabled === true;
  if (internal.ca_provided === true && ca === undefined) problems.push('db.tls.cert.ca is missing.');
  const [certificate, privateKey] = [str(certificates.certificate), str(certificates.private_key)];
  if (mutual && (certificate === undefined || privateKey === undefined)) {
    problems.push('db.tls.cert: certificate and private_key are needed for mutual TLS.');
  }
  if (database === undefined) problems.push('db.database: the name of the database is missing.');
  const [host, port, user, password] = [str(db.host), str(db.port), str(db.user), str(db.password)];
  return {
    adapter: 'postgres',
    connection: {
      ...(database === undefined ? {} : { database }),
      ...(host === undefined ? {} : { host }),
      ...(port === undefined ? {} : { port: Number(port) }),
      ...(user === undefined ? {} : { user }),
      ...(password === undefined ? {} : { password }),
      max: options.max_connections ?? 32,
      connectionTimeoutMillis: (options.pool_timeout ?? 10) * 1000,
    },
    tls:
      sslmode === 'disable'
        ? undefined
        : {
            verify: sslmode === 'verify-full',
            ...(ca === undefined ? {} : { ca }),
            ...(mutual && certificate !== undefined && privateKey !== undefined
              ? { certificate, privateKey }
              : {}),
          },
    retryForMs: (db.retry_timeout ?? 10) * 1000,
  };
}

function resolveEncryption(document: ConfigDocument, problems: string[]): EncryptionConfig {
  const { encryption, db } = document;
  if (encryption?.enabled === false) return { mode: 'off' };
  const keyFile = str(encryption?.key_file);
  const [program, ...args] = encryption?.key_command ?? [];
  if (keyFile !== undefined && program !== undefined) {
    problems.push('encryption: give either key_file or key_command.');
  }
  if (program !== undefined) return { mode: 'command', command: [program, ...args] };
  if (keyFile !== undefined) return { mode: 'file', keyFile };
  const isFile = (db.adapter ?? 'sqlite') === 'sqlite';
  return { mode: 'file', keyFile: isFile ? `${str(db.database) ?? ''}.key` : DEFAULT_KEY_FILE };
}

/** For databases that are not a file, such as those of an original configuration that names no key. */
const DEFAULT_KEY_FILE = '/var/lib/microbosh-registry/registry.key';

function resolveCloud(document: ConfigDocument, problems: string[]): CloudConfig | undefined {
  const { cloud } = document;
  if (!cloud) return undefined;
  const common = { cacheMs: (cloud.cache_seconds ?? 30) * 1000, timeoutMs: (cloud.timeout ?? 5) * 1000 };
  return cloud.plugin === 'aws'
    ? resolveAws(cloud, common, problems)
    : resolveOpenStack(cloud, common, problems);
}

type CloudDocument = NonNullable<ConfigDocument['cloud']>;
type CloudTimes = { readonly cacheMs: number; readonly timeoutMs: number };

function resolveAws(cloud: CloudDocument, common: CloudTimes, problems: string[]): CloudConfig {
  const aws = cloud.aws ?? {};
  const region = str(aws.region);
  const [accessKeyId, secretAccessKey] = [str(aws.access_key_id), str(aws.secret_access_key)];
  const source = aws.credentials_source ?? 'static';
  if (region === undefined) problems.push('Invalid AWS configuration parameters');
  if (source !== 'static' && source !== 'env_or_profile')
    problems.push(`Unknown credentials_source ${source}`);
  if (source === 'static' && (accessKeyId === undefined || secretAccessKey === undefined)) {
    problems.push('Must use access_key_id and secret_access_key with static credentials_source');
  }
  if (source === 'env_or_profile' && (accessKeyId !== undefined || secretAccessKey !== undefined)) {
    problems.push("Can't use access_key_id and secret_access_key with env_or_profile credentials_source");
  }
  const endpoint = str(aws.ec2_endpoint);
  const caFile = str(aws.ssl_ca_file);
  return {
    plugin: 'aws',
    region: region ?? '',
    ...(accessKeyId === undefined ? {} : { accessKeyId }),
    ...(secretAccessKey === undefined ? {} : { secretAccessKey }),
    ...(endpoint === undefined
      ? {}
      : { endpoint: endpoint.includes('://') ? endpoint : `https://${endpoint}` }),
    maxRetries: aws.max_retries ?? 2,
    ...(caFile === undefined ? {} : { caFile }),
    verifyPeer: aws.ssl_verify_peer ?? true,
    ...common,
  };
}

function resolveOpenStack(cloud: CloudDocument, common: CloudTimes, problems: string[]): CloudConfig {
  const openstack = cloud.openstack ?? {};
  const authUrl = str(openstack.auth_url);
  const username = str(openstack.username);
  const password = str(openstack.api_key);
  const [tenant, project, domain] = [str(openstack.tenant), str(openstack.project), str(openstack.domain)];
  const userDomain = str(openstack.user_domain_name) ?? domain;
  const projectDomain = str(openstack.project_domain_name) ?? domain;
  const isV3 = /\/v3(\/|$)/.test(authUrl ?? '');
  const isV2 = !isV3 && /\/v2/.test(authUrl ?? '');
  const complete =
    authUrl !== undefined &&
    username !== undefined &&
    password !== undefined &&
    (!isV2 || tenant !== undefined) &&
    (!isV3 || (project !== undefined && userDomain !== undefined && projectDomain !== undefined));
  if (!complete) problems.push('Invalid OpenStack configuration parameters');
  const region = str(openstack.region);
  const caFile = str(openstack.connection_options?.ssl_ca_file);
  return {
    plugin: 'openstack',
    authUrl: authUrl ?? '',
    username: username ?? '',
    password: password ?? '',
    ...(tenant === undefined ? {} : { tenant }),
    ...(project === undefined ? {} : { project }),
    ...(userDomain === undefined ? {} : { userDomain }),
    ...(projectDomain === undefined ? {} : { projectDomain }),
    ...(region === undefined ? {} : { region }),
    endpointType: str(openstack.endpoint_type) ?? 'publicURL',
    ...(caFile === undefined ? {} : { caFile }),
    verifyPeer: openstack.connection_options?.ssl_verify_peer ?? true,
    ...common,
  };
}

/** Numbers stand for their digits: credentials of the wire are text. */
function str(value: unknown): string | undefined {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined;
}

function unknownKeys(schema: TSchema, value: unknown, place: string): string[] {
  if (Array.isArray(value)) {
    const items = 'items' in schema ? schema.items : undefined;
    return value.flatMap((one, index) =>
      isSchema(items) ? unknownKeys(items, one, `${place}[${index}]`) : [],
    );
  }
  if (!isJsonObject(value)) return [];
  const properties = propertiesOf(schema);
  return Object.entries(value).flatMap(([key, one]) => {
    const known = properties[key];
    const path = place === '' ? key : `${place}.${key}`;
    if (isSchema(known)) return unknownKeys(known, one, path);
    const nearest = nearestName(key, Object.keys(properties));
    return [`${path} has no effect${nearest === undefined ? '' : `; do you mean ${nearest}?`}`];
  });
}

function keyOf(instancePath: string): string {
  return instancePath === '' ? 'the file' : instancePath.slice(1).replaceAll('/', '.');
}
