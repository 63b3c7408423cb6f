import { DescribeImagesCommand, DescribeInstancesCommand, DescribeVolumesCommand } from '@aws-sdk/client-ec2';
import type { CallContext, FoundResource } from '@microbosh/cpi';
import type { AwsCloud } from './cloud.ts';
import { lightSuffix } from './stemcells.ts';
import { tagsOf } from './tags.ts';

/** What carries all of these tags: instances, volumes, and the images that those instances were made of. */
export async function findByMetadata(
  cloud: AwsCloud,
  context: CallContext,
  metadata: Readonly<Record<string, string>>,
): Promise<readonly FoundResource[]> {
  const { ec2 } = cloud.clients;
  const options = context.signal === undefined ? {} : { abortSignal: context.signal };
  const filters = tagsOf(metadata).map(({ Key, Value }) => ({ Name: `tag:${Key}`, Values: [Value ?? ''] }));
  const { Reservations = [] } = await ec2.send(
    new DescribeInstancesCommand({
      Filters: [
        ...filters,
        { Name: 'instance-state-name', Values: ['pending', 'running', 'stopping', 'stopped'] },
      ],
    }),
    options,
  );
  const instances = Reservations.flatMap(({ Instances = [] }) => Instances);
  const ofInstances = new Set(
    instances.flatMap(({ BlockDeviceMappings = [] }) =>
      // Volumes that go with their instance are no disks of the deployment.
      BlockDeviceMappings.filter(({ Ebs }) => Ebs?.DeleteOnTermination === true).map(
        ({ Ebs }) => Ebs?.VolumeId,
      ),
    ),
  );
  const { Volumes = [] } = await ec2.send(new DescribeVolumesCommand({ Filters: filters }), options);
  const imageIds = [...new Set(instances.map(({ ImageId }) => ImageId ?? '').filter((id) => id !== ''))];
  const { Images = [] } =
    imageIds.length === 0
      ? {}
      : await ec2.send(
          new DescribeImagesCommand({
            Owners: ['self'],
            Filters: [{ Name: 'image-id', Values: imageIds }],
          }),
          options,
        );
  const own = new Set(Images.map(({ ImageId }) => ImageId));
  return [
    ...instances.map(({ InstanceId: cid = '' }) => ({ kind: 'vm' as const, cid })),
    ...Volumes.filter(({ VolumeId }) => !ofInstances.has(VolumeId)).map(
      ({ VolumeId: cid = '', Size = 0, VolumeType, Encrypted }) => ({
        kind: 'disk' as const,
        cid,
        sizeMiB: Size * 1024,
        cloudProperties: {
          ...(VolumeType === undefined ? {} : { type: VolumeType }),
          ...(Encrypted === true ? { encrypted: true } : {}),
        },
      }),
    ),
    ...imageIds.map((id) => ({ kind: 'stemcell' as const, cid: own.has(id) ? id : `${id}${lightSuffix}` })),
  ];
}
