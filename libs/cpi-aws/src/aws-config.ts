import { InvalidCall, withoutNulls } from '@microbosh/cpi';
import type { CpiConfig } from '@microbosh/cpi';
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';

const text = Type.String({ minLength: 1 });

/** `cloud.properties.aws`. Names and defaults are those of the original AWS CPI. */
export const awsPropertiesSchema = Type.Object({
  credentials_source: Type.Optional(Type.Union([Type.Literal('static'), Type.Literal('env_or_profile')])),
  access_key_id: Type.Optional(text),
  secret_access_key: Type.Optional(text),
  session_token: Type.Optional(text),
  role_arn: Type.Optional(text),
  region: Type.Optional(text),
  ec2_endpoint: Type.Optional(text),
  elb_endpoint: Type.Optional(text),
  /** Ours: endpoint of the EBS direct API, for tests and private clouds. */
  ebs_endpoint: Type.Optional(text),
  max_retries: Type.Optional(Type.Integer({ minimum: 0 })),
  dualstack: Type.Optional(Type.Boolean()),
  default_key_name: Type.Optional(text),
  default_security_groups: Type.Optional(Type.Array(text)),
  default_iam_instance_profile: Type.Optional(text),
  encrypted: Type.Optional(Type.Boolean()),
  kms_key_arn: Type.Optional(text),
  metadata_options: Type.Optional(Type.Record(Type.String(), Type.Union([Type.String(), Type.Integer()]))),
  fast_path_delete: Type.Optional(Type.Boolean()),
  connection_options: Type.Optional(
    Type.Object({
      ca_cert: Type.Optional(Type.String()),
      /** Ours: seconds that an answer may take. */
      read_timeout: Type.Optional(Type.Number({ exclusiveMinimum: 0 })),
    }),
  ),
});

export type AwsProperties = Static<typeof awsPropertiesSchema>;

/** Throws InvalidCall with every problem of `cloud.properties.aws`. */
export function awsProperties(config: CpiConfig): AwsProperties {
  const properties = withoutNulls(config.cloud.properties['aws'] ?? {});
  const problems = Value.Errors(awsPropertiesSchema, properties).map(
    (problem) => `aws${problem.instancePath.replaceAll('/', '.')} ${problem.message}`,
  );
  if (!Value.Check(awsPropertiesSchema, properties)) {
    throw new InvalidCall(`Invalid AWS cloud properties: ${problems.join('; ')}`);
  }
  const { access_key_id: id, secret_access_key: secret } = properties;
  if ((properties.credentials_source ?? 'static') === 'static') {
    if (id === undefined || secret === undefined) {
      problems.push("'access_key_id' and 'secret_access_key' must be set for credentials_source 'static'");
    }
  } else if (id !== undefined || secret !== undefined) {
    problems.push(
      "'access_key_id' and 'secret_access_key' must not be set for credentials_source 'env_or_profile'",
    );
  }
  if (
    properties.region === undefined &&
    (properties.ec2_endpoint === undefined || properties.elb_endpoint === undefined)
  ) {
    problems.push("'region' must be set, or both 'ec2_endpoint' and 'elb_endpoint'");
  }
  if (problems.length > 0) throw new InvalidCall(`Invalid AWS cloud properties: ${problems.join('; ')}`);
  return properties;
}
