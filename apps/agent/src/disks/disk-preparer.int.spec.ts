import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NodeCommandRunner } from '@microbosh/host';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { openBlockDevice, type BlockDevice } from './block-device.ts';
import { inspectDisk, readSignature } from './disk-contents.ts';
import { DiskPreparer, type DiskLayout } from './disk-preparer.ts';
import { DiskForeign } from './errors.ts';
import { FormatIntents } from './format-intents.ts';
import { ensurePartitionNodes } from './partition-nodes.ts';

const runner = new NodeCommandRunner();
const layout: DiskLayout = {
  label: 'dos',
  partitions: [
    { content: 'swap', name: 'bosh-partition-x-0', sizeMiB: 32 },
    { content: 'ext4', name: 'bosh-partition-x-1' },
  ],
};

let directory: string;
let device: BlockDevice;
let preparer: DiskPreparer;

/** A disk as a machine boots from it: one partition, its file system mounted, and room behind it. */
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'microbosh-root-disk-'));
  const image = join(directory, 'disk.img');
  await runner.run(['truncate', '-s', '192M', image]);
  await runner.run(['sfdisk', '-q', image], { stdin: 'label: dos\nsize=64MiB, type=83, bootable\n' });
  device = await openBlockDevice((await runner.run(['losetup', '-f', '--show', image])).stdout.trim());
  const { table } = await inspectDisk(runner, device);
  const [root = ''] = table ? await ensurePartitionNodes(runner, device, table) : [];
  await runner.run(['mke2fs', '-q', '-t', 'ext4', root]);
  await runner.run(['mkdir', join(directory, 'root')]);
  await runner.run(['mount', root, join(directory, 'root')]);
  await writeFile(join(directory, 'root/file'), 'precious');
  preparer = new DiskPreparer(runner, new FormatIntents(join(directory, 'intents.json')));
});
afterEach(async () => {
  await runner.run(['umount', join(directory, 'root')]);
  await runner.run(['partx', '--delete', device.path], { okExitCodes: [0, 1] });
  await runner.run(['losetup', '-d', device.path]);
  for (const number of [1, 2, 3]) await rm(`${device.path}p${number}`, { force: true });
  await rm(directory, { recursive: true, force: true });
});

async function rootHolds(): Promise<string> {
  return readFile(join(directory, 'root/file'), 'utf8');
}

describe('the disk that the machine runs from', () => {
  it('gets swap and data behind its root file system, once', async () => {
    const first = await preparer.prepareBehind(device, 1, layout);
    const again = await preparer.prepareBehind(device, 1, layout);

    expect(first.changes).toHaveLength(3);
    expect(again).toEqual({ partitions: first.partitions, changes: [] });
    const [swap = '', data = ''] = first.partitions;
    expect(await readSignature(runner, swap)).toMatchObject({ type: 'swap' });
    expect(await readSignature(runner, data)).toMatchObject({ type: 'ext4' });
    expect((await openBlockDevice(data)).sizeBytes).toBeGreaterThan(90 * 2 ** 20);
    expect(await rootHolds()).toBe('precious');
  });

  it('is gone on with when the partitions were there and nothing in them', async () => {
    await runner.run(['sfdisk', '-q', '--no-reread', '--no-tell-kernel', '--append', device.path], {
      stdin: 'size=32MiB, type=da\ntype=da\n',
    });

    const { changes } = await preparer.prepareBehind(device, 1, layout);

    expect(changes.map((change) => change.split(' ')[0])).toEqual(['format', 'format']);
    expect(await rootHolds()).toBe('precious');
  });

  it('is left alone when somebody else has put something behind the root file system', async () => {
    await runner.run(['sfdisk', '-q', '--no-reread', '--no-tell-kernel', '--append', device.path], {
      stdin: 'size=32MiB, type=83\ntype=83\n',
    });
    const before = (await runner.run(['sfdisk', '-d', device.path])).stdout;

    await expect(preparer.prepareBehind(device, 1, layout)).rejects.toBeInstanceOf(DiskForeign);

    expect((await runner.run(['sfdisk', '-d', device.path])).stdout).toBe(before);
    expect(await rootHolds()).toBe('precious');
  });
});
