import { isJsonObject, type Json, type JsonObject } from '@microbosh/errors';
import type { AgentSettings, DiskHint, NetworkSpec, UserData } from '@microbosh/spec';
import { Type } from 'typebox';
import { Compile } from 'typebox/schema';
import { SettingsInvalid } from './errors.ts';
import { valueOf } from './json-keys.ts';

const Text = Type.String();
const AnyObject = Type.Record(Type.String(), Type.Any());

const NetworkSchema = Type.Object({
  type: Type.Union([Type.Literal('manual'), Type.Literal('dynamic'), Type.Literal('vip')]),
  ip: Type.Optional(Text),
  netmask: Type.Optional(Text),
  gateway: Type.Optional(Text),
  dns: Type.Optional(Type.Array(Text)),
  default: Type.Optional(Type.Array(Type.Union([Type.Literal('dns'), Type.Literal('gateway')]))),
  cloud_properties: Type.Optional(AnyObject),
  mac: Type.Optional(Text),
  use_dhcp: Type.Optional(Type.Boolean()),
  resolved: Type.Optional(Type.Boolean()),
  preconfigured: Type.Optional(Type.Boolean()),
  alias: Type.Optional(Text),
  prefix: Type.Optional(Text),
  routes: Type.Optional(
    Type.Array(Type.Object({ destination: Text, gateway: Text, netmask: Type.String({ default: '' }) })),
  ),
});

const HintSchema = Type.Union([
  Text,
  Type.Object({
    path: Type.Optional(Text),
    volume_id: Type.Optional(Text),
    id: Type.Optional(Text),
    lun: Type.Optional(Text),
    host_device_id: Type.Optional(Text),
    iscsi_settings: Type.Optional(AnyObject),
  }),
]);

const SettingsSchema = Type.Object({
  agent_id: Type.String({ minLength: 1 }),
  mbus: Text,
  vm: Type.Optional(AnyObject),
  networks: Type.Record(Type.String(), NetworkSchema),
  disks: Type.Object({
    system: Type.Optional(Text),
    ephemeral: Type.Optional(HintSchema),
    persistent: Type.Optional(Type.Record(Type.String(), HintSchema)),
    raw_ephemeral: Type.Optional(Type.Array(AnyObject)),
  }),
  ntp: Type.Optional(Type.Array(Text)),
  blobstore: Type.Optional(Type.Object({ provider: Type.Optional(Text), options: Type.Optional(AnyObject) })),
  env: Type.Optional(AnyObject),
  iptables: Type.Optional(Type.Object({ drop_output: Type.Optional(Type.Array(Text)) })),
});

const UserDataSchema = Type.Object({
  registry: Type.Optional(Type.Object({ endpoint: Type.String({ minLength: 1 }), ca: Type.Optional(Text) })),
  server: Type.Optional(Type.Object({ name: Text })),
  dns: Type.Optional(Type.Object({ nameserver: Type.Array(Text) })),
  networks: Type.Optional(Type.Record(Type.String(), NetworkSchema)),
});

const checkSettings = Compile(SettingsSchema);
const checkUserData = Compile(UserDataSchema);

const hintKeys = ['path', 'volume_id', 'id', 'lun', 'host_device_id', 'iscsi_settings'] as const;

/**
 * Reads a settings document as the originals do (keys in any case, unknown keys ignored), except that it demands an
 * agent id and names the member that is wrong. Numbers inside disk hints, which end the Go agent, become text.
 *
 * @example {"agent_id":"a-1","mbus":"https://mbus:pw@0.0.0.0:6868","networks":{},"disks":{"ephemeral":{"path":"/dev/sdb"},"persistent":{"disk-1":{"id":"42"}}}}
 */
export function parseSettings(document: JsonObject, source: string): AgentSettings {
  const candidate = withoutAbsent({
    agent_id: valueOf(document, 'agent_id'),
    mbus: valueOf(document, 'mbus') ?? '',
    vm: valueOf(document, 'vm'),
    networks: parseNetworks(valueOf(document, 'networks') ?? {}),
    disks: parseDisks(valueOf(document, 'disks') ?? {}),
    ntp: valueOf(document, 'ntp'),
    blobstore: valueOf(document, 'blobstore'),
    env: valueOf(document, 'env'),
    iptables: valueOf(document, 'iptables'),
  });
  if (checkSettings.Check(candidate)) return asSettings(candidate);
  throw invalid(`The settings from ${source}`, checkSettings.Errors(candidate)[1]);
}

