import { OperationalError } from '@microbosh/errors';
import type { CommandRunner } from '@microbosh/host';
import type { DiskHint } from '@microbosh/spec';
import { readdir, readFile, realpath, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LinuxOptions } from '../config/agent-config.ts';
import { which } from '../platform/which.ts';
import { openBlockDevice, type BlockDevice } from './block-device.ts';
import { DiskNotFound } from './errors.ts';

export class DiskAmbiguous extends OperationalError {
  readonly code = 'E_DISK_AMBIGUOUS';
}

export interface ResolverTimes {
  readonly timeoutMs: number;
  readonly pollMs: number;
}

const byId = '/dev/disk/by-id';
/** As long as the identity of a disk is looked for before a path is believed. */
const identityAttempts = 5;
/** Hypervisors cut the serial number of a virtio disk there. */
const virtioSerialLength = 20;

/** Finds the device that a hint means, as `DevicePathResolutionType` says, and waits until it has appeared. */
export class DeviceResolver {
  readonly #linux: LinuxOptions;
  readonly #runner: CommandRunner;
  readonly #times: ResolverTimes;

  constructor(
    linux: LinuxOptions,
    runner: CommandRunner,
    times: ResolverTimes = { timeoutMs: 30_000, pollMs: 100 },
  ) {
    this.#linux = linux;
    this.#runner = runner;
    this.#times = times;
  }

  /** Refuses when the disk does not appear in time, or when two devices could be meant. */
  async resolve(
    cid: string,
    hint: DiskHint,
    signal?: AbortSignal,
    options: { readonly waitMs?: number } = {},
  ): Promise<BlockDevice> {
    const waitMs = options.waitMs ?? this.#times.timeoutMs;
    const endMs = performance.now() + waitMs;
    // Without waiting, what would be tried after a moment is tried at once.
    for (let attempt = waitMs === 0 ? identityAttempts : 0; ; attempt += 1) {
      const path = await this.#find(cid, hint, attempt);
      if (path !== undefined) return openBlockDevice(path);
      if (performance.now() >= endMs) break;
      if (attempt % 10 === 0) await this.#rescan(signal);
      await sleep(this.#times.pollMs, undefined, signal ? { signal } : {});
    }
    throw new DiskNotFound(`The disk '${cid}' has not appeared on this machine.`, {
      details: { cid, waitedMs: waitMs },
      advice: 'Check with the cloud that it is attached to this machine.',
    });
  }

  async #find(cid: string, hint: DiskHint, attempt: number): Promise<string | undefined> {
    const fields = typeof hint === 'string' ? { path: hint, volume_id: hint } : hint;
    const { path, lun, host_device_id: host, volume_id: volume } = fields;
    if (lun !== undefined && this.#linux.LunDeviceSymlinkPath !== '') {
      const link = await existing(join(this.#linux.LunDeviceSymlinkPath, lun));
      if (link !== undefined) return link;
    }
    switch (this.#linux.DevicePathResolutionType) {
      case '':
        return path === undefined ? this.#bySerial(fields.id ?? cid) : existing(path);
      case 'virtio': {
        const found = await this.#bySerial(cid);
        // The identity counts for more than a path that the cloud may have reused: it is given a moment to appear.
        if (found !== undefined) return found;
        return attempt < identityAttempts && cid !== '' ? undefined : mapped(path);
      }
      case 'scsi':
        if (fields.id !== undefined) return this.#bySerial(fields.id);
        if (volume !== undefined && /^\d+$/.test(volume)) return byScsiUnit(volume);
        if (lun !== undefined && host !== undefined) return byVmbusLun(host, lun);
        return path === undefined ? undefined : existing(path);
      case 'iscsi':
        throw new DiskNotFound('iSCSI disks are not supported by this agent.', {
          advice: 'Attach the disk by the hypervisor.',
        });
    }
  }

  /** By the serial number that the disk itself reports: links of udev, or sysfs where there is no udev. */
  async #bySerial(id: string): Promise<string | undefined> {
    const wanted = this.#transformed(id);
    if (wanted.length < 8) return undefined;
    const candidates = new Set<string>();
    for (const link of await readdir(byId).catch(() => [])) {
      if (/-part\d+$/.test(link) || !serialMatches(link, wanted, 'ends')) continue;
      const real = await existing(join(byId, link));
      if (real !== undefined) candidates.add(real);
    }
    if (candidates.size === 0) {
      for (const name of await readdir('/sys/block').catch(() => [])) {
        const serial = await firstLine(
          `/sys/block/${name}/serial`,
          `/sys/block/${name}/device/serial`,
          `/sys/block/${name}/device/wwid`,
        );
        if (serial === undefined || !serialMatches(serial, wanted, 'equals')) continue;
        const node = await existing(`/dev/${name}`);
        if (node !== undefined) candidates.add(node);
      }
    }
    if (candidates.size > 1) {
      throw new DiskAmbiguous(
        `More than one device could be the disk '${id}': ${[...candidates].join(', ')}.`,
      );
    }
    return [...candidates][0];
  }

  #transformed(id: string): string {
    const { DiskIDTransformPattern: pattern, DiskIDTransformReplacement: replacement } = this.#linux;
    return pattern === '' ? id : id.replace(new RegExp(pattern), replacement);
  }

