import { OperationalError, type Json, type JsonObject } from '@microbosh/errors';
import { Type, type Static, type TSchema } from 'typebox';
import { Compile } from 'typebox/schema';

const text = (fallback = '') => Type.String({ default: fallback });
const flag = () => Type.Boolean({ default: false });

/** `Platform.Linux` of agent.json. `Container` is ours: swap, clock, kernel settings and modules belong to the host. */
const LinuxSchema = Type.Object({
  UseDefaultTmpDir: flag(),
  UsePreformattedPersistentDisk: flag(),
  BindMountPersistentDisk: flag(),
  CreatePartitionIfNoEphemeralDisk: flag(),
  SkipDiskSetup: flag(),
  DevicePathResolutionType: Type.Union(
    [Type.Literal(''), Type.Literal('virtio'), Type.Literal('scsi'), Type.Literal('iscsi')],
    { default: '' },
  ),
  InstanceStorageDevicePattern: text('/dev/nvme*n1'),
  InstanceStorageManagedVolumePattern: text(),
  PartitionerType: Type.Union([Type.Literal(''), Type.Literal('parted'), Type.Literal('sfdisk')], {
    default: '',
  }),
  ServiceManager: Type.Union([Type.Literal(''), Type.Literal('systemd')], { default: '' }),
  DiskIDTransformPattern: text(),
  DiskIDTransformReplacement: text(),
  LunDeviceSymlinkPath: text(),
  UseMonitIptablesFirewall: flag(),
  Container: flag(),
});

const Headers = Type.Record(Type.String(), Type.String(), { default: {} });

const SourceSchemas = {
  HTTP: Type.Object({
    Type: Type.Literal('HTTP'),
    URI: text(),
    Headers,
    UserDataPath: text(),
    InstanceIDPath: text(),
    SSHKeysPath: text(),
    TokenPath: text(),
  }),
  InstanceMetadata: Type.Object({
    Type: Type.Literal('InstanceMetadata'),
    URI: text(),
    Headers,
    SettingsPath: text(),
  }),
  ConfigDrive: Type.Object({
    Type: Type.Literal('ConfigDrive'),
    DiskPaths: Type.Array(Type.String(), { default: [] }),
    MetaDataPath: text(),
    UserDataPath: text(),
    SettingsPath: text(),
  }),
  File: Type.Object({
    Type: Type.Literal('File'),
    MetaDataPath: text(),
    UserDataPath: text(),
    SettingsPath: text(),
  }),
  CDROM: Type.Object({ Type: Type.Literal('CDROM'), FileName: text() }),
  VsphereGuestInfo: Type.Object({
    Type: Type.Literal('VsphereGuestInfo'),
    RpcToolPath: text(),
    VmToolsdPath: text(),
  }),
} as const;

type SourceType = keyof typeof SourceSchemas;

export type LinuxOptions = Readonly<Static<typeof LinuxSchema>>;
export type SettingsSourceOptions = {
  [K in SourceType]: Readonly<Static<(typeof SourceSchemas)[K]>>;
}[SourceType];

/**
 * agent.json, with every default filled in. Keys are those of the file.
 *
 * @example {"Platform":{"Linux":{"DevicePathResolutionType":"virtio"}},"Infrastructure":{"Settings":{"Sources":[{"Type":"File","UserDataPath":"/var/vcap/bosh/user-data.json"}],"UseServerName":true,"UseRegistry":true}}}
 */
export interface AgentConfig {
  readonly linux: LinuxOptions;
  readonly settings: {
    readonly sources: readonly SettingsSourceOptions[];
    readonly useServerName: boolean;
    readonly useRegistry: boolean;
  };
}

export class AgentConfigInvalid extends OperationalError {
  readonly code = 'E_AGENT_CONFIG';
}

/**
 * Reads the parsed agent.json. Like the original: keys match in any case, unknown keys are ignored, absent ones have
 * their defaults.
 */
export function parseAgentConfig(document: Json): AgentConfig {
  const root = objectAt(document, 'the document');
  const platform = objectAt(child(root, 'Platform'), 'Platform');
  const infrastructure = objectAt(child(root, 'Infrastructure'), 'Infrastructure');
  const settings = objectAt(child(infrastructure, 'Settings'), 'Infrastructure.Settings');
  const sources = child(settings, 'Sources') ?? [];
  if (!Array.isArray(sources)) throw invalid('Infrastructure.Settings.Sources must be a list');
  return {
    linux: decode(LinuxSchema, objectAt(child(platform, 'Linux'), 'Platform.Linux'), 'Platform.Linux'),
    settings: {
      sources: sources.map((source: Json, index) =>
        parseSource(source, `Infrastructure.Settings.Sources[${index}]`),
      ),
      useServerName: child(settings, 'UseServerName') === true,
      useRegistry: child(settings, 'UseRegistry') === true,
    },
  };
}

function parseSource(source: Json, where: string): SettingsSourceOptions {
  const fields = objectAt(source, where);
  const type = child(fields, 'Type');
  if (type === undefined || type === '') throw invalid(`Missing source type (${where})`);
  if (typeof type !== 'string' || !isSourceType(type)) {
    throw invalid(
      `Unknown source type '${typeof type === 'string' ? type : JSON.stringify(type)}' (${where})`,
    );
  }
  switch (type) {
    case 'HTTP':
      return decode(SourceSchemas.HTTP, fields, where);
    case 'InstanceMetadata':
      return decode(SourceSchemas.InstanceMetadata, fields, where);
    case 'ConfigDrive':
      return decode(SourceSchemas.ConfigDrive, fields, where);
    case 'File':
      return decode(SourceSchemas.File, fields, where);
    case 'CDROM':
      return decode(SourceSchemas.CDROM, fields, where);
    case 'VsphereGuestInfo':
      return decode(SourceSchemas.VsphereGuestInfo, fields, where);
  }
}

function isSourceType(type: string): type is SourceType {
  return Object.hasOwn(SourceSchemas, type);
}

interface ObjectSchema extends TSchema {
  properties: Record<string, TSchema>;
}

/** Takes the schema's keys from `fields` in any case, fills in defaults, and checks the types. */
function decode<S extends ObjectSchema>(schema: S, fields: JsonObject, where: string): Static<S> {
  const known: Record<string, unknown> = {};
  for (const [key, property] of Object.entries(schema.properties)) {
    const value = child(fields, key);
    if (value !== undefined) known[key] = value;
    else if ('default' in property) known[key] = property.default;
  }
  const validator = Compile(schema);
  if (!validator.Check(known)) {
    const [, problems] = validator.Errors(known);
    const first = problems[0];
    const key = first?.instancePath.replaceAll('/', '.') ?? '';
    throw invalid(`${where}${key} ${first?.message ?? 'is not valid'}`);
  }
  // Check is the proof; the compiler's own guard type is wider than Static.
  return known;
}

function child(object: JsonObject, key: string): Json | undefined {
  if (Object.hasOwn(object, key)) return object[key] ?? undefined;
  const wanted = key.toLowerCase();
  const found = Object.keys(object).find((candidate) => candidate.toLowerCase() === wanted);
  return found === undefined ? undefined : (object[found] ?? undefined);
}

function objectAt(value: Json | undefined, where: string): JsonObject {
  if (value === undefined || value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value)) throw invalid(`${where} must be a JSON object`);
  return value as JsonObject;
}

function invalid(problem: string): AgentConfigInvalid {
  return new AgentConfigInvalid(`The agent configuration is not valid: ${problem}.`, {
    advice: 'Correct the file given with -C; see docs/reference/agent-config.md for its keys.',
  });
}
