import { isJsonObject, type Json, type JsonObject } from '@microbosh/errors';
import { writeFileDurably } from '@microbosh/host';
import type { DiskHint } from '@microbosh/spec';
import { readJsonObjectIfPresent } from '../platform/files.ts';
import { objectOf, stringOf } from '../settings/json-keys.ts';

/**
 * Disks that came with `add_persistent_disk`, in the Go agent's file. A hint wins over an entry of the settings.
 *
 * @example {"disk-1":{"ID":"disk-1","DeviceID":"","VolumeID":"/dev/sdf","Path":"/dev/sdf"}}
 */
export class DiskHints {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async all(): Promise<Readonly<Record<string, DiskHint>>> {
    const document = (await readJsonObjectIfPresent(this.#path)) ?? {};
    return Object.fromEntries(
      Object.entries(document).flatMap(([cid, entry]) => (isJsonObject(entry) ? [[cid, toHint(entry)]] : [])),
    );
  }

  async add(cid: string, hint: DiskHint): Promise<void> {
    await this.#write({ ...((await readJsonObjectIfPresent(this.#path)) ?? {}), [cid]: toEntry(cid, hint) });
  }

  async remove(cid: string): Promise<void> {
    const document = (await readJsonObjectIfPresent(this.#path)) ?? {};
    if (!Object.hasOwn(document, cid)) return;
    await this.#write(Object.fromEntries(Object.entries(document).filter(([key]) => key !== cid)));
  }

  async #write(document: Readonly<Record<string, Json>>): Promise<void> {
    await writeFileDurably(this.#path, JSON.stringify(document));
  }
}

function toHint(entry: JsonObject): DiskHint {
  const members = {
    path: stringOf(entry, 'Path'),
    volume_id: stringOf(entry, 'VolumeID'),
    id: stringOf(entry, 'DeviceID'),
    lun: stringOf(entry, 'Lun'),
    host_device_id: stringOf(entry, 'HostDeviceID'),
    iscsi_settings: objectOf(entry, 'ISCSISettings'),
  };
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}

function toEntry(cid: string, hint: DiskHint): JsonObject {
  const fields = typeof hint === 'string' ? { path: hint, volume_id: hint } : hint;
  return {
    ID: cid,
    DeviceID: fields.id ?? '',
    VolumeID: fields.volume_id ?? '',
    Lun: fields.lun ?? '',
    HostDeviceID: fields.host_device_id ?? '',
    Path: fields.path ?? '',
    ISCSISettings: fields.iscsi_settings ?? {},
  };
}
