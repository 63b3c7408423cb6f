import { Agent } from 'node:https';
import { EBSClient } from '@aws-sdk/client-ebs';
import { EC2Client } from '@aws-sdk/client-ec2';
import type { ElasticLoadBalancingClient } from '@aws-sdk/client-elastic-load-balancing';
import type { ElasticLoadBalancingV2Client } from '@aws-sdk/client-elastic-load-balancing-v2';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import type { AwsProperties } from './aws-config.ts';

/** The SDK's clients, made when they are first needed: most calls need EC2 only. */
export class AwsClients {
  readonly ec2: EC2Client;
  readonly region: string;
  readonly #properties: AwsProperties;

  constructor(properties: AwsProperties) {
    this.#properties = properties;
    this.region = properties.region ?? 'us-east-1';
    this.ec2 = new EC2Client({ ...this.#common(), ...endpointOf(properties.ec2_endpoint) });
  }

  ebs(): EBSClient {
    return new EBSClient({ ...this.#common(), ...endpointOf(this.#properties.ebs_endpoint) });
  }

  async classicLoadBalancing(): Promise<ElasticLoadBalancingClient> {
    const { ElasticLoadBalancingClient } = await import('@aws-sdk/client-elastic-load-balancing');
    return new ElasticLoadBalancingClient({
      ...this.#common(),
      ...endpointOf(this.#properties.elb_endpoint),
    });
  }

  async loadBalancing(): Promise<ElasticLoadBalancingV2Client> {
    const { ElasticLoadBalancingV2Client } = await import('@aws-sdk/client-elastic-load-balancing-v2');
    return new ElasticLoadBalancingV2Client({
      ...this.#common(),
      ...endpointOf(this.#properties.elb_endpoint),
    });
  }

  /** Connections that are kept would keep the process. */
  destroy(): void {
    this.ec2.destroy();
  }

  #common() {
    const properties = this.#properties;
    const ca = properties.connection_options?.ca_cert;
    return {
      region: this.region,
      maxAttempts: (properties.max_retries ?? 8) + 1,
      retryMode: 'standard',
      useDualstackEndpoint: properties.dualstack ?? false,
      credentials: () => credentials(properties, this.region),
      requestHandler: new NodeHttpHandler({
        connectionTimeout: 10_000,
        requestTimeout: (properties.connection_options?.read_timeout ?? 120) * 1000,
        throwOnRequestTimeout: true,
        ...(ca === undefined ? {} : { httpsAgent: new Agent({ keepAlive: true, ca }) }),
      }),
    };
  }
}

function endpointOf(endpoint: string | undefined): { endpoint?: string } {
  if (endpoint === undefined) return {};
  return { endpoint: /^https?:\/\//.test(endpoint) ? endpoint : `https://${endpoint}` };
}

async function credentials(properties: AwsProperties, region: string) {
  const { fromInstanceMetadata, fromTemporaryCredentials } = await import('@aws-sdk/credential-providers');
  const base =
    (properties.credentials_source ?? 'static') === 'static'
      ? async () => ({
          accessKeyId: properties.access_key_id ?? '',
          secretAccessKey: properties.secret_access_key ?? '',
          ...(properties.session_token === undefined ? {} : { sessionToken: properties.session_token }),
        })
      : fromInstanceMetadata({ maxRetries: 10, timeout: 5_000 });
  if (properties.role_arn === undefined) return base();
  return fromTemporaryCredentials({
    masterCredentials: base,
    params: { RoleArn: properties.role_arn, RoleSessionName: `rsn-${crypto.randomUUID()}` },
    clientConfig: { region },
  })();
}
