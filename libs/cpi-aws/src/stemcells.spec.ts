import { describe, expect, it } from 'vitest';
import type { AwsCloud } from './cloud.ts';
import { deleteStemcell } from './stemcells.ts';

describe('deleteStemcell', () => {
  it('deregisters an image whose snapshot is gone already', async () => {
    const sent: string[] = [];
    const send = async (command: object): Promise<object> => {
      const name = command.constructor.name;
      sent.push(name);
      if (name === 'CreateTagsCommand' || name === 'DeleteSnapshotCommand')
        throw Object.assign(new Error('gone'), { name: 'InvalidSnapshot.NotFound' });
      if (name !== 'DescribeImagesCommand' || sent.includes('DeregisterImageCommand')) return {};
      return {
        Images: [
          { ImageId: 'ami-1', State: 'available', BlockDeviceMappings: [{ Ebs: { SnapshotId: 'snap-1' } }] },
        ],
      };
    };
    const cloud = { clients: { ec2: { send } }, pollMs: 0 } as unknown as AwsCloud;

    await deleteStemcell(cloud, { directorUuid: 'd', requestId: 'r', stemcellApiVersion: 3 }, 'ami-1');

    expect(sent).toContain('DeregisterImageCommand');
  });
});
