import { CloudError } from '@microbosh/cpi';
import type { JsonObject } from '@microbosh/errors';
import { serviceCode } from './cloud.ts';
import type { AwsCloud } from './cloud.ts';

function namesOf(properties: JsonObject, key: string): string[] {
  const value = properties[key];
  return Array.isArray(value) ? value.map(String) : [];
}

/** Puts the instance into the target groups and classic load balancers that cloud_properties name. */
export async function registerWithLoadBalancers(
  cloud: AwsCloud,
  id: string,
  properties: JsonObject,
): Promise<void> {
  const groups = namesOf(properties, 'lb_target_groups');
  const classic = namesOf(properties, 'elbs');
  if (groups.length > 0) await registerTargets(cloud, id, groups);
  if (classic.length > 0) await registerClassic(cloud, id, classic);
}

async function registerTargets(cloud: AwsCloud, id: string, names: readonly string[]): Promise<void> {
  const { DescribeTargetGroupsCommand, RegisterTargetsCommand } =
    await import('@aws-sdk/client-elastic-load-balancing-v2');
  const client = await cloud.clients.loadBalancing();
  for (const name of names) {
    let arn: string | undefined;
    try {
      const { TargetGroups = [] } = await client.send(new DescribeTargetGroupsCommand({ Names: [name] }));
      arn = TargetGroups[0]?.TargetGroupArn;
    } catch (error) {
      if (serviceCode(error) !== 'TargetGroupNotFoundException') throw error;
    }
    if (arn === undefined) throw new CloudError(`Cloud not find ALB target group \`${name}'`);
    await client.send(new RegisterTargetsCommand({ TargetGroupArn: arn, Targets: [{ Id: id }] }));
  }
}

async function registerClassic(cloud: AwsCloud, id: string, names: readonly string[]): Promise<void> {
  const { RegisterInstancesWithLoadBalancerCommand } = await import('@aws-sdk/client-elastic-load-balancing');
  const client = await cloud.clients.classicLoadBalancing();
  for (const name of names) {
    await client.send(
      new RegisterInstancesWithLoadBalancerCommand({
        LoadBalancerName: name,
        Instances: [{ InstanceId: id }],
      }),
    );
  }
}
