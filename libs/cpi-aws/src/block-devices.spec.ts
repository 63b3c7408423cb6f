import type { JsonObject } from '@microbosh/errors';
import { describe, expect, it } from 'vitest';
import { guestPath, nextVolumeName, planBlockDevices, type TypeStorage } from './block-devices.ts';

const image = { rootDeviceName: '/dev/sda1', virtualization: 'hvm', mapped: ['/dev/sda'], rootGiB: 3 };
const plain: TypeStorage = { ebsIsNvme: false, instanceStoreIsNvme: false, instanceStoreGiB: [] };
const stores = { ...plain, instanceStoreGiB: [80, 80] };
const defaults: { encrypted: boolean; kmsKeyArn: string | undefined } = {
  encrypted: false,
  kmsKeyArn: undefined,
};

function plan(properties: JsonObject, storage = plain, more = defaults) {
  return planBlockDevices(properties, more, image, storage);
}

describe('planBlockDevices', () => {
  it('gives a gp3 ephemeral disk of 10 GiB and the root disk of the image when nothing is asked for', () => {
    const { mappings, agent } = plan({});

    expect(mappings).toEqual([
      { DeviceName: '/dev/sdb', Ebs: { VolumeSize: 10, VolumeType: 'gp3', DeleteOnTermination: true } },
      { DeviceName: '/dev/sda', Ebs: { VolumeType: 'gp3', DeleteOnTermination: true, VolumeSize: 3 } },
    ]);
    expect(agent).toEqual({ system: '/dev/sda1', ephemeral: '/dev/sdb' });
  });

  it('rounds sizes up to whole GiB', () => {
    expect(plan({ ephemeral_disk: { size: 1025 } }).mappings[0]?.Ebs?.VolumeSize).toBe(2);
  });

  it('takes the size of the first instance store disk for the ephemeral disk', () => {
    expect(plan({}, stores).mappings[0]?.Ebs?.VolumeSize).toBe(80);
  });

  it('uses the instance store when asked to', () => {
    expect(plan({ ephemeral_disk: { use_instance_storage: true } }, stores).mappings[0]).toEqual({
      DeviceName: '/dev/sdb',
      VirtualName: 'ephemeral0',
    });
  });

  it('leaves the ephemeral disk to the root disk when asked to', () => {
    const { mappings, agent } = plan({ ephemeral_disk: { use_root_disk: true } });

    expect(mappings).toHaveLength(1);
    expect(agent).not.toHaveProperty('ephemeral');
  });

  it('hands raw instance storage to the agent', () => {
    const { mappings, agent } = plan({ raw_instance_storage: true }, stores);

    expect(agent.raw_ephemeral).toEqual([{ path: '/dev/xvdba' }, { path: '/dev/xvdbb' }]);
    expect(mappings).toContainEqual({ DeviceName: '/dev/xvdbb', VirtualName: 'ephemeral1' });
  });

  it('reports NVMe instance storage without mapping it', () => {
    const { mappings, agent } = plan(
      { raw_instance_storage: true },
      { ...stores, instanceStoreIsNvme: true },
    );

    expect(agent.raw_ephemeral).toEqual([{ path: '/dev/nvme0n1' }, { path: '/dev/nvme1n1' }]);
    expect(mappings).toHaveLength(2);
  });

  it('encrypts by the global setting unless the disk says otherwise', () => {
    const global = { encrypted: true, kmsKeyArn: 'arn:k' };

    expect(plan({}, plain, global).mappings[0]?.Ebs).toMatchObject({ Encrypted: true, KmsKeyId: 'arn:k' });
    expect(plan({ ephemeral_disk: { encrypted: false } }, plain, global).mappings[0]?.Ebs).not.toHaveProperty(
      'Encrypted',
    );
  });

  it.each([
    [{ raw_instance_storage: true }, plain, /doesn't have instance storage/],
    [{ ephemeral_disk: { use_instance_storage: true } }, plain, /doesn't have instance storage/],
    [
      { ephemeral_disk: { use_instance_storage: true }, raw_instance_storage: true },
      stores,
      /cannot both be true/,
    ],
    [{ ephemeral_disk: { use_instance_storage: true, size: 1 } }, stores, /cannot be combined.*size/],
  ])('refuses %j', (properties, storage, problem) => {
    expect(() => plan(properties, storage)).toThrow(problem);
  });
});

describe('names of volumes', () => {
  it('takes the first free letter from f to p', () => {
    expect(nextVolumeName(['/dev/sda1', '/dev/sdf', '/dev/sdh'])).toBe('/dev/sdg');
    expect(() => nextVolumeName('fghijklmnop'.split('').map((letter) => `/dev/sd${letter}`))).toThrow(
      'too many disks',
    );
  });

  it('is the by-id link on NVMe types', () => {
    expect(guestPath('vol-0123', '/dev/sdf', { ...plain, ebsIsNvme: true })).toBe(
      '/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123',
    );
    expect(guestPath('vol-0123', '/dev/sdf', plain)).toBe('/dev/sdf');
  });
});
