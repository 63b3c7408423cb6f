import { Agent } from 'node:https';
import { DescribeInstancesCommand, EC2Client } from '@aws-sdk/client-ec2';
import { fromNodeProviderChain } from '@aws-sdk/credential-providers';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import type { InstanceAddresses } from '@microbosh/registry-server';
import type { AwsConfig } from '../../config/config.ts';

/** The private, public and elastic addresses of the EC2 instance with this id. */
export class AwsAddresses implements InstanceAddresses {
  readonly #client: EC2Client;

  constructor(config: AwsConfig, ca: string | undefined) {
    const { accessKeyId, secretAccessKey } = config;
    this.#client = new EC2Client({
      region: config.region,
      maxAttempts: config.maxRetries + 1,
      ...(config.endpoint === undefined ? {} : { endpoint: config.endpoint }),
      credentials:
        accessKeyId === undefined || secretAccessKey === undefined
          ? fromNodeProviderChain({ maxRetries: 10 })
          : { accessKeyId, secretAccessKey },
      requestHandler: new NodeHttpHandler({
        httpsAgent: new Agent({
          keepAlive: true,
          rejectUnauthorized: config.verifyPeer,
          ...(ca === undefined ? {} : { ca }),
        }),
      }),
    });
  }

  async addressesOf(instanceId: string, signal: AbortSignal): Promise<readonly string[]> {
    let answer;
    try {
      answer = await this.#client.send(new DescribeInstancesCommand({ InstanceIds: [instanceId] }), {
        abortSignal: signal,
      });
    } catch (error) {
      if (/^InvalidInstanceID/.test(error instanceof Error ? error.name : '')) return [];
      throw error;
    }
    return (answer.Reservations ?? [])
      .flatMap((reservation) => reservation.Instances ?? [])
      .filter((instance) => instance.InstanceId === instanceId)
      .flatMap((instance) => [
        instance.PrivateIpAddress,
        instance.PublicIpAddress,
        ...(instance.NetworkInterfaces ?? []).flatMap((card) => [
          ...(card.PrivateIpAddresses ?? []).flatMap((one) => [
            one.PrivateIpAddress,
            one.Association?.PublicIp,
          ]),
        ]),
      ])
      .filter((address) => address !== undefined);
  }
}
