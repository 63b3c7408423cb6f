import { DescribeInstancesCommand, DescribeInstanceTypesCommand } from '@aws-sdk/client-ec2';
import type { Instance, _InstanceType } from '@aws-sdk/client-ec2';
import type { TypeStorage } from './block-devices.ts';
import { isNotFound, repeatOn, serviceCode } from './cloud.ts';
import type { AwsCloud } from './cloud.ts';

/** Undefined when there is none, or only its tombstone. */
export async function describeInstance(
  cloud: AwsCloud,
  id: string,
  signal: AbortSignal | undefined,
): Promise<Instance | undefined> {
  try {
    const { Reservations = [] } = await cloud.clients.ec2.send(
      new DescribeInstancesCommand({ InstanceIds: [id] }),
      {
        ...(signal && { abortSignal: signal }),
      },
    );
    const instance = Reservations[0]?.Instances?.[0];
    return instance?.State?.Name === 'terminated' ? undefined : instance;
  } catch (error) {
    if (isNotFound(error) || serviceCode(error) === 'InvalidInstanceID.Malformed') return undefined;
    throw error;
  }
}

const noStorage: TypeStorage = { ebsIsNvme: false, instanceStoreIsNvme: false, instanceStoreGiB: [] };

/** Storage of an instance type; an unknown type counts as one without local disks. */
export async function storageOf(cloud: AwsCloud, instanceType: string): Promise<TypeStorage> {
  const codes = ['RequestLimitExceeded', 'InternalError', 'ServiceUnavailable'];
  try {
    const { InstanceTypes = [] } = await repeatOn(
      codes,
      { attempts: 5, pauseMs: cloud.pollMs },
      undefined,
      () =>
        cloud.clients.ec2.send(
          new DescribeInstanceTypesCommand({ InstanceTypes: [instanceType as _InstanceType] }),
        ),
    );
    const [type] = InstanceTypes;
    if (type === undefined) return noStorage;
    const disks = type.InstanceStorageInfo?.Disks ?? [];
    return {
      ebsIsNvme: type.EbsInfo?.NvmeSupport === 'required',
      instanceStoreIsNvme: ['required', 'supported'].includes(type.InstanceStorageInfo?.NvmeSupport ?? ''),
      instanceStoreGiB: disks.flatMap(({ Count = 0, SizeInGB = 0 }) =>
        new Array<number>(Count).fill(SizeInGB),
      ),
    };
  } catch (error) {
    if (isNotFound(error) || serviceCode(error) === 'InvalidInstanceType') return noStorage;
    throw error;
  }
}
