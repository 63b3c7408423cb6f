import type { CommandRunner } from '@microbosh/host';
import { MountTable } from '../platform/mount-table.ts';
import { flushDevice, holdersOf, openBlockDevice, settleNodes, type BlockDevice } from './block-device.ts';
import {
  byPlace,
  inspectDisk,
  isProvenEmpty,
  readFilesystemFacts,
  readSignature,
  type DiskContents,
  type Partition,
  type PartitionTable,
} from './disk-contents.ts';
import { DiskBusy, DiskForeign, DiskOperationFailed } from './errors.ts';
import type { FormatIntents } from './format-intents.ts';
import { ensurePartitionNodes } from './partition-nodes.ts';

export type Content = 'ext4' | 'xfs' | 'swap';

export interface PlannedPartition {
  readonly content: Content;
  /** Final name; GPT only. */
  readonly name: string;
  /** Absent: the rest of the disk. */
  readonly sizeMiB?: number;
}

export interface DiskLayout {
  readonly label: 'gpt' | 'dos';
  readonly partitions: readonly PlannedPartition[];
}

export interface PreparedDisk {
  /** Nodes of the partitions, in the layout's order. */
  readonly partitions: readonly string[];
  /** What had to be done; empty when the disk was as wanted. */
  readonly changes: readonly string[];
}

/** On the disk itself, from the moment that its table is written until the file system is complete. */
const formattingName = 'bosh-formatting-';
/** The same in a table without names: "non-FS data". */
const formattingType = 'da';
const ourName = 'bosh-partition';
const dosTypes: Readonly<Record<Content, string>> = { ext4: '83', xfs: '83', swap: '82' };
const filesystems = ['ext2', 'ext3', 'ext4', 'xfs'];
const sfdiskWrite = [
  'sfdisk',
  '--quiet',
  '--no-reread',
  '--no-tell-kernel',
  '--wipe',
  'never',
  '--wipe-partitions',
  'never',
] as const;

/**
 * Brings a disk into a layout without ever overwriting what is not provably ours and empty:
 *
 * - a table is written only on a disk on which sfdisk and blkid find nothing;
 * - its partitions are marked as "being formatted" in that same write, and a file system is made only in a marked
 *   partition that holds nothing, or a file system of the wanted kind that was never mounted;
 * - the mark is taken off after the file system is on the disk, before it is mounted for the first time.
 *
 * A crash at any point leaves one of these states, and the next call goes on from there, also on another machine.
 */
export class DiskPreparer {
  readonly #runner: CommandRunner;
  readonly #intents: FormatIntents;

  constructor(runner: CommandRunner, intents: FormatIntents) {
    this.#runner = runner;
    this.#intents = intents;
  }

