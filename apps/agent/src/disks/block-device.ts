import type { CommandRunner } from '@microbosh/host';
import { access, open, readFile, readdir, realpath, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { DiskNotFound } from './errors.ts';

export interface BlockDevice {
  /** The node itself, links resolved. */
  readonly path: string;
  /** `major:minor`: what it is, whatever it is called. */
  readonly number: string;
  /** What the kernel calls it: `vdb`, `loop3`. */
  readonly kernelName: string;
  readonly sizeBytes: number;
}

/** Looks at a device node; refuses anything that is none. */
export async function openBlockDevice(path: string): Promise<BlockDevice> {
  const real = await realpath(path).catch(() => undefined);
  const found = real === undefined ? undefined : await stat(real);
  if (real === undefined || found?.isBlockDevice() !== true) {
    throw new DiskNotFound(`${path} is not a block device of this machine.`, { details: { device: path } });
  }
  const number = deviceNumber(found.rdev);
  const kernelName = await realpath(`/sys/dev/block/${number}`).then(
    (sysfs) => basename(sysfs),
    async () => (await kernelNameOf(number)) ?? basename(real),
  );
  return { path: real, number, kernelName, sizeBytes: await sizeOf(real) };
}

/** Linux packs major and minor into one number. */
export function deviceNumber(rdev: number): string {
  const value = BigInt(rdev);
  const major = ((value >> 8n) & 0xfffn) | ((value >> 32n) & ~0xfffn);
  const minor = (value & 0xffn) | ((value >> 12n) & ~0xffn);
  return `${major}:${minor}`;
}

/** Kernel name by number, from /proc/partitions. */
export function parseProcPartitions(text: string): ReadonlyMap<string, string> {
  return new Map(
    text.split('\n').flatMap((line): [string, string][] => {
      const [major, minor, , name] = line.trim().split(/\s+/);
      return name !== undefined && /^\d+$/.test(major ?? '') ? [[`${major}:${minor}`, name]] : [];
    }),
  );
}

export async function readProcPartitions(): Promise<ReadonlyMap<string, string>> {
  return parseProcPartitions(await readFile('/proc/partitions', 'utf8'));
}

async function kernelNameOf(number: string): Promise<string | undefined> {
  return (await readProcPartitions()).get(number);
}

/** `vdb1`, `nvme0n1p1`, `loop3p1`; `-part1` behind the device mapper. */
export function partitionName(device: string, number: number): string {
  if (device.startsWith('/dev/mapper/')) return `${device}-part${number}`;
  return /\d$/.test(device) ? `${device}p${number}` : `${device}${number}`;
}

/** What else in the kernel uses a device: device mapper, RAID. */
export async function holdersOf(device: BlockDevice): Promise<readonly string[]> {
  return readdir(`/sys/dev/block/${device.number}/holders`).catch(() => []);
}

/** By its end: also where /sys is not to be seen. */
async function sizeOf(path: string): Promise<number> {
  const file = await open(path, 'r');
  try {
    // The sysfs number would need no read, but a namespace VM may have no sysfs.
    const text = await readFile(
      `/sys/dev/block/${deviceNumber((await file.stat()).rdev)}/size`,
      'utf8',
    ).catch(() => undefined);
    if (text !== undefined) return Number(text.trim()) * 512;
    return await findEnd(file);
  } finally {
    await file.close();
  }
}

async function findEnd(file: {
  read: (b: Buffer, o: number, l: number, p: number) => Promise<{ bytesRead: number }>;
}) {
  const probe = Buffer.alloc(512);
  const readable = async (sector: number) => (await file.read(probe, 0, 512, sector * 512)).bytesRead === 512;
  let low = 0;
  let high = 1;
  while (await readable(high)) {
    low = high;
    high *= 2;
  }
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (await readable(middle)) low = middle;
    else high = middle;
  }
  return (low + 1) * 512;
}

/**
 * Waits until udev has looked at what was written: meanwhile it takes the nodes of partitions away and makes them again.
 * Where there is no udev nobody does.
 */
export async function settleNodes(runner: CommandRunner, signal?: AbortSignal): Promise<void> {
  try {
    await access('/run/udev/control');
  } catch {
    return;
  }
  await runner.run(['udevadm', 'settle', '--timeout=60'], {
    okExitCodes: [0, 1],
    timeoutMs: 90_000,
    ...(signal ? { signal } : {}),
  });
}

/** Everything written to the device is on it when this returns. */
export async function flushDevice(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
