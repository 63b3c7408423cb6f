import { isJsonObject } from '@microbosh/errors';
import type { DiskHint } from '@microbosh/spec';
import { readFile } from 'node:fs/promises';
import type { HostContext } from '../platform/host-context.ts';
import { objectOf, valueOf } from '../settings/json-keys.ts';
import { openBlockDevice, type BlockDevice } from './block-device.ts';
import type { DeviceResolver } from './device-resolver.ts';
import { DiskNotFound } from './errors.ts';
import { byPlace, inspectDisk, type DiskContents } from './disk-contents.ts';
import type { DiskLayout, DiskPreparer } from './disk-preparer.ts';
import { ensurePartitionNodes } from './partition-nodes.ts';
import { findRootPartition, type RootPartition } from './root-partition.ts';

export interface DataDiskNodes {
  readonly device: BlockDevice;
  readonly swap?: string;
  readonly data: string;
  readonly dataNumber: string;
}

const maxNameLength = 32;

/** Less than this behind the root file system is not worth a partition of its own. */
const minBehindRootBytes = 2 ** 30;

/** Where swap and data go. */
type DataPlace =
  | {
      readonly kind: 'disk';
      readonly device: BlockDevice;
      readonly contents: DiskContents;
      readonly held: number;
    }
  | {
      readonly kind: 'behind root';
      readonly root: RootPartition;
      readonly contents: DiskContents;
      readonly kept: number;
      readonly freeBytes: number;
      readonly held: number;
    };

/** The ephemeral disk, or what lies behind the root file system: swap, when the machine may have its own, and `data`. */
export class DataDisk {
  readonly #context: HostContext;
  readonly #resolver: DeviceResolver;
  readonly #preparer: DiskPreparer;
  /** Of partitions that are there: nobody changes them while the agent runs. */
  #nodes: DataDiskNodes | undefined;

  constructor(context: HostContext, resolver: DeviceResolver, preparer: DiskPreparer) {
    this.#context = context;
    this.#resolver = resolver;
    this.#preparer = preparer;
  }

  /** True when the settings name an ephemeral disk. */
  get isNamed(): boolean {
    return this.#hint !== undefined;
  }