  async #rescan(signal: AbortSignal | undefined): Promise<void> {
    if (this.#linux.DevicePathResolutionType === 'scsi') {
      for (const host of await readdir('/sys/class/scsi_host').catch(() => [])) {
        await writeFile(`/sys/class/scsi_host/${host}/scan`, '- - -').catch(() => undefined);
      }
    }
    if ((await which('udevadm')) === undefined) return;
    const options = { timeoutMs: 10_000, okExitCodes: [0, 1, 2], ...(signal ? { signal } : {}) };
    await this.#runner.run(['udevadm', 'trigger', '--subsystem-match=block'], options);
    await this.#runner.run(['udevadm', 'settle', '--timeout=5'], options);
  }
}

/** Serial numbers come whole, cut to what the bus can carry, or without dashes. */
export function serialMatches(found: string, wanted: string, how: 'ends' | 'equals'): boolean {
  const forms = new Set([
    wanted,
    wanted.replaceAll('-', ''),
    ...(wanted.length > virtioSerialLength
      ? [wanted.slice(0, virtioSerialLength), wanted.replaceAll('-', '').slice(0, virtioSerialLength)]
      : []),
  ]);
  const serial = found.trim();
  if (how === 'equals') return [...forms].some((form) => serial === form || serial.endsWith(wanted));
  return [...forms].some(
    (form) =>
      serial === form ||
      serial.endsWith(`-${form}`) ||
      serial.endsWith(`_${form}`) ||
      serial.endsWith(wanted),
  );
}

/** `/dev/sdX` of the cloud's own naming is `/dev/xvdX` or `/dev/vdX` on the machine. */
async function mapped(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  const letter = /^\/dev\/sd([a-z]+)$/.exec(path)?.[1];
  if (letter === undefined) return existing(path);
  return (await existing(`/dev/xvd${letter}`)) ?? (await existing(`/dev/vd${letter}`)) ?? existing(path);
}

async function byScsiUnit(unit: string): Promise<string | undefined> {
  const devices = await readdir('/sys/bus/scsi/devices').catch(() => []);
  const roots = devices.filter((name) => /^\d+:0:0:0$/.test(name)).sort();
  for (const root of roots.reverse()) {
    const [host = ''] = root.split(':');
    const [name] = await readdir(`/sys/bus/scsi/devices/${host}:0:${unit}:0/block`).catch(() => []);
    if (name !== undefined) return existing(`/dev/${name}`);
  }
  return undefined;
}

async function byVmbusLun(hostDeviceId: string, lun: string): Promise<string | undefined> {
  for (const bus of await readdir('/sys/bus/vmbus/devices').catch(() => [])) {
    const id = await firstLine(`/sys/bus/vmbus/devices/${bus}/device_id`);
    if (id?.replace(/[{}]/g, '') !== hostDeviceId.replace(/[{}]/g, '')) continue;
    for (const device of await readdir('/sys/bus/scsi/devices').catch(() => [])) {
      if (!new RegExp(`^\\d+:\\d+:\\d+:${Number(lun)}$`).test(device)) continue;
      const sysfs = await realpath(`/sys/bus/scsi/devices/${device}`).catch(() => '');
      if (!sysfs.includes(`/${basename(bus)}/`)) continue;
      const [name] = await readdir(`${sysfs}/block`).catch(() => []);
      if (name !== undefined) return existing(`/dev/${name}`);
    }
  }
  return undefined;
}

async function existing(path: string): Promise<string | undefined> {
  const real = await realpath(path).catch(() => undefined);
  if (real === undefined) return undefined;
  return (await stat(real)).isBlockDevice() ? real : undefined;
}

async function firstLine(...paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) {
    const text = await readFile(path, 'utf8').catch(() => undefined);
    const line = text?.split('\n')[0]?.trim();
    if (line !== undefined && line !== '') return line;
  }
  return undefined;
}
