import { isJsonObject } from '@microbosh/errors';
import type { DiskHint } from '@microbosh/spec';
import { readFile } from 'node:fs/promises';
import type { HostContext } from '../platform/host-context.ts';
import { objectOf, valueOf } from '../settings/json-keys.ts';
import { openBlockDevice, type BlockDevice } from './block-device.ts';
import type { DeviceResolver } from './device-resolver.ts';
import { inspectDisk } from './disk-contents.ts';
import type { DiskLayout, DiskPreparer } from './disk-preparer.ts';
import { ensurePartitionNodes } from './partition-nodes.ts';

export interface DataDiskNodes {
  readonly device: BlockDevice;
  readonly swap?: string;
  readonly data: string;
  readonly dataNumber: string;
}

const maxNameLength = 32;

/** The ephemeral disk: swap, when the machine may have its own, and `data`. */
export class DataDisk {
  readonly #context: HostContext;
  readonly #resolver: DeviceResolver;
  readonly #preparer: DiskPreparer;

  constructor(context: HostContext, resolver: DeviceResolver, preparer: DiskPreparer) {
    this.#context = context;
    this.#resolver = resolver;
    this.#preparer = preparer;
  }

  /** The hint of the settings; undefined when there is no such disk. */
  get hint(): DiskHint | undefined {
    const hint = this.#context.settings.current().disks.ephemeral;
    if (hint === undefined || hint === null || hint === '') return undefined;
    if (typeof hint !== 'string' && Object.values(hint).every((value) => value === '')) return undefined;
    return hint;
  }

  async prepare(
    hint: DiskHint,
    signal: AbortSignal,
  ): Promise<DataDiskNodes & { readonly changes: readonly string[] }> {
    const device = await this.#resolver.resolve('', hint, signal);
    const held = (await inspectDisk(this.#context.runner, device, signal)).table?.partitions.length;
    const layout = await this.#layout(device, held);
    const prepared = await this.#preparer.prepare('ephemeral', device, layout, signal);
    return { device, ...(await nodesOf(prepared.partitions)), changes: prepared.changes };
  }

  /** Nodes of a disk that has been prepared. */
  async nodes(hint: DiskHint, signal: AbortSignal): Promise<DataDiskNodes | undefined> {
    const device = await this.#resolver.resolve('', hint, signal);
    const { table } = await inspectDisk(this.#context.runner, device, signal);
    if (table === undefined || table.partitions.length === 0) return undefined;
    const nodes = await ensurePartitionNodes(this.#context.runner, device, table, signal);
    return { device, ...(await nodesOf(nodes)) };
  }

  /** A disk that has partitions keeps their number: a changed swap size is no reason to lose data. */
  async #layout(device: BlockDevice, held: number | undefined): Promise<DiskLayout> {
    const { linux, settings } = this.#context;
    const { agent_id: id } = settings.current();
    const prefix = `bosh-partition-${id}`.slice(0, maxNameLength);
    const swapMiB = await this.#swapMiB(device.sizeBytes);
    const withSwap = held === undefined || held === 0 ? swapMiB > 0 : held === 2;
    const data = { content: 'ext4', name: `${prefix}-${withSwap ? 1 : 0}` } as const;
    return {
      label: linux.PartitionerType === 'sfdisk' && device.sizeBytes <= 2 ** 41 ? 'dos' : 'gpt',
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