/** The document that points to the registry. */
export function parseUserData(document: JsonObject, source: string): UserData {
  const networks = valueOf(document, 'networks');
  const candidate = withoutAbsent({
    registry: valueOf(document, 'registry'),
    server: valueOf(document, 'server'),
    dns: nameserversOf(valueOf(document, 'dns')),
    networks: networks === undefined ? undefined : parseNetworks(networks),
  });
  if (checkUserData.Check(candidate)) return asUserData(candidate);
  throw invalid(`The user data from ${source}`, checkUserData.Errors(candidate)[1]);
}

/** JSON, or (as metadata services deliver it) unpadded URL-safe base64 of it, in quotes or not. */
export function decodeUserData(text: string, source: string): JsonObject {
  for (const candidate of [text, decodeBase64(text)]) {
    try {
      const value: unknown = JSON.parse(candidate);
      if (isJsonObject(value)) return value;
    } catch {
      continue;
    }
  }
  throw new SettingsInvalid(`The user data from ${source} is neither a JSON object nor base64 of one.`, {
    advice: 'Look at what the CPI wrote as user data for this machine.',
  });
}

function decodeBase64(text: string): string {
  return Buffer.from(text.trim().replaceAll('"', ''), 'base64url').toString('utf8');
}

function nameserversOf(dns: Json | undefined): Json | undefined {
  if (!isJsonObject(dns)) return dns;
  const servers = valueOf(dns, 'nameserver');
  return servers === undefined ? undefined : { nameserver: servers };
}

function parseNetworks(value: Json): Json {
  if (!isJsonObject(value)) return value;
  return mapValues(value, (network) => {
    if (!isJsonObject(network)) return network;
    const known = withoutAbsent(
      Object.fromEntries(
        Object.keys(NetworkSchema.properties).map((key) => [key, valueOf(network, key)] as const),
      ),
    );
    return { ...known, type: known['type'] === '' || known['type'] === undefined ? 'manual' : known['type'] };
  });
}

function parseDisks(value: Json): Json {
  if (!isJsonObject(value)) return value;
  const persistent = valueOf(value, 'persistent');
  return withoutAbsent({
    system: textOf(valueOf(value, 'system')),
    ephemeral: parseHint(valueOf(value, 'ephemeral')),
    persistent: isJsonObject(persistent)
      ? mapValues(persistent, (hint) => parseHint(hint) ?? {})
      : persistent,
    raw_ephemeral: valueOf(value, 'raw_ephemeral'),
  });
}

/** A hint in the settings' own form; undefined when there is none. */
export function parseHint(value: Json | undefined): Json | undefined {
  if (!isJsonObject(value)) return value === '' ? undefined : textOf(value);
  return withoutAbsent(
    Object.fromEntries(
      hintKeys.map((key) => {
        const member = valueOf(value, key);
        return [key, key === 'iscsi_settings' ? member : textOf(member)] as const;
      }),
    ),
  );
}

/** A hint that arrived outside the settings document, for example as an argument of `add_persistent_disk`. */
export function isDiskHint(value: unknown): value is DiskHint {
  return checkHint.Check(value);
}
const checkHint = Compile(HintSchema);

function textOf(value: Json | undefined): Json | undefined {
  return typeof value === 'number' ? String(value) : value;
}

function mapValues(object: JsonObject, change: (value: Json) => Json): JsonObject {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value)]));
}

function withoutAbsent(object: Readonly<Record<string, Json | undefined>>): JsonObject {
  const present: Record<string, Json> = {};
  for (const [key, value] of Object.entries(object)) {
    if (value !== undefined && value !== null) present[key] = value;
  }
  return present;
}

function invalid(
  subject: string,
  problems: readonly { readonly instancePath: string; readonly message: string }[],
): SettingsInvalid {
  const first = problems[0];
  const where = first?.instancePath.replace(/^\//, '').replaceAll('/', '.') ?? '';
  return new SettingsInvalid(
    `${subject} are not valid: ${where === '' ? 'the document' : where} ${first?.message ?? 'is wrong'}.`,
    { advice: 'Compare with docs/reference/agent-settings.md; the CPI writes this document.' },
  );
}

// Check is the proof: the schemas and the shared types describe the same documents.
function asSettings(value: unknown): AgentSettings {
  return value as AgentSettings;
}
function asUserData(value: unknown): UserData {
  return value as UserData;
}

/** The networks of a document, checked: for callers that hold only that part. */
export type Networks = Readonly<Record<string, NetworkSpec>>;
