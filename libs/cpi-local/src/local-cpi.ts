import { createHash, randomUUID } from 'node:crypto';
import { access, mkdir, open, readdir, rm, rmdir, stat, statfs, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  CloudError,
  DiskNotAttached,
  DiskNotFound,
  InvalidCall,
  NoDiskSpace,
  NotSupported,
  StemcellNotFound,
  VmNotFound,
} from '@microbosh/cpi';
import type {
  CallContext,
  CloudCheck,
  Cpi,
  CpiConfig,
  CpiExtensions,
  CpiFactory,
  CpiInfo,
  DeployNeeds,
  FoundResource,
  CreatedVm,
} from '@microbosh/cpi';
import { errorCode, isOperationalError, messageOf } from '@microbosh/errors';
import type { Json, JsonObject } from '@microbosh/errors';
import { NodeCommandRunner, syncDirectory, withDirectoryLock } from '@microbosh/host';
import type { CommandRunner } from '@microbosh/host';
import { RegistryClient, RegistryRefused } from '@microbosh/registry-client';
import type { AgentSettings, NetworksSpec, UserData } from '@microbosh/spec';
import { Bridges } from './bridges.ts';
import { ControlGroups } from './control-groups.ts';
import { readLocalConfig } from './local-config.ts';
import type { LocalConfig } from './local-config.ts';
import { LocalHostUnfit } from './local-errors.ts';
import { LoopDevices } from './loop-devices.ts';
import { mountsOf, removeTree } from './mounts.ts';
import { planBridges, planNetworks } from './network-plan.ts';
import { identifyProcess, isAlive } from './processes.ts';
import type { ProcessIdentity } from './processes.ts';
import { openStore } from './records.ts';
import type { DiskRecord, Store, VmRecord } from './records.ts';
import { copyDirectory, installFile, makeRootDirectory, writeIdentity } from './root-directory.ts';
import { agentWrapper, initScript } from './vm-scripts.ts';
import { overlayPaths, VmProcesses } from './vm-process.ts';
import type { AttachedDevice } from './vm-process.ts';

/** MiB of the ephemeral disk when cloud_properties name none. */
const defaultEphemeralMiB = 1024;
const graceMs = 10_000;
const spaceAdvice =
  "Choose a smaller disk, free some space, or set 'root_dir' of the local CPI to another file system.";

/**
 * VMs of Linux namespaces on this machine. All calls on one root directory run one after the other; every call may be
 * killed at any moment, and the next one finishes or removes what it left.
 */
export class LocalCpi implements Cpi, CpiExtensions {
  readonly #config: LocalConfig;
  readonly #runner: CommandRunner;
  readonly #store: Store;
  readonly #loops: LoopDevices;
  readonly #bridges: Bridges;
  readonly #vms: VmProcesses;
  readonly #registry: RegistryClient | undefined;
  #holdsBridge = false;

  constructor(config: LocalConfig, runner: CommandRunner) {
    this.#config = config;
    this.#runner = runner;
    this.#store = openStore(config.rootDir);
    this.#loops = new LoopDevices(runner);
    this.#bridges = new Bridges(runner, config.rootDir);
    this.#vms = new VmProcesses(runner, this.#bridges, new ControlGroups(config.rootDir));
    this.#registry = config.registry === undefined ? undefined : new RegistryClient(config.registry);
  }

  async info(): Promise<CpiInfo> {
    return { api_version: 2, stemcell_formats: ['local-host-rootfs', 'local-rootfs-tar', 'general-tar'] };
  }

  // --- stemcells

