import { ok } from 'node:assert/strict';
import { join } from 'node:path';
import type { CallContext, Cpi, CpiExtensions } from '@microbosh/cpi';
import { createLocalCpi } from '@microbosh/cpi-local';
import { isJsonObject } from '@microbosh/errors';
import type { Json, JsonObject } from '@microbosh/errors';
import type { NetworksSpec } from '@microbosh/spec';

type Cloud = Cpi & CpiExtensions;

/** What the CPI has delivered to a VM, read from the cloud. */
export type SettingsOf = (vmCid: string) => Promise<JsonObject>;

const context: CallContext = { directorUuid: 'lab', requestId: 'cpi-1', stemcellApiVersion: 3 };

/** What belongs to the cloud; addresses are the VM's wherever it runs. */
function addressesOf(networks: Json | undefined): NetworksSpec {
  ok(isJsonObject(networks), 'the settings have no networks');
  return Object.fromEntries(
    Object.entries(networks).map(([name, network]) => {
      ok(isJsonObject(network));
      const { ip, netmask, gateway, dns, default: defaults } = network;
      return [name, { type: 'manual', ip, netmask, gateway, dns, default: defaults, cloud_properties: {} }];
    }),
  ) as unknown as NetworksSpec;
}

/**
 * The machines behind the VMs of a cloud that has none: local VMs with the agent, booted with the settings that the CPI has
 * delivered, and disks that follow those of the cloud. Hints of disks are those of the machine that runs.
 */
export class LocalGuests {
  readonly #rootDir: string;
  readonly #settingsOf: SettingsOf;
  #stemcell = '';
  readonly #vms = new Map<string, string>();
  readonly #disks = new Map<string, string>();

  constructor(work: string, settingsOf: SettingsOf) {
    this.#rootDir = join(work, 'local');
    this.#settingsOf = settingsOf;
  }

  /** `imagePath`: of a light stemcell of the local provider. */
  async useStemcell(imagePath: string): Promise<void> {
    const local = this.#cpi({});
    if (this.#stemcell !== '') await local.deleteStemcell(context, this.#stemcell);
    this.#stemcell = await local.createStemcell(context, imagePath, { kind: 'host-rootfs' });
  }

  #cpi(agent: JsonObject): Cloud {
    const local = { root_dir: this.#rootDir };
    return createLocalCpi({ cloud: { plugin: 'local', properties: { local, agent } } });
  }

  get count(): number {
    return this.#vms.size + this.#disks.size;
  }

  async #boot(cid: string): Promise<void> {
    const settings = await this.#settingsOf(cid);
    const { agent_id: agentId, mbus, blobstore, ntp, env, networks } = settings;
    ok(typeof agentId === 'string' && isJsonObject(env), 'the settings have no agent_id or env');
    const local = this.#cpi({ mbus: mbus ?? null, blobstore: blobstore ?? null, ntp: ntp ?? [] });
    const properties = { ephemeral_disk: 512 };
    const made = await local.createVm(
      context,
      agentId,
      this.#stemcell,
      properties,
      addressesOf(networks),
      [],
      env,
    );
    this.#vms.set(cid, made.cid);
  }

  /** The cloud, with machines behind its VMs. */
  behind<T extends Cloud>(cloud: T): T {
    const local = this.#cpi({});
    const own: Partial<Cloud> = {
      createVm: async (...args) => {
        const made = await cloud.createVm(...args);
        if (!this.#vms.has(made.cid)) await this.#boot(made.cid);
        return made;
      },
      deleteVm: async (call, cid) => {
        const vm = this.#vms.get(cid);
        if (vm !== undefined) await local.deleteVm(context, vm);
        this.#vms.delete(cid);
        await cloud.deleteVm(call, cid);
      },
      createDisk: async (call, sizeMiB, properties, vmCid) => {
        const cid = await cloud.createDisk(call, sizeMiB, properties, vmCid);
        if (!this.#disks.has(cid)) this.#disks.set(cid, await local.createDisk(context, sizeMiB, {}, null));
        return cid;
      },
      deleteDisk: async (call, cid) => {
        await cloud.deleteDisk(call, cid);
        const disk = this.#disks.get(cid);
        if (disk !== undefined) await local.deleteDisk(context, disk);
        this.#disks.delete(cid);
      },
      attachDisk: async (call, vmCid, diskCid) => {
        await cloud.attachDisk(call, vmCid, diskCid);
        return local.attachDisk(context, this.#vms.get(vmCid) ?? '', this.#disks.get(diskCid) ?? '');
      },
      detachDisk: async (call, vmCid, diskCid) => {
        await local.detachDisk(context, this.#vms.get(vmCid) ?? '', this.#disks.get(diskCid) ?? '');
        await cloud.detachDisk(call, vmCid, diskCid);
      },
    };
    return new Proxy(cloud, {
      get: (target, property): unknown => {
        if (Object.hasOwn(own, property)) return Reflect.get(own, property);
        const member: unknown = Reflect.get(target, property);
        return typeof member === 'function' ? (member.bind(target) as unknown) : member;
      },
    });
  }

  /** What a case left running, and the stemcell. */
  async end(): Promise<void> {
    const local = this.#cpi({});
    for (const vm of this.#vms.values()) await local.deleteVm(context, vm);
    for (const disk of this.#disks.values()) await local.deleteDisk(context, disk);
    if (this.#stemcell !== '') await local.deleteStemcell(context, this.#stemcell);
    await local.dispose?.();
  }
}