  /** False: the settings name no disk, and the root disk has no room behind its file system. */
  async isPossible(signal: AbortSignal): Promise<boolean> {
    return this.isNamed || (await this.#place(signal)) !== undefined;
  }

  async prepare(signal: AbortSignal): Promise<DataDiskNodes & { readonly changes: readonly string[] }> {
    const place = await this.#place(signal);
    if (place === undefined) throw new DiskNotFound('There is neither an ephemeral disk nor room for data.');
    if (place.kind === 'disk') {
      const { device, contents, held } = place;
      const layout = await this.#layout(device.sizeBytes, held);
      const prepared = await this.#preparer.prepare('ephemeral', device, layout, signal, contents);
      this.#nodes = { device, ...(await nodesOf(prepared.partitions)) };
      return { ...this.#nodes, changes: prepared.changes };
    }
    const { root, contents, kept, freeBytes, held } = place;
    const device = root.disk;
    const layout = await this.#layout(freeBytes, held);
    const prepared = await this.#preparer.prepareBehind(device, kept, layout, signal, contents);
    this.#nodes = { device, ...(await nodesOf(prepared.partitions)) };
    return { ...this.#nodes, changes: prepared.changes };
  }

  /** Nodes of partitions that have been prepared. */
  async nodes(signal: AbortSignal): Promise<DataDiskNodes | undefined> {
    this.#nodes ??= await this.#findNodes(signal);
    return this.#nodes;
  }

  async #findNodes(signal: AbortSignal): Promise<DataDiskNodes | undefined> {
    const place = await this.#place(signal);
    if (place === undefined || place.held === 0) return undefined;
    const device = place.kind === 'disk' ? place.device : place.root.disk;
    const found = place.contents.table;
    if (found === undefined) return undefined;
    const table = byPlace(found);
    const nodes = await ensurePartitionNodes(this.#context.runner, device, table, signal);
    return { device, ...(await nodesOf(nodes.slice(-place.held))) };
  }

  /** The hint of the settings; undefined when there is no such disk. */
  get #hint(): DiskHint | undefined {
    const hint = this.#context.settings.current().disks.ephemeral;
    if (hint === undefined || hint === null || hint === '') return undefined;
    if (typeof hint !== 'string' && Object.values(hint).every((value) => value === '')) return undefined;
    return hint;
  }

  async #place(signal: AbortSignal): Promise<DataPlace | undefined> {
    const { linux, runner } = this.#context;
    const hint = this.#hint;
    if (hint !== undefined) {
      const device = await this.#resolver.resolve('', hint, signal);
      const contents = await inspectDisk(runner, device, signal);
      return { kind: 'disk', device, contents, held: contents.table?.partitions.length ?? 0 };
    }
    if (linux.Container || !linux.CreatePartitionIfNoEphemeralDisk) return undefined;
    const root = await findRootPartition();
    if (root === undefined) return undefined;
    const contents = await inspectDisk(runner, root.disk, signal);
    const { table } = contents;
    if (table === undefined) return undefined;
    const start = table.partitions.find((partition) => partition.number === root.number)?.startSector ?? 0;
    const held = table.partitions.filter((partition) => partition.startSector > start).length;
    const kept = table.partitions.length - held;
    const end = Math.max(...table.partitions.map((partition) => partition.startSector + partition.sectors));
    const freeBytes = root.disk.sizeBytes - end * table.sectorBytes;
    if (held === 0 && freeBytes < minBehindRootBytes) return undefined;
    return { kind: 'behind root', root, contents, kept, freeBytes, held };
  }

  /** A disk that has partitions keeps their number: a changed swap size is no reason to lose data. */
  async #layout(sizeBytes: number, held: number): Promise<DiskLayout> {
    const { linux, settings } = this.#context;
    const { agent_id: id } = settings.current();
    const prefix = `bosh-partition-${id}`.slice(0, maxNameLength);
    const swapMiB = await this.#swapMiB(sizeBytes);
    const withSwap = held === 0 ? swapMiB > 0 : held === 2;
    const data = { content: 'ext4', name: `${prefix}-${withSwap ? 1 : 0}` } as const;
    return {
      label: linux.PartitionerType === 'sfdisk' && sizeBytes <= 2 ** 41 ? 'dos' : 'gpt',
      partitions: withSwap ? [{ content: 'swap', name: `${prefix}-0`, sizeMiB: swapMiB }, data] : [data],
    };
  }

  async #swapMiB(diskBytes: number): Promise<number> {
    if (this.#context.linux.Container) return 0;
    const { env } = this.#context.settings.current();
    const wanted = valueOf(objectOf(isJsonObject(env) ? env : {}, 'bosh') ?? {}, 'swap_size');
    return swapSizeMiB(diskBytes, parseMemory(await readFile('/proc/meminfo', 'utf8')), wanted);
  }
}

/** As much as there is memory, but at most half of the disk; a number in the settings is in MB and counts as it is. */
export function swapSizeMiB(diskBytes: number, memoryBytes: number, wanted: unknown): number {
  if (typeof wanted === 'number') return Math.max(0, Math.floor(wanted));
  return Math.floor(Math.min(memoryBytes, diskBytes / 2) / 2 ** 20);
}

/** @example parseMemory('MemTotal:        2048 kB\n') === 2097152 */
export function parseMemory(text: string): number {
  return Number(/^MemTotal:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0) * 1024;
}

async function nodesOf(nodes: readonly string[]) {
  const data = nodes.at(-1) ?? '';
  const swap = nodes.length > 1 ? nodes[0] : undefined;
  return { data, dataNumber: (await openBlockDevice(data)).number, ...(swap === undefined ? {} : { swap }) };
}