  async createStemcell(
    context: CallContext,
    imagePath: string,
    cloudProperties: JsonObject | null,
  ): Promise<string> {
    const kind = cloudProperties?.['kind'] ?? 'host-rootfs';
    if (kind !== 'host-rootfs' && kind !== 'rootfs') {
      throw new InvalidCall(`Stemcell kind '${JSON.stringify(kind)}' is unknown`, {
        advice: "cloud_properties.kind of stemcell.MF is 'host-rootfs' or 'rootfs'.",
      });
    }
    return this.#locked(context, async () => {
      const { stemcells } = this.#store;
      const cid = `stemcell-${this.#uuidFor(context.token)}`;
      if ((await stemcells.find(cid)) !== undefined) return cid;
      await stemcells.remove(cid);
      const image = join(await stemcells.makeDirectory(cid), 'files');
      await mkdir(image, { mode: 0o755 });
      try {
        if (kind === 'host-rootfs') await makeRootDirectory(image);
        await this.#unpackImage(imagePath, image, kind, context.signal);
        if (kind === 'host-rootfs') await completeLightStemcell(stemcells.pathOf(cid), image);
        await stemcells.save({ version: 1, cid, kind, createdAt: new Date().toISOString() });
      } catch (error) {
        await stemcells.remove(cid);
        throw error;
      }
      return cid;
    });
  }

  async #unpackImage(
    image: string,
    target: string,
    kind: string,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { size } = await stat(image).catch((error: unknown) => {
      throw new InvalidCall(`The image of the stemcell cannot be read: ${messageOf(error)}`, {
        cause: error,
      });
    });
    if (size === 0 && kind === 'host-rootfs') return;
    // GNU tar refuses paths that leave the directory. A light image lies over directories that are there; a full one
    // brings its own modes and owners.
    const ownership =
      kind === 'host-rootfs'
        ? ['--no-same-owner', '--no-overwrite-dir']
        : ['--numeric-owner', '--same-owner'];
    const argv = ['tar', '--extract', '--preserve-permissions', ...ownership, '--file', image] as const;
    await this.#runner.run([...argv, '--directory', target], {
      timeoutMs: 600_000,
      ...(signal && { signal }),
    });
  }

  async deleteStemcell(context: CallContext, stemcellCid: string): Promise<void> {
    await this.#locked(context, async () => {
      // Also one that could not be removed yet: its root file system lies over the stemcell's.
      const vm = (await this.#store.vms.list()).find((each) => each.stemcellCid === stemcellCid);
      if (vm !== undefined) throw new CloudError(`Stemcell '${stemcellCid}' is in use by VM '${vm.cid}'`);
      if ((await this.#store.stemcells.find(stemcellCid)) !== undefined)
        await this.#store.stemcells.remove(stemcellCid);
    });
  }

  // --- VMs

  async createVm(
    context: CallContext,
    agentId: string,
    stemcellCid: string,
    cloudProperties: JsonObject,
    networks: NetworksSpec,
    _diskCids: readonly string[],
    env: JsonObject,
  ): Promise<CreatedVm> {
    const ephemeralMiB = positiveInteger(cloudProperties, 'ephemeral_disk') ?? defaultEphemeralMiB;
    const memoryMiB = positiveInteger(cloudProperties, 'memory');
    const cpu = positiveNumber(cloudProperties, 'cpu');
    return this.#locked(context, async () => {
      const cid = `vm-${this.#uuidFor(context.token)}`;
      const earlier = await this.#store.vms.find(cid);
      if (earlier !== undefined) return { cid, networks: earlier.networks as NetworksSpec };
      const stemcell = await this.#store.stemcells.find(stemcellCid);
      if (stemcell === undefined) throw new StemcellNotFound(stemcellCid);

      const plan = planNetworks(
        this.#config.rootDir,
        this.#config.dynamicSubnet,
        cid,
        networks,
        await this.#takenAddresses(),
      );
      const record: VmRecord = {
        version: 1,
        cid,
        state: 'creating',
        stemcellCid,
        createdAt: new Date().toISOString(),
        hostname: cid.slice(0, 63),
        networks: plan.networks,
        interfaces: [...plan.interfaces],
        dns: [...new Set(Object.values(networks).flatMap(({ dns }) => dns ?? []))],
        limits: { ...(cpu !== undefined && { cpu }), ...(memoryMiB !== undefined && { memoryMiB }) },
        metadata: {},
      };
      await this.#store.vms.save(record);
      try {
        for (const { bridge } of plan.interfaces) {
          // On record before it is made: who finds the record without a VM removes the bridge.
          if ((await this.#store.bridges.find(bridge.name)) === undefined)
            await this.#store.bridges.save({ version: 1, cid: bridge.name, ...bridge });
          await this.#bridges.ensure(bridge);
        }
        await this.#requireSpace(ephemeralMiB);
        const ephemeral = await this.#newDisk(`disk-${this.#uuidFor(`${cid} ephemeral`)}`, ephemeralMiB, {
          ephemeralOf: cid,
          attachedTo: cid,
        });
        await this.#makeRoot(record, stemcell.kind, ephemeral, agentId, env, context.signal);
        const process = await this.#start(record, stemcell.kind, context.signal);
        await this.#store.vms.save({ ...record, state: 'created', process });
        return { cid, networks: plan.networks };
      } catch (error) {
        await this.#destroyVm(record, undefined).catch(() => undefined);
        throw error;
      }
    });
  }

  async #takenAddresses(): Promise<Map<string, string>> {
    const taken = new Map<string, string>();
    for (const vm of await this.#store.vms.list()) for (const { ip } of vm.interfaces) taken.set(ip, vm.cid);
    return taken;
  }

  async #makeRoot(
    vm: VmRecord,
    kind: 'host-rootfs' | 'rootfs',
    ephemeral: DiskRecord,
    agentId: string,
    env: JsonObject,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const directory = this.#store.vms.pathOf(vm.cid);
    const root = join(directory, 'root');
    const files = join(this.#store.stemcells.pathOf(vm.stemcellCid), 'files');
    const { upper, work } = overlayPaths(directory, kind);
    await mkdir(root, { recursive: true, mode: 0o755 });
    await mkdir(upper, { recursive: true, mode: 0o755 });
    await mkdir(work, { recursive: true });
    // A full stemcell is shared by its VMs, read-only. Where its file system cannot carry that, each has a copy.
    const overlaid = kind === 'rootfs' && (await this.#canOverlay(files, upper, work, root));
    if (!overlaid) {
      if (kind === 'rootfs') for (const unused of [upper, work]) await removeTree(unused);
      const copy = ['cp', '--archive', '--reflink=auto', `${files}/.`, root] as const;
      await this.#runner.run(copy, { timeoutMs: 600_000, ...(signal && { signal }) });
    }
    const changes = overlaid ? upper : root;
    if (overlaid) for (const path of ['.', 'etc', 'var/vcap/bosh']) await copyDirectory(files, upper, path);
    await writeIdentity(changes, vm.hostname, vm.dns);

    const settings: AgentSettings & JsonObject = {
      ...this.#config.agent,
      agent_id: agentId,
      vm: { name: vm.cid },
      mbus:
        typeof this.#config.agent['mbus'] === 'string'
          ? this.#config.agent['mbus']
          : 'https://vcap:b00tstrap@0.0.0.0:6868',
      networks: vm.networks as NetworksSpec & JsonObject,
      disks: { ephemeral: { path: devicePath(ephemeral.cid) }, persistent: {} },
      env,
    };
    const userData = await this.#deliverSettings(vm, settings, signal);
    const bosh = join(changes, 'var/vcap/bosh');
    await mkdir(bosh, { recursive: true });
    await writeFile(join(bosh, 'user-data.json'), JSON.stringify(userData), { mode: 0o600 });
    await writeFile(join(bosh, 'agent.json'), `${JSON.stringify(agentConfig(kind), null, 2)}\n`, {
      mode: 0o644,
    });
  }

  /** Asks the kernel, in a mount namespace that ends with the question. */
  async #canOverlay(lower: string, upper: string, work: string, target: string): Promise<boolean> {
    const option = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
    const { exitCode } = await this.#runner.run(
      [
        'unshare',
        '--mount',
        '--propagation',
        'private',
        'mount',
        '-t',
        'overlay',
        'overlay',
        '-o',
        option,
        target,
      ],
      { okExitCodes: [0, 1, 32], timeoutMs: 20_000 },
    );
    return exitCode === 0;
  }

  /** Settings go to the registry; without one they are the user data themselves. */
  async #deliverSettings(
    vm: VmRecord,
    settings: AgentSettings & JsonObject,
    signal: AbortSignal | undefined,
  ): Promise<UserData | AgentSettings> {
    if (this.#registry === undefined) return settings;
    await this.#registry.putSettings(vm.cid, settings, signal);
    const ca = this.#config.registry?.ca;
    return {
      registry: {
        endpoint: await this.#registry.instanceEndpoint(vm.cid, signal),
        ...(ca !== undefined && { ca }),
      },
      server: { name: vm.cid },
      networks: vm.networks as NetworksSpec,
    };
  }

  async #start(
    vm: VmRecord,
    kind: 'host-rootfs' | 'rootfs',
    signal: AbortSignal | undefined,
  ): Promise<ProcessIdentity> {
    const devices: AttachedDevice[] = [];
    for (const disk of await this.#disksOf(vm.cid)) devices.push(await this.#attachLoop(disk));
    const directory = this.#store.vms.pathOf(vm.cid);
    const stemcell = this.#store.stemcells.pathOf(vm.stemcellCid);
    return this.#vms.start({
      cid: vm.cid,
      directory,
      kind,
      lower: kind === 'host-rootfs' ? '/usr' : join(stemcell, 'files'),
      overlaid: await exists(overlayPaths(directory, kind).upper),
      runtime: runtimeOf(stemcell),
      hostname: vm.hostname,
      interfaces: vm.interfaces,
      limits: vm.limits,
      devices,
      signal,
    });
  }

  async #disksOf(vmCid: string): Promise<DiskRecord[]> {
    return (await this.#store.disks.list()).filter(({ attachedTo }) => attachedTo === vmCid);
  }

  async #attachLoop(disk: DiskRecord): Promise<AttachedDevice> {
    return { device: await this.#loops.attach(this.#imageOf(disk.cid)), link: linkName(disk.cid) };
  }

  async deleteVm(context: CallContext, vmCid: string): Promise<void> {
    await this.#locked(context, async () => {
      const vm = await this.#store.vms.find(vmCid);
      if (vm !== undefined) await this.#destroyVm(vm, context.signal);
    });
  }

  /** Ends and removes a VM, step by step from outside to inside; persistent disks become free. */
  async #destroyVm(vm: VmRecord, signal: AbortSignal | undefined): Promise<void> {
    await this.#store.vms.save({ ...vm, state: 'deleting' });
    await this.#vms.stop(
      this.#store.vms.pathOf(vm.cid),
      vm.cid,
      vm.interfaces,
      graceMs,
      await alive(vm.process),
    );
    for (const disk of await this.#disksOf(vm.cid)) {
      await this.#loops.detach(this.#imageOf(disk.cid));
      if (disk.ephemeralOf === vm.cid) await this.#store.disks.remove(disk.cid);
      else await this.#store.disks.save(withoutAttachment(disk));
    }
    // Settings hold secrets: they go with the VM. A registry that has gone itself has nothing to forget.
    await this.#registry?.deleteSettings(vm.cid, signal).catch(() => undefined);
    await this.#store.vms.remove(vm.cid);
  }

  async hasVm(_context: CallContext, vmCid: string): Promise<boolean> {
    return (await this.#store.vms.find(vmCid))?.state === 'created';
  }

  async rebootVm(context: CallContext, vmCid: string): Promise<void> {
    await this.#locked(context, async () => {
      const vm = await this.#requireVm(vmCid);
      const stemcell = await this.#store.stemcells.find(vm.stemcellCid);
      const init = await alive(vm.process);
      await this.#vms.stop(this.#store.vms.pathOf(vmCid), vmCid, vm.interfaces, graceMs, init);
      const process = await this.#start(vm, stemcell?.kind ?? 'host-rootfs', context.signal);
      await this.#store.vms.save({ ...vm, process });
    });
  }

  async setVmMetadata(
    context: CallContext,
    vmCid: string,
    metadata: Readonly<Record<string, string>>,
  ): Promise<void> {
    await this.#locked(context, async () => {
      const vm = await this.#requireVm(vmCid);
      await this.#store.vms.save({ ...vm, metadata: { ...vm.metadata, ...metadata } });
    });
  }

  async #requireVm(vmCid: string): Promise<VmRecord> {
    const vm = await this.#store.vms.find(vmCid);
    if (vm?.state !== 'created') throw new VmNotFound(vmCid);
    return vm;
  }

  async calculateVmCloudProperties(
    _context: CallContext,
    requirements: { readonly cpu: number; readonly ram: number; readonly ephemeral_disk_size: number },
  ): Promise<JsonObject> {
    return {
      cpu: requirements.cpu,
      memory: requirements.ram,
      ephemeral_disk: requirements.ephemeral_disk_size,
    };
  }

  // --- disks

  async createDisk(
    context: CallContext,
    sizeMiB: number,
    _cloudProperties: JsonObject,
    _vmCid: string | null,
  ): Promise<string> {
    if (!Number.isInteger(sizeMiB) || sizeMiB <= 0) {
      throw new InvalidCall(`The size of a disk is a positive number of MiB, not ${sizeMiB}`);
    }
    return this.#locked(context, async () => {
      const cid = `disk-${this.#uuidFor(context.token)}`;
      if ((await this.#store.disks.find(cid)) !== undefined) return cid;
      await mkdir(this.#config.rootDir, { recursive: true, mode: 0o700 });
      await this.#requireSpace(sizeMiB);
      await this.#newDisk(cid, sizeMiB, {});
      return cid;
    });
  }

  async checkNeeds(_context: CallContext, needs: DeployNeeds): Promise<readonly CloudCheck[]> {
    const { ephemeral_disk: ephemeral } = needs.vmCloudProperties;
    const sizes = [typeof ephemeral === 'number' ? ephemeral : 0, needs.disk?.sizeMiB ?? 0];
    const wantedMiB = sizes.reduce((sum, size) => sum + size, 0);
    const freeMiB = await this.#freeMiB();
    const message = `${this.#config.rootDir} has ${freeMiB} MiB free, and the disks may take ${wantedMiB} MiB`;
    if (freeMiB >= wantedMiB) return [{ name: 'space', status: 'ok', message }];
    return [{ name: 'space', status: 'failed', message: `No space left: ${message}`, advice: spaceAdvice }];
  }

  /** Disks are sparse files: what they may grow to has to be there when they are made. */
  async #requireSpace(sizeMiB: number): Promise<void> {
    const freeMiB = await this.#freeMiB();
    if (freeMiB >= sizeMiB) return;
    throw new NoDiskSpace(
      `No space left for a disk of ${sizeMiB} MiB: ${this.#config.rootDir} has ${freeMiB} MiB free`,
      { advice: spaceAdvice },
    );
  }

  async #freeMiB(): Promise<number> {
    let directory = this.#config.rootDir;
    for (;;) {
      try {
        const { bavail, bsize } = await statfs(directory);
        return Math.floor((bavail * bsize) / 2 ** 20);
      } catch (error) {
        // Not made yet: it will lie where its parent does.
        if (errorCode(error) !== 'ENOENT' || directory === '/') throw error;
        directory = dirname(directory);
      }
    }
  }

  async #newDisk(cid: string, sizeMiB: number, more: Partial<DiskRecord>): Promise<DiskRecord> {
    await this.#store.disks.remove(cid);
    const directory = await this.#store.disks.makeDirectory(cid);
    const image = await open(join(directory, 'image'), 'wx', 0o600);
    try {
      await image.truncate(sizeMiB * 2 ** 20);
      await image.sync();
    } finally {
      await image.close();
    }
    await syncDirectory(directory);
    const record: DiskRecord = {
      version: 1,
      cid,
      sizeMiB,
      createdAt: new Date().toISOString(),
      metadata: {},
      ...more,
    };
    await this.#store.disks.save(record);
    return record;
  }

  #imageOf(diskCid: string): string {
    return join(this.#store.disks.pathOf(diskCid), 'image');
  }

  async #requireDisk(diskCid: string): Promise<DiskRecord> {
    const disk = await this.#store.disks.find(diskCid);
    if (disk === undefined || disk.ephemeralOf !== undefined) throw new DiskNotFound(diskCid);
    return disk;
  }

  async deleteDisk(context: CallContext, diskCid: string): Promise<void> {
    await this.#locked(context, async () => {
      const disk = await this.#store.disks.find(diskCid);
      if (disk === undefined) return;
      if (disk.attachedTo !== undefined && (await this.#store.vms.find(disk.attachedTo)) !== undefined) {
        throw new CloudError(`Disk '${diskCid}' is attached to VM '${disk.attachedTo}'`, {
          advice: 'Detach it first.',
        });
      }
      await this.#loops.detach(this.#imageOf(diskCid));
      await this.#store.disks.remove(diskCid);
    });
  }

  async hasDisk(_context: CallContext, diskCid: string): Promise<boolean> {
    const disk = await this.#store.disks.find(diskCid);
    return disk !== undefined && disk.ephemeralOf === undefined;
  }

  async attachDisk(context: CallContext, vmCid: string, diskCid: string): Promise<Json> {
    return this.#locked(context, async () => {
      const vm = await this.#requireVm(vmCid);
      const disk = await this.#requireDisk(diskCid);
      if (disk.attachedTo !== undefined && disk.attachedTo !== vmCid) {
        if ((await this.#store.vms.find(disk.attachedTo)) !== undefined) {
          throw new CloudError(`Disk '${diskCid}' is attached to VM '${disk.attachedTo}'`, {
            advice: 'Detach it from there, or delete that VM.',
          });
        }
      }
      // Recorded first: a boot after a crash here attaches it.
      await this.#store.disks.save({ ...disk, attachedTo: vmCid });
      const attached = await this.#attachLoop(disk);
      const init = await alive(vm.process);
      if (init !== undefined) await this.#vms.addDevice(init, attached);
      const hint = { path: devicePath(diskCid) };
      await this.#editPersistent(vmCid, context.signal, (persistent) => ({ ...persistent, [diskCid]: hint }));
      return hint;
    });
  }

  async detachDisk(context: CallContext, vmCid: string, diskCid: string): Promise<void> {
    await this.#locked(context, async () => {
      const vm = await this.#requireVm(vmCid);
      const disk = await this.#requireDisk(diskCid);
      if (disk.attachedTo !== vmCid)
        throw new DiskNotAttached(`Disk '${diskCid}' is not attached to VM '${vmCid}'`);
      const attached = await this.#attachLoop(disk);
      const init = await alive(vm.process);
      if (init !== undefined) {
        await assertNotMounted(init.pid, attached);
        await this.#vms.removeDevice(init, attached);
      }
      await this.#loops.detach(this.#imageOf(diskCid));
      await this.#store.disks.save(withoutAttachment(disk));
      await this.#editPersistent(vmCid, context.signal, (persistent) =>
        Object.fromEntries(Object.entries(persistent).filter(([cid]) => cid !== diskCid)),
      );
    });
  }

  /** The registry's copy serves agents that read it again; a VM that it does not know (any more) has its hints. */
  async #editPersistent(
    vmCid: string,
    signal: AbortSignal | undefined,
    edit: (persistent: JsonObject) => JsonObject,
  ): Promise<void> {
    if (this.#registry === undefined) return;
    try {
      await this.#registry.editSettings(
        vmCid,
        (settings) => {
          const disks = (settings['disks'] ?? {}) as JsonObject;
          return {
            ...settings,
            disks: { ...disks, persistent: edit((disks['persistent'] ?? {}) as JsonObject) },
          };
        },
        signal,
      );
    } catch (error) {
      if (!(error instanceof RegistryRefused && error.status === 404)) throw error;
    }
  }

  async getDisks(_context: CallContext, vmCid: string): Promise<readonly string[]> {
    await this.#requireVm(vmCid);
    return (await this.#disksOf(vmCid))
      .filter(({ ephemeralOf }) => ephemeralOf === undefined)
      .map(({ cid }) => cid);
  }

  async setDiskMetadata(
    context: CallContext,
    diskCid: string,
    metadata: Readonly<Record<string, string>>,
  ): Promise<void> {
    await this.#locked(context, async () => {
      const disk = await this.#requireDisk(diskCid);
      await this.#store.disks.save({ ...disk, metadata: { ...disk.metadata, ...metadata } });
    });
  }

  async resizeDisk(context: CallContext, diskCid: string, newSizeMiB: number): Promise<void> {
    await this.#locked(context, async () => {
      const disk = await this.#requireDisk(diskCid);
      if (newSizeMiB === disk.sizeMiB) return;
      if (newSizeMiB < disk.sizeMiB) {
        throw new NotSupported(
          `Disk '${diskCid}' has ${disk.sizeMiB} MiB and cannot shrink to ${newSizeMiB} MiB`,
        );
      }
      if (disk.attachedTo !== undefined)
        throw new CloudError(`Disk '${diskCid}' is attached; detach it before resizing`);
      await this.#requireSpace(newSizeMiB - disk.sizeMiB);
      const image = await open(this.#imageOf(diskCid), 'r+');
      try {
        await image.truncate(newSizeMiB * 2 ** 20);
        await image.sync();
      } finally {
        await image.close();
      }
      await this.#store.disks.save({ ...disk, sizeMiB: newSizeMiB });
    });
  }

  async snapshotDisk(
    context: CallContext,
    diskCid: string,
    metadata: Readonly<Record<string, string>>,
  ): Promise<string> {
    return this.#locked(context, async () => {
      const disk = await this.#requireDisk(diskCid);
      const cid = `snapshot-${this.#uuidFor(context.token)}`;
      if ((await this.#store.snapshots.find(cid)) !== undefined) return cid;
      await this.#store.snapshots.remove(cid);
      const target = join(await this.#store.snapshots.makeDirectory(cid), 'image');
      await this.#runner.run(['sync', '--file-system', this.#config.rootDir]);
      const copy = ['cp', '--sparse=always', '--reflink=auto', this.#imageOf(diskCid), target] as const;
      await this.#runner.run(copy, { timeoutMs: 600_000, ...(context.signal && { signal: context.signal }) });
      await this.#store.snapshots.save({
        version: 1,
        cid,
        diskCid: disk.cid,
        createdAt: new Date().toISOString(),
        metadata: { ...metadata },
      });
      return cid;
    });
  }

  async deleteSnapshot(context: CallContext, snapshotCid: string): Promise<void> {
    await this.#locked(context, async () => {
      if ((await this.#store.snapshots.find(snapshotCid)) !== undefined)
        await this.#store.snapshots.remove(snapshotCid);
    });
  }

  // --- extensions

  async hostAddress(context: CallContext, networks: NetworksSpec): Promise<string | undefined> {
    return this.#locked(context, async () => {
      const plans = planBridges(this.#config.rootDir, this.#config.dynamicSubnet, networks);
      const holder = await identifyProcess(process.pid);
      let address: string | undefined;
      for (const { bridge, isDefault } of plans) {
        await this.#store.bridges.save({
          version: 1,
          cid: bridge.name,
          ...bridge,
          ...(holder && { holder }),
        });
        await this.#bridges.ensure(bridge);
        if (isDefault || address === undefined) address = bridge.address;
      }
      this.#holdsBridge = true;
      return address;
    });
  }

  async findByToken(
    context: CallContext,
    kind: 'stemcell' | 'vm' | 'disk',
    token: string,
  ): Promise<string | undefined> {
    return this.#locked(context, async () => {
      const collections = { stemcell: this.#store.stemcells, vm: this.#store.vms, disk: this.#store.disks };
      const cid = `${kind}-${this.#uuidFor(token)}`;
      return (await collections[kind].find(cid)) === undefined ? undefined : cid;
    });
  }

  async findByMetadata(
    context: CallContext,
    metadata: Readonly<Record<string, string>>,
  ): Promise<readonly FoundResource[]> {
    return this.#locked(context, async () => {
      const fits = (record: { readonly metadata: Readonly<Record<string, string>> }) =>
        Object.entries(metadata).every(([key, value]) => record.metadata[key] === value);
      const vms = (await this.#store.vms.list()).filter(fits);
      const disks = (await this.#store.disks.list()).filter(
        (disk) => disk.ephemeralOf === undefined && fits(disk),
      );
      const stemcells = new Set(vms.map(({ stemcellCid }) => stemcellCid));
      return [
        ...vms.map(({ cid }) => ({ kind: 'vm' as const, cid })),
        ...disks.map(({ cid, sizeMiB }) => ({ kind: 'disk' as const, cid, sizeMiB })),
        ...[...stemcells].map((cid) => ({ kind: 'stemcell' as const, cid })),
      ];
    });
  }

  /** Follows from the idempotency token, so that the same call finds what its first try has made. */
  #uuidFor(token: string | undefined): string {
    if (token === undefined) return randomUUID();
    const hex = createHash('sha256').update(`microbosh ${this.#config.rootDir} ${token}`).digest('hex');
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
  }

  async consoleLog(_context: CallContext, vmCid: string): Promise<string | undefined> {
    const init = await alive((await this.#store.vms.find(vmCid))?.process);
    const journal = init === undefined ? '' : await this.#vms.journalTail(init);
    const text = `${await this.#vms.consoleTail(this.#store.vms.pathOf(vmCid), 16_384)}${journal}`;
    return text === '' ? undefined : text;
  }

  async dispose(): Promise<void> {
    if (!this.#holdsBridge) return;
    this.#holdsBridge = false;
    await withDirectoryLock(this.#config.rootDir, undefined, async () => this.#sweep(process.pid));
  }

  // --- what every call that changes something does

  async #locked<T>(context: CallContext, work: () => Promise<T>): Promise<T> {
    if (process.getuid?.() !== 0) {
      throw new LocalHostUnfit(
        'The local CPI needs root: a VM is made of namespaces, loop devices and a bridge',
        {
          advice: 'Run the command as root.',
        },
      );
    }
    return withDirectoryLock(this.#config.rootDir, context.signal, async () => {
      await this.#recover();
      try {
        return await work();
      } finally {
        await this.#sweep();
      }
    });
  }

  /** Removes what a killed call has left and nobody was told of: VMs that were not finished, records not written. */
  async #recover(): Promise<void> {
    const { stemcells, vms, disks, snapshots, bridges } = this.#store;
    for (const vm of await vms.list()) {
      if (vm.state === 'created') continue;
      await this.#destroyVm(vm, undefined).catch((error: unknown) => {
        // Another environment's call must not fail because of it; it stays recorded for the next one.
        if (!isOperationalError(error)) throw error;
      });
    }
    for (const collection of [stemcells, vms, snapshots, bridges]) {
      for (const cid of await collection.strays()) await collection.remove(cid);
    }
    for (const cid of await disks.strays()) {
      // A disk whose creation was cut off has never been written to. Whatever has a block of data stays.
      const { blocks } = await stat(this.#imageOf(cid)).catch(() => ({ blocks: 0 }));
      if (blocks === 0) await disks.remove(cid);
    }
  }

  /** Removes bridges that no VM and no process needs, and directories that are empty. */
  async #sweep(released?: number): Promise<void> {
    const vms = await this.#store.vms.list();
    const needed = new Set(vms.flatMap(({ interfaces }) => interfaces.map(({ bridge }) => bridge.name)));
    for (const bridge of await this.#store.bridges.list()) {
      const held =
        bridge.holder !== undefined && bridge.holder.pid !== released && (await isAlive(bridge.holder));
      if (needed.has(bridge.name) || held) continue;
      await this.#bridges.remove(bridge.name);
      await this.#store.bridges.remove(bridge.cid);
    }
    await removeIfEmpty(this.#config.rootDir, ['stemcells', 'vms', 'disks', 'snapshots', 'networks']);
  }
}