  /** `found` is what was on the disk a moment ago; without it, the disk is read first. */
  async prepare(
    id: string,
    device: BlockDevice,
    layout: DiskLayout,
    signal?: AbortSignal,
    found?: DiskContents,
  ): Promise<PreparedDisk> {
    const changes: string[] = [];
    let contents = found ?? (await inspectDisk(this.#runner, device, signal));
    if (isProvenEmpty(contents) || (await this.#isHalfWritten(id, device, contents))) {
      await this.#writeTable(id, device, layout, signal);
      changes.push(`partition ${device.path}`);
      contents = await inspectDisk(this.#runner, device, signal);
    }
    const table = this.#acceptTable(device, contents, 0, layout);
    await this.#intents.remove(id);
    return this.#prepareContents(device, table, 0, layout, changes, signal);
  }

  /**
   * Adds partitions behind the first `kept`, by place, of a disk in use, such as the one that the machine has booted from.
   * What is there stays as it is.
   */
  async prepareBehind(
    device: BlockDevice,
    kept: number,
    layout: DiskLayout,
    signal?: AbortSignal,
    found?: DiskContents,
  ): Promise<PreparedDisk> {
    const changes: string[] = [];
    let contents = found ?? (await inspectDisk(this.#runner, device, signal));
    if (contents.table?.partitions.length === kept) {
      await this.#runner.run([...sfdiskWrite, '--append', device.path], {
        stdin: renderRows({ ...layout, label: contents.table.label === 'dos' ? 'dos' : 'gpt' }),
        timeoutMs: 60_000,
        ...(signal ? { signal } : {}),
      });
      await flushDevice(device.path);
      changes.push(`add partitions to ${device.path}`);
      contents = await inspectDisk(this.#runner, device, signal);
    }
    const table = byPlace(this.#acceptTable(device, contents, kept, layout));
    return this.#prepareContents(device, table, kept, layout, changes, signal);
  }

  async #prepareContents(
    device: BlockDevice,
    table: PartitionTable,
    kept: number,
    layout: DiskLayout,
    changes: string[],
    signal?: AbortSignal,
  ): Promise<PreparedDisk> {
    const nodes = (await ensurePartitionNodes(this.#runner, device, table, signal)).slice(kept);
    for (const [index, planned] of layout.partitions.entries()) {
      const partition = table.partitions[kept + index];
      const node = nodes[index];
      if (partition === undefined || node === undefined) continue;
      // Where others share the disk, only the partition itself must be free.
      const claimed = kept === 0 ? device : await openBlockDevice(node);
      const made = await this.#prepareContent({ device, claimed, table, partition, node, planned }, signal);
      changes.push(...made);
    }
    return { partitions: nodes, changes };
  }

  /** A table that this machine was writing when it was stopped: no whole table, and no file system. */
  async #isHalfWritten(id: string, device: BlockDevice, contents: DiskContents): Promise<boolean> {
    if (!(await this.#intents.has(id, device.sizeBytes))) return false;
    const { type, ambiguous } = contents.signature;
    const partitions = contents.table?.partitions ?? [];
    // What a protective MBR alone looks like: one entry of type ee.
    const nothingWhole = partitions.every((partition) => partition.type === 'ee');
    return type === undefined && ambiguous === undefined && nothingWhole;
  }

  async #writeTable(
    id: string,
    device: BlockDevice,
    layout: DiskLayout,
    signal?: AbortSignal,
  ): Promise<void> {
    await this.#assertUnused(device);
    await this.#intents.add(id, device.sizeBytes);
    await this.#runner.run([...sfdiskWrite, device.path], {
      stdin: renderTable(layout),
      timeoutMs: 60_000,
      ...(signal ? { signal } : {}),
    });
    await flushDevice(device.path);
  }

  async #assertUnused(device: BlockDevice): Promise<void> {
    const mounted = (await MountTable.read()).of(device.number);
    const holders = await holdersOf(device);
    if (mounted.length > 0 || holders.length > 0) {
      throw new DiskBusy(
        `The disk ${device.path} is in use: ${[...mounted.map((entry) => entry.mountPoint), ...holders].join(', ')}.`,
      );
    }
  }

  #acceptTable(
    device: BlockDevice,
    contents: DiskContents,
    kept: number,
    layout: DiskLayout,
  ): PartitionTable {
    const { table, signature } = contents;
    if (table === undefined) {
      const finding = signature.ambiguous
        ? 'several things at once'
        : (signature.type ?? signature.partitionTable);
      throw new DiskForeign(device.path, `it holds ${finding ?? 'something'} without a partition table`);
    }
    const expected = kept + layout.partitions.length;
    if (table.partitions.length !== expected) {
      throw new DiskForeign(
        device.path,
        `its partition table has ${table.partitions.length} partitions; expected ${expected}`,
      );
    }
    if (!['gpt', 'dos'].includes(table.label)) {
      throw new DiskForeign(device.path, `its partition table is of type ${table.label}`);
    }
    return table;
  }

  async #prepareContent(work: Work, signal?: AbortSignal): Promise<readonly string[]> {
    const { device, claimed, table, partition, node, planned } = work;
    const signature = await readSignature(this.#runner, node, signal);
    const nothing = isProvenEmpty({ signature });
    const marked = isMarked(table, partition);
    const matches = isWanted(planned.content, signature.type) && signature.ambiguous === undefined;

    if (!marked && matches) return [];
    if (!marked && nothing && partition.name.startsWith(ourName)) {
      // Left by an agent that was stopped between partitioning and formatting.
      await this.#mark(device, table, partition, planned, true, signal);
    } else if (!marked || !(nothing || matches)) {
      throw new DiskForeign(
        device.path,
        nothing
          ? `partition ${partition.number} is empty, but was not made by an agent`
          : `partition ${partition.number} holds ${signature.type ?? signature.partitionTable ?? 'something unknown'}`,
      );
    } else if (matches && planned.content !== 'swap') {
      const facts = await readFilesystemFacts(node);
      if (facts?.mayHoldData === true) {
        await this.#mark(device, table, partition, planned, false, signal);
        return [`accept the file system on ${node}`];
      }
    }
    await this.#makeContent(claimed, node, planned.content, signal);
    await this.#mark(device, table, partition, planned, false, signal);
    return [`format ${node} as ${planned.content}`];
  }

  async #makeContent(
    claimed: BlockDevice,
    node: string,
    content: Content,
    signal?: AbortSignal,
  ): Promise<void> {
    await this.#assertUnused(claimed);
    const command: readonly [string, ...string[]] =
      content === 'swap'
        ? ['mkswap', node]
        : content === 'xfs'
          ? ['mkfs.xfs', '-q', '-f', node]
          : ['mke2fs', '-q', '-F', '-t', 'ext4', '-j', '-E', 'lazy_itable_init=1', node];
    await this.#runner.run(command, { timeoutMs: 3_600_000, ...(signal ? { signal } : {}) });
    await flushDevice(node);
    const made = await readSignature(this.#runner, node, signal);
    if (!isWanted(content, made.type)) {
      throw new DiskOperationFailed(
        `After formatting, ${node} holds ${made.type ?? 'nothing'} instead of ${content}.`,
      );
    }
  }

  async #mark(
    device: BlockDevice,
    table: PartitionTable,
    partition: Partition,
    planned: PlannedPartition,
    formatting: boolean,
    signal?: AbortSignal,
  ): Promise<void> {
    const [option, value] =
      table.label === 'dos'
        ? (['--part-type', formatting ? formattingType : dosTypes[planned.content]] as const)
        : (['--part-label', formatting ? `${formattingName}${partition.number - 1}` : planned.name] as const);
    await this.#runner.run(
      [
        'sfdisk',
        '--quiet',
        '--no-reread',
        '--no-tell-kernel',
        option,
        device.path,
        String(partition.number),
        value,
      ],
      { timeoutMs: 60_000, ...(signal ? { signal } : {}) },
    );
    await flushDevice(device.path);
    await settleNodes(this.#runner, signal);
  }
}

interface Work {
  readonly device: BlockDevice;
  /** What nobody else may use while it is formatted: the disk, or the partition on a disk that is shared. */
  readonly claimed: BlockDevice;
  readonly table: PartitionTable;
  readonly partition: Partition;
  readonly node: string;
  readonly planned: PlannedPartition;
}

function isMarked(table: PartitionTable, partition: Partition): boolean {
  return table.label === 'dos'
    ? partition.type === formattingType
    : partition.name.startsWith(formattingName);
}

function isWanted(content: Content, type: string | undefined): boolean {
  if (type === undefined) return false;
  return content === 'swap' ? type === 'swap' : filesystems.includes(type);
}

/** The script for sfdisk: all partitions marked as being formatted. */
export function renderTable(layout: DiskLayout): string {
  return `label: ${layout.label}\n${renderRows(layout)}`;
}

function renderRows(layout: DiskLayout): string {
  const rows = layout.partitions.map((planned, index) => {
    const size = planned.sizeMiB === undefined ? '' : `size=${planned.sizeMiB}MiB, `;
    return layout.label === 'dos'
      ? `${size}type=${formattingType}`
      : `${size}type=${planned.content === 'swap' ? 'swap' : 'linux'}, name="${formattingName}${index}"`;
  });
  return [...rows, ''].join('\n');
}
