import { open, rm } from 'node:fs/promises';
import { errorCode, isJsonObject, messageOf, type Json, type JsonObject } from '@microbosh/errors';
import {
  CloudError,
  DiskNotFound,
  GenericCpiError,
  InvalidCall,
  NotSupported,
  StemcellNotFound,
  VmNotFound,
  type CallContext,
  type Cpi,
  type CpiExtensions,
  type CpiInfo,
  type CreatedVm,
} from '@microbosh/cpi';
import { withDirectoryLock, type CommandRunner } from '@microbosh/host';
import { RegistryClient } from '@microbosh/registry-client';
import type { AgentSettings, NetworksSpec, UserData } from '@microbosh/spec';
import { Bridges } from './bridges.ts';
import { writeConfigDrive } from './config-drive.ts';
import { bridgesFor, namespaceOf, planNetworks, type BridgePlan } from './network-plan.ts';
import { diskSlots } from './qemu-arguments.ts';
import { readVmProperties, type QemuConfig } from './qemu-config.ts';
import { newCid, Records, type DiskRecord, type VmRecord } from './records.ts';
import { devicePath, ephemeralSerial, VmProcess } from './vm-process.ts';

const imageTimeoutMs = 30 * 60_000;
const shutDownMs = 45_000;

/** Real machines on this one, by QEMU: with KVM when it works, else emulated. */
export class QemuCpi implements Cpi, CpiExtensions {
  readonly #runner: CommandRunner;
  readonly #config: QemuConfig;
  readonly #records: Records;
  readonly #bridges: Bridges;
  readonly #process: VmProcess;
  /** What hostAddress made ready. */
  readonly #readied = new Map<string, BridgePlan>();

  constructor(runner: CommandRunner, config: QemuConfig) {
    this.#runner = runner;
    this.#config = config;
    this.#records = new Records(config.rootDir);
    this.#bridges = new Bridges(runner, namespaceOf(config.rootDir));
    this.#process = new VmProcess(runner, config, this.#records, this.#bridges);
  }

  info(_context: CallContext): Promise<CpiInfo> {
    return Promise.resolve({ stemcell_formats: ['qemu-qcow2', 'openstack-qcow2'], api_version: 2 });
  }