/** The root directory goes with the last thing in it; its parents stay. */
async function removeIfEmpty(rootDir: string, kinds: readonly string[]): Promise<void> {
  for (const path of [...kinds.map((kind) => join(rootDir, kind)), rootDir]) {
    try {
      await rmdir(path);
    } catch (error) {
      if (!['ENOENT', 'ENOTEMPTY', 'EEXIST', 'EBUSY'].includes(errorCode(error) ?? '')) throw error;
    }
  }
}

async function alive(identity: ProcessIdentity | undefined): Promise<ProcessIdentity | undefined> {
  return identity !== undefined && (await isAlive(identity)) ? identity : undefined;
}

function withoutAttachment(disk: DiskRecord): DiskRecord {
  const rest = { ...disk };
  delete rest.attachedTo;
  return rest;
}

function linkName(diskCid: string): string {
  return `microbosh-${diskCid}`;
}

/** What the agent is told, and what survives a change of loop device. */
function devicePath(diskCid: string): string {
  return `/dev/disk/by-id/${linkName(diskCid)}`;
}

async function assertNotMounted(pid: number, { device }: AttachedDevice): Promise<void> {
  const numbers = new Set([`${device.major}:${device.minor}`]);
  const block = `/sys/block/${device.path.slice('/dev/'.length)}`;
  for (const name of await readdir(block).catch(() => [])) {
    const number = await open(join(block, name, 'dev'), 'r').then(
      async (file) => {
        const text = (await file.readFile('utf8')).trim();
        await file.close();
        return text;
      },
      () => undefined,
    );
    if (number !== undefined) numbers.add(number);
  }
  const mount = (await mountsOf(pid)).find((entry) => numbers.has(entry.device));
  if (mount !== undefined) {
    throw new CloudError(`The disk is mounted at ${mount.mountPoint} in the VM`, {
      advice: 'Let the agent unmount it first (unmount_disk).',
    });
  }
}

