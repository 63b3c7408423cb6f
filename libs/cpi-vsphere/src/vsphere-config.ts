import { InvalidCall, withoutNulls } from '@microbosh/cpi';
import type { CpiConfig } from '@microbosh/cpi';
import { isJsonObject } from '@microbosh/errors';
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';

const text = Type.String({ minLength: 1 });
const cluster = Type.Union([
  text,
  Type.Record(Type.String(), Type.Object({ resource_pool: Type.Optional(text) })),
]);

const datacenterSchema = Type.Object({
  name: text,
  vm_folder: Type.Optional(text),
  template_folder: Type.Optional(text),
  disk_path: Type.Optional(text),
  datastore_pattern: text,
  persistent_datastore_pattern: text,
  clusters: Type.Array(cluster, { minItems: 1 }),
});

/** One entry of `cloud.properties.vcenters`. Names and defaults are those of the original vSphere CPI. */
export const vcenterSchema = Type.Object({
  host: text,
  user: text,
  password: text,
  connection_options: Type.Optional(
    Type.Object({
      ca_cert: Type.Optional(Type.String()),
      /** Ours, as in the OpenStack CPI. */
      ssl_verify_peer: Type.Optional(Type.Boolean()),
      read_timeout: Type.Optional(Type.Number({ exclusiveMinimum: 0 })),
    }),
  ),
  default_disk_type: Type.Optional(Type.Union([Type.Literal('thin'), Type.Literal('preallocated')])),
  default_scsi_controller_type: Type.Optional(
    Type.Union([Type.Literal('paravirtual'), Type.Literal('lsi_logic'), Type.Literal('lsi_logic_sas')]),
  ),
  ensure_no_ip_conflicts: Type.Optional(Type.Boolean()),
  default_hw_version: Type.Optional(Type.Integer({ minimum: 4 })),
  upgrade_hw_version: Type.Optional(Type.Boolean()),
  vmx_options: Type.Optional(
    Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean()])),
  ),
  datacenters: Type.Array(datacenterSchema),
});

export interface VsphereConfig {
  readonly host: string;
  readonly user: string;
  readonly password: string;
  readonly connection: NonNullable<Static<typeof vcenterSchema>['connection_options']>;
  readonly diskType: 'thin' | 'preallocated';
  readonly scsiController: string;
  readonly ensureNoIpConflicts: boolean;
  /** Undefined: the newest that the host knows. */
  readonly hardwareVersion: number | undefined;
  readonly vmxOptions: Readonly<Record<string, string | number | boolean>>;
  readonly datacenter: string;
  readonly vmFolder: string;
  readonly templateFolder: string;
  readonly diskPath: string;
  readonly ephemeralPattern: RegExp;
  readonly persistentPattern: RegExp;
  readonly clusters: readonly { readonly name: string; readonly resourcePool: string | undefined }[];
}

const controllers = {
  paravirtual: 'ParaVirtualSCSIController',
  lsi_logic: 'VirtualLsiLogicController',
  lsi_logic_sas: 'VirtualLsiLogicSASController',
};

/** The only one; the Director's CPI configuration goes over its properties. */
function vcenterOf(config: CpiConfig): unknown {
  const properties = withoutNulls(config.cloud.properties);
  const { vcenters, vsphere } = isJsonObject(properties) ? properties : {};
  const [first, ...more] = Array.isArray(vcenters) ? (vcenters as readonly unknown[]) : [];
  if (more.length > 0) throw new InvalidCall('vSphere CPI only supports a single vCenter');
  return { ...(isJsonObject(first) ? first : {}), ...(isJsonObject(vsphere) ? vsphere : {}) };
}

function patternOf(name: string, pattern: string): RegExp {
  try {
    return new RegExp(pattern);
  } catch (error) {
    throw new InvalidCall(`'${name}' of the vSphere properties is no regular expression: ${pattern}`, {
      cause: error,
    });
  }
}

/** Throws InvalidCall with every problem of `cloud.properties.vcenters`. */
export function vsphereConfig(config: CpiConfig): VsphereConfig {
  const vcenter = vcenterOf(config);
  if (!Value.Check(vcenterSchema, vcenter)) {
    const problems = Value.Errors(vcenterSchema, vcenter).map(
      ({ instancePath, message }) => `vcenters.0${instancePath.replaceAll('/', '.')} ${message}`,
    );
    throw new InvalidCall(`Invalid vSphere cloud properties: ${problems.join('; ')}`);
  }
  const [datacenter, ...more] = vcenter.datacenters;
  if (datacenter === undefined || more.length > 0) {
    throw new InvalidCall('vSphere CPI only supports a single datacenter');
  }
  return {
    host: vcenter.host,
    user: vcenter.user,
    password: vcenter.password,
    connection: vcenter.connection_options ?? {},
    diskType: vcenter.default_disk_type ?? 'preallocated',
    scsiController: controllers[vcenter.default_scsi_controller_type ?? 'paravirtual'],
    ensureNoIpConflicts: vcenter.ensure_no_ip_conflicts ?? true,
    hardwareVersion: vcenter.upgrade_hw_version === true ? undefined : (vcenter.default_hw_version ?? 17),
    vmxOptions: vcenter.vmx_options ?? {},
    datacenter: datacenter.name,
    vmFolder: datacenter.vm_folder ?? 'BOSH_VMs',
    templateFolder: datacenter.template_folder ?? 'BOSH_Templates',
    diskPath: datacenter.disk_path ?? 'BOSH_Disks',
    ephemeralPattern: patternOf('datastore_pattern', datacenter.datastore_pattern),
    persistentPattern: patternOf('persistent_datastore_pattern', datacenter.persistent_datastore_pattern),
    clusters: datacenter.clusters.flatMap((entry) =>
      typeof entry === 'string'
        ? [{ name: entry, resourcePool: undefined }]
        : Object.entries(entry).map(([name, { resource_pool: pool }]) => ({ name, resourcePool: pool })),
    ),
  };
}