  createStemcell(
    context: CallContext,
    imagePath: string,
    _cloudProperties: JsonObject | null,
  ): Promise<string> {
    return this.#locked(context, async () => {
      const cid = newCid('stemcell', context.token);
      if (await this.#records.stemcells.find(cid)) return cid;
      const directory = await this.#records.stemcells.renew(cid);
      const image = `${directory}/image.qcow2`;
      await this.#placeImage(imagePath, image, context.signal);
      const sizeBytes = await this.#checkImage(image);
      await this.#records.stemcells.save({ version: 1, cid, createdAt: now(), sizeBytes });
      return cid;
    });
  }

  deleteStemcell(context: CallContext, stemcellCid: string): Promise<void> {
    return this.#locked(context, async () => {
      if (!(await this.#records.stemcells.find(stemcellCid))) throw new StemcellNotFound(stemcellCid);
      const user = (await this.#records.vms.list()).find((vm) => vm.stemcellCid === stemcellCid);
      // The VM's disk is a layer over the stemcell's.
      if (user) throw new CloudError(`Stemcell '${stemcellCid}' is in use by VM '${user.cid}'`);
      await this.#records.stemcells.remove(stemcellCid);
      await this.#removeUnusedBridges();
    });
  }

  createVm(
    context: CallContext,
    agentId: string,
    stemcellCid: string,
    cloudProperties: JsonObject,
    networks: NetworksSpec,
    _diskCids: readonly string[],
    env: JsonObject,
  ): Promise<CreatedVm> {
    return this.#locked(context, async () => {
      const cid = newCid('vm', context.token);
      const present = await this.#records.vms.find(cid);
      if (present?.state === 'created' && (await this.#process.isRunning(cid))) {
        return { cid, networks: networksOf(present) };
      }
      await this.#removeLeftovers(cid);
      const stemcell = await this.#records.stemcells.find(stemcellCid);
      if (!stemcell) throw new StemcellNotFound(stemcellCid);
      const properties = readVmProperties(cloudProperties);
      const others = await this.#records.vms.list();
      const taken = new Map(others.flatMap((vm) => vm.nics.map((nic) => [nic.ip, vm.cid] as const)));
      const plan = planNetworks(this.#config.rootDir, this.#config.dynamicSubnet, cid, networks, taken);
      await this.#records.vms.renew(cid);
      const record: VmRecord = {
        version: 1,
        cid,
        createdAt: now(),
        state: 'creating',
        stemcellCid,
        networkMode: this.#config.networkMode,
        networks: plan.networks,
        nics: plan.nics.map((nic) => ({ ...nic })),
        properties: { ...properties, ports: [...properties.ports] },
        disks: [],
        metadata: {},
      };
      await this.#records.vms.save(record);
      try {
        await this.#makeDisks(record, stemcell.sizeBytes, context.signal);
        // The machine before may have taken along the address by which the registry is reached.
        await this.#process.ensureNetworks(record);
        await this.#deliverSettings(record, agentId, plan.networks, env, context.signal);
        await this.#process.start(record, context.signal);
        await this.#records.vms.save({ ...record, state: 'created' });
      } catch (error) {
        await this.#destroy(record);
        throw error;
      }
      return { cid, networks: plan.networks };
    });
  }

  deleteVm(context: CallContext, vmCid: string): Promise<void> {
    return this.#locked(context, async () => {
      const vm = await this.#records.vms.find(vmCid);
      if (!vm) throw new VmNotFound(vmCid);
      await this.#records.vms.save({ ...vm, state: 'deleting' });
      // A disk that outlives the VM may be mounted still: let the guest put it down.
      if (vm.disks.length > 0) await this.#tryShutDown(vmCid, context.signal);
      // Before the bridge goes, by whose address the registry may be reached. One that has gone itself has nothing to forget.
      await this.#registry()
        ?.deleteSettings(vmCid, context.signal)
        .catch(() => undefined);
      await this.#destroy(vm);
    });
  }

  async hasVm(_context: CallContext, vmCid: string): Promise<boolean> {
    const vm = await this.#records.vms.find(vmCid);
    return vm?.state === 'created' && (await this.#process.isRunning(vmCid));
  }

  rebootVm(context: CallContext, vmCid: string): Promise<void> {
    return this.#locked(context, async () => {
      const vm = await this.#requireVm(vmCid);
      await this.#tryShutDown(vmCid, context.signal);
      await this.#process.powerOff(vmCid, context.signal);
      await this.#process.start(vm, context.signal);
    });
  }

  setVmMetadata(
    context: CallContext,
    vmCid: string,
    metadata: Readonly<Record<string, string>>,
  ): Promise<void> {
    return this.#locked(context, async () => {
      const vm = await this.#requireVm(vmCid);
      await this.#records.vms.save({ ...vm, metadata: { ...vm.metadata, ...metadata } });
    });
  }

  createDisk(
    context: CallContext,
    sizeMiB: number,
    _cloudProperties: JsonObject,
    _vmCid: string | null,
  ): Promise<string> {
    if (!Number.isInteger(sizeMiB) || sizeMiB < 1) {
      throw new InvalidCall(`The size of a disk must be a whole number of MiB, got ${sizeMiB}`);
    }
    return this.#locked(context, async () => {
      const cid = newCid('disk', context.token);
      if (await this.#records.disks.find(cid)) return cid;
      const directory = await this.#records.disks.renew(cid);
      await this.#qemuImg(['create', '-q', '-f', 'qcow2', `${directory}/disk.qcow2`, `${sizeMiB}M`]);
      await this.#records.disks.save({ version: 1, cid, createdAt: now(), sizeMiB, metadata: {} });
      return cid;
    });
  }

  deleteDisk(context: CallContext, diskCid: string): Promise<void> {
    return this.#locked(context, async () => {
      await this.#requireDisk(diskCid);
      const holder = await this.#holderOf(diskCid);
      if (holder) throw new CloudError(`Disk '${diskCid}' is attached to VM '${holder.cid}'`);
      await this.#records.disks.remove(diskCid);
    });
  }

  async hasDisk(_context: CallContext, diskCid: string): Promise<boolean> {
    return (await this.#records.disks.find(diskCid)) !== undefined;
  }

  attachDisk(context: CallContext, vmCid: string, diskCid: string): Promise<Json> {
    return this.#locked(context, async () => {
      const vm = await this.#requireVm(vmCid);
      await this.#requireDisk(diskCid);
      const holder = await this.#holderOf(diskCid);
      if (holder && holder.cid !== vmCid) {
        throw new CloudError(`Disk '${diskCid}' is attached to VM '${holder.cid}'`);
      }
      await this.#requireRunning(vmCid);
      const present = vm.disks.find((disk) => disk.cid === diskCid);
      const slot = present?.slot ?? freeSlot(vm);
      // Written first: whoever comes after a crash knows where the disk may be.
      if (!present) await this.#records.vms.save({ ...vm, disks: [...vm.disks, { cid: diskCid, slot }] });
      await this.#process.plug(vm, diskCid, slot, context.signal);
      const hint = { path: devicePath(diskCid) };
      await this.#editPersistentDisks(vmCid, (disks) => ({ ...disks, [diskCid]: hint }), context.signal);
      return hint;
    });
  }

  detachDisk(context: CallContext, vmCid: string, diskCid: string): Promise<void> {
    return this.#locked(context, async () => {
      const vm = await this.#requireVm(vmCid);
      if (!vm.disks.some((disk) => disk.cid === diskCid)) return;
      await this.#editPersistentDisks(
        vmCid,
        (disks) => Object.fromEntries(Object.entries(disks).filter(([cid]) => cid !== diskCid)),
        context.signal,
      );
      if (await this.#process.isRunning(vmCid)) await this.#process.unplug(vmCid, diskCid, context.signal);
      await this.#records.vms.save({ ...vm, disks: vm.disks.filter((disk) => disk.cid !== diskCid) });
    });
  }

  async getDisks(_context: CallContext, vmCid: string): Promise<readonly string[]> {
    return (await this.#requireVm(vmCid)).disks.map((disk) => disk.cid);
  }

  setDiskMetadata(
    context: CallContext,
    diskCid: string,
    metadata: Readonly<Record<string, string>>,
  ): Promise<void> {
    return this.#locked(context, async () => {
      const disk = await this.#requireDisk(diskCid);
      await this.#records.disks.save({ ...disk, metadata: { ...disk.metadata, ...metadata } });
    });
  }

  resizeDisk(context: CallContext, diskCid: string, newSizeMiB: number): Promise<void> {
    return this.#locked(context, async () => {
      const disk = await this.#requireDisk(diskCid);
      if (!Number.isInteger(newSizeMiB) || newSizeMiB < disk.sizeMiB) {
        throw new NotSupported(`Disk '${diskCid}' of ${disk.sizeMiB} MiB cannot become ${newSizeMiB} MiB`);
      }
      if (newSizeMiB === disk.sizeMiB) return;
      const holder = await this.#holderOf(diskCid);
      if (holder && (await this.#process.isRunning(holder.cid))) {
        await this.#process.control(holder.cid, context.signal, (qmp) =>
          qmp.execute('block_resize', { 'node-name': diskCid, size: newSizeMiB * 2 ** 20 }),
        );
      } else {
        await this.#qemuImg(['resize', '-q', '-f', 'qcow2', this.#diskFile(diskCid), `${newSizeMiB}M`]);
      }
      await this.#records.disks.save({ ...disk, sizeMiB: newSizeMiB });
    });
  }

  snapshotDisk(
    context: CallContext,
    diskCid: string,
    metadata: Readonly<Record<string, string>>,
  ): Promise<string> {
    return this.#locked(context, async () => {
      const disk = await this.#requireDisk(diskCid);
      const cid = newCid('snapshot', context.token);
      if (await this.#records.snapshots.find(cid)) return cid;
      const directory = await this.#records.snapshots.renew(cid);
      const target = `${directory}/snapshot.qcow2`;
      const holder = await this.#holderOf(diskCid);
      if (holder && (await this.#process.isRunning(holder.cid))) {
        await this.#qemuImg(['create', '-q', '-f', 'qcow2', target, `${disk.sizeMiB}M`]);
        await this.#backUp(holder.cid, diskCid, cid, target, context.signal);
      } else {
        await this.#qemuImg(['convert', '-O', 'qcow2', this.#diskFile(diskCid), target]);
      }
      await this.#records.snapshots.save({
        version: 1,
        cid,
        createdAt: now(),
        diskCid,
        metadata: Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, String(value)])),
      });
      return cid;
    });
  }

  deleteSnapshot(context: CallContext, snapshotCid: string): Promise<void> {
    return this.#locked(context, async () => {
      if (await this.#records.snapshots.find(snapshotCid)) await this.#records.snapshots.remove(snapshotCid);
    });
  }

  calculateVmCloudProperties(
    _context: CallContext,
    requirements: { readonly cpu: number; readonly ram: number; readonly ephemeral_disk_size: number },
  ): Promise<JsonObject> {
    const missing = ['cpu', 'ram', 'ephemeral_disk_size'].filter(
      (key) => !Number.isInteger(new Map(Object.entries(requirements)).get(key)),
    );
    if (missing.length > 0) {
      throw new GenericCpiError(`Missing VM cloud properties: '${missing.join("', '")}'`);
    }
    return Promise.resolve({
      cpu: requirements.cpu,
      memory: requirements.ram,
      ephemeral_disk: requirements.ephemeral_disk_size,
    });
  }

  hostAddress(context: CallContext, networks: NetworksSpec): Promise<string | undefined> {
    if (this.#config.networkMode === 'user') return Promise.resolve(undefined);
    return this.#locked(context, async () => {
      const bridges = bridgesFor(this.#config.rootDir, this.#config.dynamicSubnet, networks);
      for (const bridge of bridges) {
        this.#readied.set(bridge.name, bridge);
        await this.#bridges.ensure(bridge);
      }
      return bridges[0]?.address;
    });
  }

  async dispose(): Promise<void> {
    await withDirectoryLock(this.#config.rootDir, undefined, () =>
      this.#removeUnusedBridges([...this.#readied.values()]),
    );
  }

  async findByToken(
    _context: CallContext,
    kind: 'stemcell' | 'vm' | 'disk',
    token: string,
  ): Promise<string | undefined> {
    const cid = newCid(kind, token);
    const found = {
      stemcell: () => this.#records.stemcells.find(cid),
      vm: () => this.#records.vms.find(cid),
      disk: () => this.#records.disks.find(cid),
    }[kind];
    return (await found()) && cid;
  }

  async consoleLog(_context: CallContext, vmCid: string): Promise<string | undefined> {
    return (await this.#records.vms.find(vmCid)) && this.#process.consoleTail(vmCid);
  }

  /** Calls of several processes change the same records: one at a time. */
  #locked<T>(context: CallContext, work: () => Promise<T>): Promise<T> {
    return withDirectoryLock(this.#config.rootDir, context.signal, work);
  }

  async #placeImage(source: string, target: string, signal: AbortSignal | undefined): Promise<void> {
    const options = { timeoutMs: imageTimeoutMs, ...(signal && { signal }) };
    if (!(await isGzip(source))) {
      await this.#runner.run(['cp', '--reflink=auto', '--sparse=always', '--', source, target], options);
      return;
    }
    const unpacked = `${target}.unpacked`;
    await this.#runner.run(['mkdir', unpacked]);
    try {
      await this.#runner.run(['tar', '-C', unpacked, '-xzf', source, 'root.img'], options);
      const { format } = await this.#imageInfo(`${unpacked}/root.img`);
      await this.#qemuImg(['convert', '-f', format, '-O', 'qcow2', `${unpacked}/root.img`, target]);
    } finally {
      await rm(unpacked, { recursive: true, force: true });
    }
  }

  /** An image that names another file as its base would give the VM that file. */
  async #checkImage(path: string): Promise<number> {
    const { format, backing, sizeBytes } = await this.#imageInfo(path);
    if (format !== 'qcow2' || backing) {
      throw new CloudError(
        `The image is of format ${format}${backing ? ' with a base' : ''}, not a plain qcow2`,
      );
    }
    return sizeBytes;
  }

  async #imageInfo(
    path: string,
  ): Promise<{ readonly format: string; readonly backing: boolean; readonly sizeBytes: number }> {
    const { stdout } = await this.#runner.run(['qemu-img', 'info', '--output=json', path]);
    const info: unknown = JSON.parse(stdout);
    if (!isJsonObject(info)) throw new CloudError(`qemu-img describes ${path} in an unknown form`);
    return {
      format: textOf(info['format']),
      backing: info['backing-filename'] !== undefined,
      sizeBytes: Number(info['virtual-size']),
    };
  }

  async #makeDisks(vm: VmRecord, imageBytes: number, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    const sizeBytes = Math.max(imageBytes, vm.properties.rootDiskMiB * 2 ** 20);
    await this.#qemuImg([
      ...['create', '-q', '-f', 'qcow2', '-F', 'qcow2'],
      ...['-b', this.#records.stemcells.pathOf(vm.stemcellCid, 'image.qcow2')],
      this.#records.vms.pathOf(vm.cid, 'root.qcow2'),
      String(sizeBytes),
    ]);
    if (vm.properties.ephemeralDiskMiB === 0) return;
    const ephemeral = this.#records.vms.pathOf(vm.cid, 'ephemeral.qcow2');
    await this.#qemuImg(['create', '-q', '-f', 'qcow2', ephemeral, `${vm.properties.ephemeralDiskMiB}M`]);
  }

  /** Into the registry when there is one: then the drive only says where it is, with a token for this VM alone. */
  async #deliverSettings(
    vm: VmRecord,
    agentId: string,
    networks: NetworksSpec,
    env: JsonObject,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const settings: JsonObject = {
      ...this.#config.agent,
      ...jsonOf({
        agent_id: agentId,
        vm: { name: vm.cid },
        networks,
        disks: {
          system: '/dev/vda',
          ephemeral:
            vm.properties.ephemeralDiskMiB > 0 ? { path: devicePath(ephemeralSerial(vm.cid)) } : null,
          persistent: {},
        },
        env,
      } satisfies Partial<AgentSettings>),
    };
    const registry = this.#registry();
    let userData: JsonObject;
    if (registry) {
      await registry.putSettings(vm.cid, settings, signal);
      const ca = this.#config.registry?.ca;
      const data: UserData = {
        registry: {
          endpoint: await registry.instanceEndpoint(vm.cid, signal),
          ...(ca !== undefined && { ca }),
        },
        server: { name: vm.cid },
        networks,
      };
      userData = jsonOf(data);
    } else {
      userData = { ...settings, server: { name: vm.cid } };
    }
    await writeConfigDrive(
      this.#runner,
      this.#records.vms.pathOf(vm.cid, 'config.iso'),
      { instanceId: vm.cid, userData: JSON.stringify(userData) },
      signal,
    );
  }

  #registry(): RegistryClient | undefined {
    const { registry } = this.#config;
    return registry && new RegistryClient(registry);
  }

  /** The agent may be asked to read its settings again: they name the attached disks. */
  async #editPersistentDisks(
    vmCid: string,
    edit: (disks: JsonObject) => JsonObject,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const registry = this.#registry();
    // A registry that was started for one deploy may not know a VM of an earlier one.
    if (!registry || (await registry.getSettings(vmCid, signal)) === undefined) return;
    await registry.editSettings(
      vmCid,
      (settings) => {
        const disks = isJsonObject(settings['disks']) ? settings['disks'] : {};
        const persistent = isJsonObject(disks['persistent']) ? disks['persistent'] : {};
        return { ...settings, disks: { ...disks, persistent: edit(persistent) } };
      },
      signal,
    );
  }

  async #tryShutDown(vmCid: string, signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.#process.shutDown(vmCid, shutDownMs, signal);
    } catch (error) {
      // What follows ends a machine that does not listen.
      if (!errorCode(error)?.startsWith('E_QEMU_QMP')) throw error;
    }
  }

  async #backUp(
    vmCid: string,
    diskCid: string,
    job: string,
    target: string,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const node = `${job}-target`;
    await this.#process.control(vmCid, signal, async (qmp) => {
      await qmp.execute('blockdev-add', {
        'node-name': node,
        driver: 'qcow2',
        file: { driver: 'file', filename: target },
      });
      try {
        await qmp.execute('blockdev-backup', { 'job-id': job, device: diskCid, target: node, sync: 'full' });
        const { data } = await qmp.waitForEvent(
          ({ event, data: payload }) => event === 'BLOCK_JOB_COMPLETED' && payload['device'] === job,
          imageTimeoutMs,
        );
        if (typeof data['error'] === 'string') throw new CloudError(`The snapshot failed: ${data['error']}`);
      } finally {
        await qmp.execute('blockdev-del', { 'node-name': node });
      }
    });
  }

  /** Calls that were killed in the middle of their work promised nothing to anybody. */
  async #removeLeftovers(cid: string): Promise<void> {
    for (const vm of await this.#records.vms.list()) {
      if (vm.state !== 'created' || vm.cid === cid) await this.#destroy(vm);
    }
  }

  /** Persistent disks stay, and are free. */
  async #destroy(vm: VmRecord): Promise<void> {
    await this.#process.powerOff(vm.cid);
    if (vm.networkMode === 'bridge') {
      for (const nic of vm.nics) await this.#bridges.removeTap(nic.tap);
    }
    await this.#records.vms.remove(vm.cid);
    if (vm.networkMode === 'bridge') await this.#removeUnusedBridges(vm.nics.map((nic) => nic.bridge));
  }

  async #removeUnusedBridges(candidates: readonly BridgePlan[] = []): Promise<void> {
    if (this.#config.networkMode !== 'bridge') return;
    const vms = await this.#records.vms.list();
    const used = new Set(vms.flatMap((vm) => vm.nics.map((nic) => nic.bridge.name)));
    for (const bridge of candidates) {
      if (!used.has(bridge.name)) await this.#bridges.remove(bridge);
    }
    if (used.size === 0) await this.#bridges.removeNamespace();
  }

  async #holderOf(diskCid: string): Promise<VmRecord | undefined> {
    const vms = await this.#records.vms.list();
    return vms.find((vm) => vm.disks.some((disk) => disk.cid === diskCid));
  }

  async #requireVm(vmCid: string): Promise<VmRecord> {
    const vm = await this.#records.vms.find(vmCid);
    if (vm?.state !== 'created') throw new VmNotFound(vmCid);
    return vm;
  }

  async #requireRunning(vmCid: string): Promise<void> {
    if (await this.#process.isRunning(vmCid)) return;
    throw new CloudError(`VM '${vmCid}' does not run`, { advice: 'Reboot it, or create it anew.' });
  }

  async #requireDisk(diskCid: string): Promise<DiskRecord> {
    const disk = await this.#records.disks.find(diskCid);
    if (!disk) throw new DiskNotFound(diskCid);
    return disk;
  }

  #diskFile(diskCid: string): string {
    return this.#records.disks.pathOf(diskCid, 'disk.qcow2');
  }

  async #qemuImg(args: readonly string[]): Promise<void> {
    try {
      await this.#runner.run(['qemu-img', ...args], { timeoutMs: imageTimeoutMs });
    } catch (error) {
      throw new CloudError(`qemu-img ${args[0]} failed: ${messageOf(error)}`, { cause: error });
    }
  }
}

function freeSlot(vm: VmRecord): number {
  const used = new Set(vm.disks.map((disk) => disk.slot));
  for (let slot = 0; slot < diskSlots; slot += 1) if (!used.has(slot)) return slot;
  throw new CloudError(`VM '${vm.cid}' has ${diskSlots} disks already`);
}

function networksOf(vm: VmRecord): NetworksSpec {
  return vm.networks as NetworksSpec;
}

/** Drops what JSON has no word for. */
function jsonOf(value: object): JsonObject {
  const parsed: unknown = JSON.parse(JSON.stringify(value));
  if (!isJsonObject(parsed)) throw new GenericCpiError('not a JSON object');
  return parsed;
}

async function isGzip(path: string): Promise<boolean> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(2), 0, 2, 0);
    return bytesRead === 2 && buffer.readUInt16BE(0) === 0x1f8b;
  } finally {
    await file.close();
  }
}

function textOf(value: Json | undefined): string {
  return typeof value === 'string' ? value : '';
}

function now(): string {
  return new Date().toISOString();
}
