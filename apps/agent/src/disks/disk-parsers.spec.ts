import { describe, expect, it } from 'vitest';
import { deviceNumber, parseProcPartitions, partitionName } from './block-device.ts';
import { swapSizeMiB } from './data-disk.ts';
import { serialMatches } from './device-resolver.ts';
import { isProvenEmpty, parseBlkid, parseSfdisk, parseSuperblock } from './disk-contents.ts';
import { stretchDump } from './disk-growth.ts';
import { renderTable } from './disk-preparer.ts';

describe('what is on a disk', () => {
  it('is read from sfdisk', () => {
    const table = parseSfdisk(
      '{"partitiontable":{"label":"gpt","unit":"sectors","lastlba":409566,"sectorsize":512,"partitions":[{"node":"/dev/loop12p1","start":2048,"size":405504,"type":"0FC63DAF-8483-4772-8E79-3D69D8477DE4","name":"bosh-partition-0"}]}}',
    );

    expect(table).toMatchObject({
      label: 'gpt',
      partitions: [{ number: 1, startSector: 2048, sectors: 405504, name: 'bosh-partition-0' }],
    });
  });

  it('is not empty when either program finds something', () => {
    expect(isProvenEmpty({ signature: parseBlkid('') })).toBe(true);
    expect(isProvenEmpty({ signature: parseBlkid('PART_ENTRY_SCHEME=gpt\nPART_ENTRY_NAME=x\n') })).toBe(true);
    expect(isProvenEmpty({ signature: parseBlkid('TYPE=LVM2_member\nUSAGE=raid\n') })).toBe(false);
    expect(isProvenEmpty({ signature: parseBlkid('USAGE=crypto\n') })).toBe(false);
    expect(isProvenEmpty({ signature: parseBlkid('PTTYPE=PMBR\n') })).toBe(false);
    expect(isProvenEmpty({ signature: { ambiguous: true } })).toBe(false);
    expect(isProvenEmpty({ signature: {}, table: { label: 'dos', sectorBytes: 512, partitions: [] } })).toBe(
      false,
    );
  });

  it('may be data as soon as an ext4 file system was mounted', () => {
    const head = Buffer.alloc(4096);
    head.writeUInt16LE(0xef53, 0x400 + 56);
    head.writeUInt32LE(2, 0x400 + 24);
    head.writeUInt32LE(1000, 0x400 + 4);
    const fresh = parseSuperblock(head);
    head.writeUInt16LE(1, 0x400 + 52);

    expect(fresh).toEqual({ type: 'ext4', sizeBytes: 4_096_000, mayHoldData: false });
    expect(parseSuperblock(head)?.mayHoldData).toBe(true);
    expect(parseSuperblock(Buffer.alloc(4096))).toBeUndefined();
  });

  it('may be data in XFS unless mkfs was still at work', () => {
    const head = Buffer.alloc(4096);
    head.write('XFSB');
    head.writeUInt32BE(4096, 4);
    head.writeBigUInt64BE(100n, 8);

    expect(parseSuperblock(head)).toEqual({ type: 'xfs', sizeBytes: 409_600, mayHoldData: true });
    head.writeUInt8(1, 126);
    expect(parseSuperblock(head)?.mayHoldData).toBe(false);
  });
});

describe('device names', () => {
  it.each([
    ['/dev/vdb', '/dev/vdb1'],
    ['/dev/nvme0n1', '/dev/nvme0n1p1'],
    ['/dev/loop7', '/dev/loop7p1'],
    ['/dev/mapper/x', '/dev/mapper/x-part1'],
  ])('of the first partition of %s', (device, partition) => {
    expect(partitionName(device, 1)).toBe(partition);
  });

  it('are told by number', () => {
    expect(deviceNumber(0x701)).toBe('7:1');
    expect(
      parseProcPartitions('major minor  #blocks  name\n\n   7        0      98304 loop0\n').get('7:0'),
    ).toBe('loop0');
  });

  it('match serial numbers that the bus has cut or stripped of dashes', () => {
    const cid = '3b1c9e2a-0000-4000-8000-123456789abc';

    expect(serialMatches(`virtio-${cid.slice(0, 20)}`, cid, 'ends')).toBe(true);
    expect(
      serialMatches('nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0', 'vol-0123456789abcdef0', 'ends'),
    ).toBe(true);
    expect(serialMatches(cid.slice(0, 20), cid, 'equals')).toBe(true);
    expect(serialMatches('virtio-3b1c9e2b-0000-4000-8', cid, 'ends')).toBe(false);
  });
});

describe('partitioning', () => {
  it('marks every partition until it is formatted', () => {
    const partitions = [
      { content: 'swap', name: 'a', sizeMiB: 100 },
      { content: 'ext4', name: 'b' },
    ] as const;

    expect(renderTable({ label: 'gpt', partitions })).toBe(
      'label: gpt\nsize=100MiB, type=swap, name="bosh-formatting-0"\ntype=linux, name="bosh-formatting-1"\n',
    );
    expect(renderTable({ label: 'dos', partitions })).toBe('label: dos\nsize=100MiB, type=da\ntype=da\n');
  });

  it('opens only the size of the partition that grows', () => {
    const dump =
      'label: gpt\nlast-lba: 100\n\n/dev/nvme0n1p1 : start=        2048, size=        4096, type=A\n/dev/nvme0n1p2 : start=        6144, size=        9999, type=B\n';

    expect(stretchDump(dump, 2)).toBe(
      'label: gpt\n\n/dev/nvme0n1p1 : start=        2048, size=        4096, type=A\n/dev/nvme0n1p2 : start=        6144, type=B\n',
    );
  });

  it('gives swap the size of the memory, at most half of the disk, or what the settings say', () => {
    const gib = 2 ** 30;

    expect(swapSizeMiB(10 * gib, 2 * gib, undefined)).toBe(2048);
    expect(swapSizeMiB(2 * gib, 8 * gib, undefined)).toBe(1024);
    expect(swapSizeMiB(10 * gib, 2 * gib, 0)).toBe(0);
    expect(swapSizeMiB(10 * gib, 2 * gib, 512)).toBe(512);
  });
});
