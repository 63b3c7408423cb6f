import { isJsonObject } from '@microbosh/errors';
import { CommandFailed, retry, writeFileDurably } from '@microbosh/host';
import type { DiskHint } from '@microbosh/spec';
import { mkdir, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { HostContext } from '../platform/host-context.ts';
import {
  readJsonObjectIfPresent,
  readTextIfPresent,
  removeFileDurably,
  statIfPresent,
} from '../platform/files.ts';
import { MountTable } from '../platform/mount-table.ts';
import { wantLink } from '../platform/wanted-files.ts';
import type { PersistentDisks } from '../ports/host.ts';
import { stringOf, stringsOf } from '../settings/json-keys.ts';
import { isDiskHint, parseHint } from '../settings/settings-document.ts';
import { openBlockDevice, partitionName, type BlockDevice } from './block-device.ts';
import type { DeviceResolver } from './device-resolver.ts';
import { growFilesystem, growLastPartition, growUnmountedFilesystem } from './disk-growth.ts';
import { DiskHints } from './disk-hints.ts';
import { inspectDisk } from './disk-contents.ts';
import type { DiskLayout, DiskPreparer } from './disk-preparer.ts';
import { DiskBusy, DiskNotFound, DiskOperationFailed, MigrationRefused } from './errors.ts';
import { Migration, unfinishedCopyFile } from './migration.ts';
import { ensurePartitionNodes } from './partition-nodes.ts';

const twoTebibytes = 2 ** 41;

export interface PersistentDisksOptions {
  readonly context: HostContext;
  readonly resolver: DeviceResolver;
  readonly preparer: DiskPreparer;
  /** How long open files may hold up an unmount. */
  readonly unmountAttempts?: number;
}

export class LinuxPersistentDisks implements PersistentDisks {
  readonly #context: HostContext;
  readonly #resolver: DeviceResolver;
  readonly #preparer: DiskPreparer;
  readonly #hints: DiskHints;
  readonly #unmountAttempts: number;

  constructor(options: PersistentDisksOptions) {
    this.#context = options.context;
    this.#resolver = options.resolver;
    this.#preparer = options.preparer;
    this.#hints = new DiskHints(options.context.paths.persistentDiskHints);
    this.#unmountAttempts = options.unmountAttempts ?? 600;
  }

  async list(): Promise<readonly string[]> {
    const mounted: string[] = [];
    for (const [cid, hint] of Object.entries(await this.#known())) {
      let device: BlockDevice;
      try {
        // What is mounted has its device already: there is nothing to wait for.
        device = await this.#resolver.resolve(cid, hint, undefined, { waitMs: 0 });
      } catch (error) {
        if (error instanceof DiskNotFound) continue;
        throw error;
      }
      if ((await this.#mountPointsOf(device, undefined)).length > 0) mounted.push(cid);
    }
    return mounted;
  }

  /** Where the disk's device is now; waits until it has appeared. */
  async devicePath(cid: string, signal?: AbortSignal): Promise<string> {
    return (await this.#deviceAt(cid, signal)).path;
  }

  async addDynamic(cid: string, hint: DiskHint, signal?: AbortSignal): Promise<void> {
    const parsed: unknown = typeof hint === 'string' ? hint : isJsonObject(hint) ? parseHint(hint) : hint;
    if (!isDiskHint(parsed)) throw new DiskNotFound(`The hint for the disk '${cid}' is not one.`);
    const { path } = await this.#resolver.resolve(cid, parsed, signal);
    const directory = join(this.#context.paths.data, 'dynamic_disks');
    await mkdir(directory, { recursive: true, mode: 0o700 });
    for (const change of await wantLink(join(directory, cid), path)) await change.apply();
  }

  async removeDynamic(cid: string): Promise<void> {
    await removeFileDurably(join(this.#context.paths.data, 'dynamic_disks', cid));
  }

  async addHint(cid: string, hint: DiskHint): Promise<void> {
    const parsed: unknown = typeof hint === 'string' ? hint : isJsonObject(hint) ? parseHint(hint) : hint;
    if (!isDiskHint(parsed)) throw new DiskNotFound(`The hint for the disk '${cid}' is not one.`);
    await this.#hints.add(cid, parsed);
  }

  async removeHint(cid: string): Promise<void> {
    await this.#hints.remove(cid);
  }

  /** CID of the disk that belongs on `store`, as the last mount recorded it. */
  async lastMounted(): Promise<string | undefined> {
    const text = (await readTextIfPresent(this.#context.paths.lastMountedDisk))?.trim();
    return text === '' ? undefined : text;
  }

  async mount(cid: string, signal?: AbortSignal): Promise<void> {
    const { paths } = this.#context;
    const device = await this.#resolver.resolve(cid, await this.#hintOf(cid, signal), signal);
    const node = await this.#preparedNode(cid, device, signal);
    const table = await MountTable.read();
    const mounted = table.of((await openBlockDevice(node)).number).map((entry) => entry.mountPoint);
    if (mounted.includes(paths.store)) return this.#recordMounted(cid);
    if (mounted.includes(paths.migrationTarget)) return;
    if (mounted.length > 0) {
      throw new DiskBusy(`The disk '${cid}' is mounted on ${mounted.join(', ')} instead of ${paths.store}.`);
    }
    const target = table.at(paths.store) === undefined ? paths.store : paths.migrationTarget;
    if (table.at(target) !== undefined) {
      throw new DiskBusy(`Both ${paths.store} and ${paths.migrationTarget} hold other disks already.`, {
        advice: 'Unmount one of them first.',
      });
    }
    await this.#mountAt(node, target, [], signal);
    if (target !== paths.store) return;
    await this.#refuseUnfinishedCopy(cid, target, signal);
    await this.#growFilesystem(node, target, signal);
    await this.#recordMounted(cid);
  }

  async unmount(cid: string, signal?: AbortSignal): Promise<boolean> {
    const known = await this.#known();
    const hint = known[cid];
    if (hint === undefined) throw notFound(cid);
    const device = await this.#resolver.resolve(cid, hint, signal);
    const points = await this.#mountPointsOf(device, signal);
    for (const point of points.toReversed()) await this.#unmountPoint(point, signal);
    if (points.includes(this.#context.paths.store) && (await this.lastMounted()) === cid) {
      await removeFileDurably(this.#context.paths.lastMountedDisk);
    }
    return points.length > 0;
  }

  async migrate(sentFrom: string, sentTo: string, signal?: AbortSignal): Promise<void> {
    const { paths } = this.#context;
    const fromCid = sentFrom === '' ? await this.#cidAt(paths.store) : sentFrom;
    const toCid = sentTo === '' ? await this.#cidAt(paths.migrationTarget) : sentTo;
    const [from, to] = await Promise.all([this.#deviceAt(fromCid, signal), this.#deviceAt(toCid, signal)]);
    const [fromPoints, toPoints] = [
      await this.#mountPointsOf(from, signal),
      await this.#mountPointsOf(to, signal),
    ];
    if (from.number === to.number) throw new MigrationRefused('A disk cannot be migrated to itself.');
    // Asked again after the answer was lost.
    if (toPoints.includes(paths.store) && !fromPoints.includes(paths.store)) return;
    if (!fromPoints.includes(paths.store)) {
      throw new MigrationRefused(`The disk '${fromCid}' is not mounted on ${paths.store}.`);
    }
    if (!toPoints.includes(paths.migrationTarget)) {
      throw new MigrationRefused(`The disk '${toCid}' is not mounted on ${paths.migrationTarget}.`, {
        advice: 'Call mount_disk for it first.',
      });
    }
    await this.#migration({ from: fromCid, to: toCid }, signal).run();
  }

  /**
   * After a start: brings what belongs on `store` there. Finishes a migration that was past its point of no return, and
   * gives up one that was not (the old disk is whole). Answers what was done.
   */
  async restore(signal?: AbortSignal): Promise<readonly string[]> {
    const { paths } = this.#context;
    const journal = await readJsonObjectIfPresent(paths.diskMigration);
    const from = stringOf(journal, 'from');
    const to = stringOf(journal, 'to');
    if (from !== undefined && to !== undefined) {
      return this.#migration({ from, to }, signal).recover(stringOf(journal, 'phase') === 'switching');
    }
    const cid = await this.lastMounted();
    if (cid === undefined) return [];
    const before = (await MountTable.read()).at(paths.store);
    await this.mount(cid, signal);
    return before === undefined ? [`mount the disk '${cid}' on ${paths.store}`] : [];
  }

  #migration(cids: { from: string; to: string }, signal: AbortSignal | undefined): Migration {
    return new Migration({
      ...cids,
      context: this.#context,
      unmount: (point) => this.#unmountPoint(point, signal),
      mountOnStore: async (cid) => {
        const device = await this.#deviceAt(cid, signal);
        const node = await this.#nodeOf(device, signal);
        await this.#mountAt(node, this.#context.paths.store, [], signal);
        await this.#growFilesystem(node, this.#context.paths.store, signal);
      },
      mountReadOnlyOnTarget: async (cid) => {
        const device = await this.#deviceAt(cid, signal);
        await this.#mountAt(
          await this.#nodeOf(device, signal),
          this.#context.paths.migrationTarget,
          ['ro'],
          signal,
        );
      },
      isOnStore: async (cid) => {
        const points = await this.#mountPointsOf(await this.#deviceAt(cid, signal), signal);
        return points.includes(this.#context.paths.store);
      },
      record: (cid) => this.#recordMounted(cid),
      ...(signal ? { signal } : {}),
    });
  }

  /** The clients of the Go agent name no disks: what is mounted tells which are meant. */
  async #cidAt(point: string): Promise<string> {
    for (const [cid, hint] of Object.entries(await this.#known())) {
      const device = await this.#resolver.resolve(cid, hint, undefined, { waitMs: 0 }).catch(() => undefined);
      if (device && (await this.#mountPointsOf(device, undefined)).includes(point)) return cid;
    }
    throw new MigrationRefused(`No known disk is mounted on ${point}.`, {
      advice: 'Call mount_disk for both disks first, the old one before the new one.',
    });
  }

  async #known(): Promise<Readonly<Record<string, DiskHint>>> {
    return { ...this.#context.settings.current().disks.persistent, ...(await this.#hints.all()) };
  }

  async #hintOf(cid: string, signal: AbortSignal | undefined): Promise<DiskHint> {
    const hinted = (await this.#hints.all())[cid];
    if (hinted !== undefined) return hinted;
    // attach_disk changes the settings; what is cached may name the path of an earlier attachment.
    const settings = await this.#context.settings.refresh(signal);
    const hint = settings.disks.persistent?.[cid];
    if (hint === undefined) throw notFound(cid);
    return hint;
  }

  async #deviceAt(cid: string, signal: AbortSignal | undefined): Promise<BlockDevice> {
    const hint = (await this.#known())[cid];
    if (hint === undefined) throw notFound(cid);
    return this.#resolver.resolve(cid, hint, signal);
  }

  async #preparedNode(cid: string, device: BlockDevice, signal: AbortSignal | undefined): Promise<string> {
    if (this.#context.linux.UsePreformattedPersistentDisk) return device.path;
    const mounted = await this.#mountPointsOf(device, signal);
    if (mounted.length > 0) return this.#nodeOf(device, signal);
    const layout = this.#layout(device);
    const prepared = await this.#preparer.prepare(cid, device, layout, signal);
    const [node] = prepared.partitions;
    if (node === undefined) throw new DiskOperationFailed(`The disk '${cid}' has no partition.`);
    await growLastPartition(this.#context.runner, device, signal);
    return node;
  }

  #layout(device: BlockDevice): DiskLayout {
    const env = this.#context.settings.current().env;
    const object = isJsonObject(env) ? env : {};
    const content = stringOf(object, 'persistent_disk_fs') ?? 'ext4';
    if (content !== 'ext4' && content !== 'xfs') {
      throw new DiskOperationFailed(
        `The file system '${content}' in env.persistent_disk_fs is not supported.`,
        {
          advice: 'Use ext4 or xfs.',
        },
      );
    }
    const partitioner =
      stringOf(object, 'persistent_disk_partitioner') ?? this.#context.linux.PartitionerType;
    const label = partitioner === 'sfdisk' && device.sizeBytes <= twoTebibytes ? 'dos' : 'gpt';
    return { label, partitions: [{ content, name: 'bosh-partition-0' }] };
  }

  async #nodeOf(device: BlockDevice, signal: AbortSignal | undefined): Promise<string> {
    if (this.#context.linux.UsePreformattedPersistentDisk) return device.path;
    const node = partitionName(device.path, 1);
    if ((await statIfPresent(node))?.isBlockDevice() === true && (await isPartitionOf(node, device)))
      return node;
    const { table } = await inspectDisk(this.#context.runner, device, signal);
    const nodes = table ? await ensurePartitionNodes(this.#context.runner, device, table, signal) : [];
    if (nodes[0] === undefined) throw new DiskOperationFailed(`${device.path} has no partition.`);
    return nodes[0];
  }

  async #mountPointsOf(device: BlockDevice, signal: AbortSignal | undefined): Promise<readonly string[]> {
    const table = await MountTable.read();
    const whole = table.of(device.number);
    const { table: partitions } = this.#context.linux.UsePreformattedPersistentDisk
      ? { table: undefined }
      : await inspectDisk(this.#context.runner, device, signal);
    if (partitions === undefined || partitions.partitions.length === 0)
      return whole.map((entry) => entry.mountPoint);
    const number = (await openBlockDevice(await this.#nodeOf(device, signal))).number;
    return [...whole, ...table.of(number)].map((entry) => entry.mountPoint);
  }

  async #mountAt(
    node: string,
    target: string,
    extra: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    await mkdir(target, { recursive: true, mode: 0o700 });
    const env = this.#context.settings.current().env;
    const wanted = stringsOf(isJsonObject(env) ? env : undefined, 'persistent_disk_mount_options') ?? [];
    const options = [...(this.#context.linux.BindMountPersistentDisk ? ['bind'] : []), ...wanted, ...extra];
    await this.#context.runner.run(
      ['mount', ...(options.length === 0 ? [] : ['-o', options.join(',')]), node, target],
      signal ? { signal } : {},
    );
    if ((await MountTable.read()).at(target) === undefined) {
      throw new DiskOperationFailed(`${node} is not mounted on ${target} although mount did not fail.`);
    }
  }

  /** While it is mounted, which survives a power cut; where the kernel does not allow that (no CAP_SYS_RESOURCE), before. */
  async #growFilesystem(node: string, target: string, signal: AbortSignal | undefined): Promise<void> {
    const { runner } = this.#context;
    try {
      await growFilesystem(runner, node, target, signal);
    } catch (error) {
      if (!(error instanceof CommandFailed) || !/Permission denied/.test(error.stderr)) throw error;
      await this.#unmountPoint(target, signal);
      await growUnmountedFilesystem(runner, node, signal);
      await this.#mountAt(node, target, [], signal);
    }
  }

  async #unmountPoint(point: string, signal: AbortSignal | undefined): Promise<void> {
    try {
      await retry(
        { attempts: this.#unmountAttempts, delayMs: 100, factor: 1.5, maxDelayMs: 1000 },
        () => this.#context.runner.run(['umount', point], signal ? { signal } : {}),
        signal ? { signal } : {},
      );
    } catch (error) {
      signal?.throwIfAborted();
      const users = await usersOf(point);
      throw new DiskBusy(`${point} cannot be unmounted: ${users.join(', ') || 'it is in use'}.`, {
        advice: 'Stop what uses it, and try again.',
        cause: error,
      });
    }
  }

  async #refuseUnfinishedCopy(cid: string, target: string, signal: AbortSignal | undefined): Promise<void> {
    const marker = await readJsonObjectIfPresent(join(target, unfinishedCopyFile));
    if (marker === undefined) return;
    await this.#unmountPoint(target, signal);
    throw new MigrationRefused(
      `The disk '${cid}' holds an unfinished copy of '${stringOf(marker, 'from') ?? 'another disk'}'.`,
      { advice: 'Attach and mount that disk, and migrate again; nothing on it has been changed.' },
    );
  }

  async #recordMounted(cid: string): Promise<void> {
    if ((await this.lastMounted()) === cid) return;
    await writeFileDurably(this.#context.paths.lastMountedDisk, cid);
  }
}

function notFound(cid: string): DiskNotFound {
  return new DiskNotFound(`Persistent disk with volume id '${cid}' could not be found`, { details: { cid } });
}

async function isPartitionOf(node: string, device: BlockDevice): Promise<boolean> {
  const { number } = await openBlockDevice(node);
  const name = partitionName(device.kernelName, 1);
  const text = await readFile(`/sys/dev/block/${device.number}/${name}/dev`, 'utf8').catch(() => undefined);
  return text?.trim() === number;
}

/** Processes with a file, root or working directory below a mount point; at most ten. */
async function usersOf(point: string): Promise<readonly string[]> {
  const users: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const links = await readdir(`/proc/${pid}/fd`).catch(() => []);
    const paths = [`/proc/${pid}/cwd`, `/proc/${pid}/root`, ...links.map((fd) => `/proc/${pid}/fd/${fd}`)];
    const targets = await Promise.all(paths.map((path) => readlink(path).catch(() => '')));
    if (!targets.some((target) => target === point || target.startsWith(`${point}/`))) continue;
    const name = (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')).trim();
    users.push(`${name} (pid ${pid})`);
    if (users.length === 10) break;
  }
  return users;
}
