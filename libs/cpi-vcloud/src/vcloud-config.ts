import { InvalidCall, withoutNulls } from '@microbosh/cpi';
import type { CpiConfig } from '@microbosh/cpi';
import type { ConnectionOptions } from '@microbosh/cpi/http';
import { isJsonObject } from '@microbosh/errors';
import { Type } from 'typebox';
import { Value } from 'typebox/value';

const text = Type.String({ minLength: 1 });
const seconds = Type.Number({ exclusiveMinimum: 0 });

/** One entry of `cloud.properties.vcds`. Names and defaults are those of the original vCloud CPI. */
export const vcdSchema = Type.Object({
  url: Type.String({ pattern: '^https?://[^/]+' }),
  user: text,
  password: text,
  /** Ours, as in the OpenStack CPI. */
  connection_options: Type.Optional(
    Type.Object({
      ca_cert: Type.Optional(Type.String()),
      ssl_verify_peer: Type.Optional(Type.Boolean()),
      read_timeout: Type.Optional(seconds),
    }),
  ),
  entities: Type.Object({
    organization: text,
    virtual_datacenter: text,
    vapp_catalog: text,
    media_catalog: text,
    media_storage_profile: Type.Optional(Type.String()),
    vapp_storage_profile: Type.Optional(Type.String()),
    vm_metadata_key: Type.Optional(text),
    description: Type.Optional(Type.String()),
    control: Type.Optional(
      Type.Object({
        wait_max: Type.Optional(seconds),
        wait_delay: Type.Optional(seconds),
        retry_delay: Type.Optional(seconds),
        cookie_timeout: Type.Optional(seconds),
        old_task_threshold: Type.Optional(seconds),
      }),
    ),
  }),
});

export interface VcloudConfig {
  /** Without a slash at its end. */
  readonly url: string;
  readonly user: string;
  readonly password: string;
  readonly connection: ConnectionOptions;
  readonly organization: string;
  readonly datacenter: string;
  readonly templateCatalog: string;
  readonly mediaCatalog: string;
  /** Undefined: the datacenter's own. */
  readonly mediaProfile: string | undefined;
  readonly vmProfile: string | undefined;
  readonly metadataKey: string;
  readonly description: string;
  readonly waitMaxMs: number;
  readonly waitDelayMs: number;
  readonly retryDelayMs: number;
  /** Age at which a session is opened anew. */
  readonly sessionMaxAgeMs: number;
  /** Tasks that failed longer ago belong to others. */
  readonly oldTaskMs: number;
}

/** The only one; the Director's CPI configuration goes over its properties. */
function vcdOf(config: CpiConfig): unknown {
  const properties = withoutNulls(config.cloud.properties);
  const { vcds, vcloud } = isJsonObject(properties) ? properties : {};
  const [first, ...more] = Array.isArray(vcds) ? (vcds as readonly unknown[]) : [];
  if (more.length > 0) throw new InvalidCall('Invalid number of VCDs: the vCloud CPI takes one');
  return { ...(isJsonObject(first) ? first : {}), ...(isJsonObject(vcloud) ? vcloud : {}) };
}

/** `*` and nothing mean any profile. */
function profile(name: string | undefined): string | undefined {
  return name === '*' || name === '' ? undefined : name;
}

/** Throws InvalidCall with every problem of `cloud.properties.vcds`. */
export function vcloudConfig(config: CpiConfig): VcloudConfig {
  const vcd = vcdOf(config);
  if (!Value.Check(vcdSchema, vcd)) {
    const problems = Value.Errors(vcdSchema, vcd).map(
      ({ instancePath, message }) => `vcds.0${instancePath.replaceAll('/', '.')} ${message}`,
    );
    throw new InvalidCall(`Invalid vCloud cloud properties: ${problems.join('; ')}`);
  }
  const { entities } = vcd;
  const control = entities.control ?? {};
  return {
    url: vcd.url.replace(/\/+$/, ''),
    user: vcd.user,
    password: vcd.password,
    connection: vcd.connection_options ?? {},
    organization: entities.organization,
    datacenter: entities.virtual_datacenter,
    templateCatalog: entities.vapp_catalog,
    mediaCatalog: entities.media_catalog,
    mediaProfile: profile(entities.media_storage_profile),
    vmProfile: profile(entities.vapp_storage_profile),
    metadataKey: entities.vm_metadata_key ?? 'vcd-cf',
    description: entities.description ?? 'vcd-cf',
    waitMaxMs: (control.wait_max ?? 300) * 1000,
    waitDelayMs: (control.wait_delay ?? 5) * 1000,
    retryDelayMs: (control.retry_delay ?? 0.1) * 1000,
    sessionMaxAgeMs: (control.cookie_timeout ?? 600) * 1000,
    oldTaskMs: (control.old_task_threshold ?? 600) * 1000,
  };
}
