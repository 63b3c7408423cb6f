import { describe, expect, it } from 'vitest';
import { parseMountInfo } from './mounts.ts';

describe('mountinfo', () => {
  it('is read with its device, escaped path and type, whatever optional fields stand between', () => {
    const text = [
      '36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue',
      '37 35 7:3 / /var/with\\040space rw - ext4 /dev/loop3 rw',
      '',
    ].join('\n');

    expect(parseMountInfo(text)).toEqual([
      { device: '98:0', mountPoint: '/mnt2', fsType: 'ext3' },
      { device: '7:3', mountPoint: '/var/with space', fsType: 'ext4' },
    ]);
  });
});
