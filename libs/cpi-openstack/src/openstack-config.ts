import { InvalidCall, withoutNulls } from '@microbosh/cpi';
import type { CpiConfig } from '@microbosh/cpi';
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';

const text = Type.String({ minLength: 1 });

/** `cloud.properties.openstack`. Names and defaults are those of the original OpenStack CPI. */
export const openstackPropertiesSchema = Type.Object({
  auth_url: text,
  username: Type.Optional(text),
  api_key: Type.Optional(text),
  application_credential_id: Type.Optional(text),
  application_credential_secret: Type.Optional(text),
  tenant: Type.Optional(text),
  project: Type.Optional(text),
  project_id: Type.Optional(text),
  domain: Type.Optional(text),
  user_domain_name: Type.Optional(text),
  project_domain_name: Type.Optional(text),
  region: Type.Optional(text),
  endpoint_type: Type.Optional(
    Type.Union([Type.Literal('publicURL'), Type.Literal('internalURL'), Type.Literal('adminURL')]),
  ),
  default_key_name: Type.Optional(text),
  default_security_groups: Type.Optional(Type.Array(text)),
  default_volume_type: Type.Optional(text),
  state_timeout: Type.Optional(Type.Number({ exclusiveMinimum: 0 })),
  wait_resource_poll_interval: Type.Optional(Type.Number({ exclusiveMinimum: 0 })),
  stemcell_public_visibility: Type.Optional(Type.Boolean()),
  boot_from_volume: Type.Optional(Type.Boolean()),
  config_drive: Type.Optional(Type.Union([Type.Literal('disk'), Type.Literal('cdrom')])),
  use_dhcp: Type.Optional(Type.Boolean()),
  ignore_server_availability_zone: Type.Optional(Type.Boolean()),
  human_readable_vm_names: Type.Optional(Type.Boolean()),
  connection_options: Type.Optional(
    Type.Object({
      ca_cert: Type.Optional(Type.String()),
      ssl_verify_peer: Type.Optional(Type.Boolean()),
      read_timeout: Type.Optional(Type.Number({ exclusiveMinimum: 0 })),
    }),
  ),
});

export type OpenstackProperties = Static<typeof openstackPropertiesSchema>;

export interface OpenstackConfig {
  readonly properties: OpenstackProperties;
  /** Keystone without its version segment. */
  readonly identityUrl: string;
  readonly stateTimeoutMs: number;
  readonly pollIntervalMs: number;
}

/** Throws InvalidCall with every problem of `cloud.properties.openstack`. */
export function openstackConfig(config: CpiConfig): OpenstackConfig {
  const properties = withoutNulls(config.cloud.properties['openstack'] ?? {});
  const problems = Value.Errors(openstackPropertiesSchema, properties).map(
    (problem) => `openstack${problem.instancePath.replaceAll('/', '.')} ${problem.message}`,
  );
  if (!Value.Check(openstackPropertiesSchema, properties)) {
    throw new InvalidCall(`Invalid OpenStack cloud properties: ${problems.join('; ')}`);
  }
  problems.push(...credentialProblems(properties), ...scopeProblems(properties));
  if (problems.length > 0)
    throw new InvalidCall(`Invalid OpenStack cloud properties: ${problems.join('; ')}`);
  return {
    properties,
    identityUrl: properties.auth_url.replace(/\/v[23](\.\d+)?(\/.*)?$/, '').replace(/\/+$/, ''),
    stateTimeoutMs: (properties.state_timeout ?? 300) * 1000,
    pollIntervalMs: (properties.wait_resource_poll_interval ?? 5) * 1000,
  };
}

function credentialProblems(properties: OpenstackProperties): string[] {
  const {
    username,
    api_key,
    application_credential_id: id,
    application_credential_secret: secret,
  } = properties;
  const byPassword =
    username !== undefined && api_key !== undefined && id === undefined && secret === undefined;
  const byCredential =
    username === undefined && api_key === undefined && id !== undefined && secret !== undefined;
  if (byPassword || byCredential) return [];
  return [
    "set either 'username' and 'api_key', or 'application_credential_id' and 'application_credential_secret'",
  ];
}

function scopeProblems(properties: OpenstackProperties): string[] {
  if (/\/v2\.0/.test(properties.auth_url)) {
    return [
      "'auth_url' names Keystone v2.0, which OpenStack removed in 2018; use the v3 URL and 'project', 'domain'",
    ];
  }
  if (properties.application_credential_id !== undefined) return [];
  const problems: string[] = [];
  if (properties.project === undefined && properties.project_id === undefined) {
    problems.push("'project' or 'project_id' must be set");
  }
  const { user_domain_name: user, project_domain_name: project } = properties;
  if ((user === undefined) !== (project === undefined)) {
    problems.push("'user_domain_name' and 'project_domain_name' must be set together");
  }
  if (properties.domain === undefined && user === undefined) {
    problems.push("'domain', or 'user_domain_name' and 'project_domain_name', must be set");
  }
  return problems;
}