/** Where a stemcell keeps the runtime that its VMs see, read-only, as /var/vcap/bosh/bin/node. */
function runtimeOf(stemcellDirectory: string): string {
  return join(stemcellDirectory, 'node');
}

/** Adds what a light stemcell leaves to the machine: the runtime of this program, PID 1, the agent's start. */
async function completeLightStemcell(directory: string, files: string): Promise<void> {
  const bin = join(files, 'var/vcap/bosh/bin');
  await installFile(process.execPath, runtimeOf(directory), 0o755);
  await rm(join(bin, 'node'), { force: true });
  await writeFile(join(bin, 'node'), '', { mode: 0o755 });
  await writeFile(join(bin, 'init'), initScript, { mode: 0o755 });
  const wrapper = join(bin, 'microbosh-agent');
  if (!(await exists(wrapper))) await writeFile(wrapper, agentWrapper, { mode: 0o755 });
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function agentConfig(kind: 'host-rootfs' | 'rootfs'): JsonObject {
  return {
    Platform: {
      Linux: {
        Container: true,
        PartitionerType: 'sfdisk',
        ServiceManager: kind === 'rootfs' ? 'systemd' : '',
      },
    },
    Infrastructure: {
      Settings: {
        Sources: [
          {
            Type: 'File',
            UserDataPath: '/var/vcap/bosh/user-data.json',
            MetaDataPath: '/var/vcap/bosh/meta-data.json',
            SettingsPath: '/var/vcap/bosh/user-data.json',
          },
        ],
        UseRegistry: true,
        UseServerName: true,
      },
    },
  };
}

function positiveInteger(properties: JsonObject, key: string): number | undefined {
  const value = positiveNumber(properties, key);
  if (value !== undefined && !Number.isInteger(value)) {
    throw new InvalidCall(`cloud_properties.${key} must be a whole number of MiB`);
  }
  return value;
}

function positiveNumber(properties: JsonObject, key: string): number | undefined {
  const value = properties[key];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'number' || value <= 0)
    throw new InvalidCall(`cloud_properties.${key} must be a positive number`);
  return value;
}

/** Reads the configuration; touches the machine only when a method is called. */
export const createLocalCpi: CpiFactory = (config: CpiConfig) =>
  new LocalCpi(readLocalConfig(config), new NodeCommandRunner());
