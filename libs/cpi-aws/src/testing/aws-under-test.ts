import { AwsClients } from '../aws-clients.ts';
import { awsProperties } from '../aws-config.ts';
import { awsCpi } from '../aws-cpi.ts';

/** The CPI with the pauses of a test, and all services at one address. */
export function awsUnderTest(
  endpoint: string,
  properties: Readonly<Record<string, unknown>> = {},
  pollMs = 2,
) {
  const parsed = awsProperties({
    cloud: {
      plugin: 'aws',
      properties: {
        aws: {
          access_key_id: 'lab',
          secret_access_key: 'lab-secret',
          region: 'us-east-1',
          ec2_endpoint: endpoint,
          elb_endpoint: endpoint,
          ebs_endpoint: endpoint,
          max_retries: 0,
          ...properties,
        },
      },
    },
  });
  const agent = { mbus: 'https://u:p@0.0.0.0:6868', ntp: [] };
  return awsCpi({
    properties: parsed,
    clients: new AwsClients(parsed),
    agent,
    registry: undefined,
    pollMs,
  });
}
