import { isJsonObject, type Json } from '@microbosh/errors';
import type { CommandRunner } from '@microbosh/host';
import { open } from 'node:fs/promises';
import type { BlockDevice } from './block-device.ts';
import { DiskOperationFailed } from './errors.ts';

export interface Partition {
  readonly number: number;
  readonly startSector: number;
  readonly sectors: number;
  /** GPT: a GUID; MBR: hexadecimal. */
  readonly type: string;
  readonly name: string;
}

export interface PartitionTable {
  readonly label: string;
  readonly sectorBytes: number;
  readonly lastSector?: number;
  readonly partitions: readonly Partition[];
}

/** Numbers need not follow the order on the disk. */
export function byPlace(table: PartitionTable): PartitionTable {
  return { ...table, partitions: table.partitions.toSorted((a, b) => a.startSector - b.startSector) };
}

export interface Signature {
  /** File system, swap, LUKS, LVM, RAID, … */
  readonly type?: string;
  readonly partitionTable?: string;
  /** More than one signature: nobody can tell what it is. */
  readonly ambiguous?: true;
}

export interface DiskContents {
  readonly table?: PartitionTable;
  readonly signature: Signature;
}

/** What is on a device, from `sfdisk` and `blkid -p` reading the device itself; nodes and sysfs prove nothing. */
export async function inspectDisk(
  runner: CommandRunner,
  device: BlockDevice,
  signal?: AbortSignal,
): Promise<DiskContents> {
  const [table, signature] = await Promise.all([
    readTable(runner, device, signal),
    readSignature(runner, device.path, signal),
  ]);
  return { signature, ...(table === undefined ? {} : { table }) };
}

/** True only when neither program finds anything. */
export function isProvenEmpty(contents: DiskContents): boolean {
  const { type, partitionTable, ambiguous } = contents.signature;
  return (
    contents.table === undefined &&
    type === undefined &&
    partitionTable === undefined &&
    ambiguous === undefined
  );
}

async function readTable(
  runner: CommandRunner,
  device: BlockDevice,
  signal: AbortSignal | undefined,
): Promise<PartitionTable | undefined> {
  const answer = await runner.run(['sfdisk', '--json', device.path], {
    okExitCodes: [0, 1],
    timeoutMs: 30_000,
    ...(signal ? { signal } : {}),
    env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' },
  });
  if (answer.exitCode === 0) return parseSfdisk(answer.stdout);
  // "No table" is one failure among others (an unreadable device): only this one counts as a finding.
  if (/does not contain a recognized partition table/.test(answer.stderr)) return undefined;
  throw new DiskOperationFailed(
    `The partition table of ${device.path} cannot be read: ${answer.stderr.trim()}.`,
  );
}

/** @example parseSfdisk('{"partitiontable":{"label":"gpt","sectorsize":512,"partitions":[]}}').label === 'gpt' */
export function parseSfdisk(json: string): PartitionTable {
  const document: unknown = JSON.parse(json);
  const table = isJsonObject(document) ? document['partitiontable'] : undefined;
  if (!isJsonObject(table))
    throw new DiskOperationFailed('sfdisk printed something that is not a partition table.');
  const rows: readonly Json[] = Array.isArray(table['partitions']) ? (table['partitions'] as Json[]) : [];
  return {
    label: textOf(table['label']),
    sectorBytes: Number(table['sectorsize'] ?? 512),
    ...(typeof table['lastlba'] === 'number' ? { lastSector: table['lastlba'] } : {}),
    partitions: rows.filter(isJsonObject).map((row) => ({
      number: Number(/(\d+)$/.exec(textOf(row['node']))?.[1]),
      startSector: Number(row['start']),
      sectors: Number(row['size']),
      type: textOf(row['type']).toLowerCase(),
      name: typeof row['name'] === 'string' ? row['name'] : '',
    })),
  };
}

function textOf(value: Json | undefined): string {
  return typeof value === 'string' ? value : '';
}

/** Low-level probe of a device or partition. */
export async function readSignature(
  runner: CommandRunner,
  path: string,
  signal?: AbortSignal,
): Promise<Signature> {
  const answer = await runner.run(['blkid', '-p', '-o', 'export', path], {
    okExitCodes: [0, 2, 8],
    timeoutMs: 30_000,
    ...(signal ? { signal } : {}),
    env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' },
  });
  if (answer.exitCode === 8) return { ambiguous: true };
  if (answer.exitCode === 2 && answer.stderr.trim() !== '') {
    throw new DiskOperationFailed(`${path} cannot be probed: ${answer.stderr.trim()}.`);
  }
  return parseBlkid(answer.stdout);
}

export function parseBlkid(text: string): Signature {
  const values = new Map(
    text.split('\n').map((line): [string, string] => {
      const at = line.indexOf('=');
      return [line.slice(0, at), line.slice(at + 1)];
    }),
  );
  const type = values.get('TYPE') ?? (values.has('USAGE') ? values.get('USAGE') : undefined);
  const partitionTable = values.get('PTTYPE');
  return {
    ...(type === undefined ? {} : { type }),
    ...(partitionTable === undefined ? {} : { partitionTable }),
  };
}

export interface FilesystemFacts {
  readonly type: 'ext4' | 'xfs';
  readonly sizeBytes: number;
  /** True when data can be on it: it has been mounted, or that cannot be excluded. */
  readonly mayHoldData: boolean;
}

/** Reads the superblock of ext2/3/4 or XFS; undefined when there is none. */
export function parseSuperblock(head: Buffer): FilesystemFacts | undefined {
  if (head.length >= 0x400 + 0x160 && head.readUInt16LE(0x400 + 56) === 0xef53) {
    const blockBytes = 1024 << head.readUInt32LE(0x400 + 24);
    const is64bit = (head.readUInt32LE(0x400 + 96) & 0x80) !== 0;
    const blocks = head.readUInt32LE(0x400 + 4) + (is64bit ? head.readUInt32LE(0x400 + 0x150) * 2 ** 32 : 0);
    const lastMounted = head.readUInt32LE(0x400 + 44);
    const mountCount = head.readUInt16LE(0x400 + 52);
    return {
      type: 'ext4',
      sizeBytes: blocks * blockBytes,
      mayHoldData: lastMounted !== 0 || mountCount !== 0,
    };
  }
  if (head.length >= 256 && head.toString('latin1', 0, 4) === 'XFSB') {
    const sizeBytes = Number(head.readBigUInt64BE(8)) * head.readUInt32BE(4);
    // sb_inprogress: set until mkfs has finished.
    return { type: 'xfs', sizeBytes, mayHoldData: head.readUInt8(126) === 0 };
  }
  return undefined;
}

export async function readFilesystemFacts(path: string): Promise<FilesystemFacts | undefined> {
  const file = await open(path, 'r');
  try {
    const head = Buffer.alloc(4096);
    const { bytesRead } = await file.read(head, 0, head.length, 0);
    return parseSuperblock(head.subarray(0, bytesRead));
  } finally {
    await file.close();
  }
}
