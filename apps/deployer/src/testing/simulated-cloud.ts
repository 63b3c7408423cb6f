import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { Json, JsonObject } from '@microbosh/errors';

interface SimulatedVm {
  readonly cid: string;
  readonly token: string;
  readonly address: string;
  store: string | undefined;
  migrationTarget: string | undefined;
  jobs: 'stopped' | 'running' | 'failing';
  applied: string;
  /** Its agent never comes up. */
  silent: boolean;
  /** Its jobs start and do not run. */
  failing: boolean;
}

interface SimulatedDisk {
  readonly cid: string;
  readonly token: string;
  size: number;
  /** As large as the disk was when it was mounted. */
  filesystemMiB: number;
  attachedTo: string | undefined;
  formatted: boolean;
  data: string;
  /** How much of it the data takes. */
  usedMiB: number;
}

/** Calls that can be caught halfway: what they leave then is neither what was nor what will be. */
export const divisible: ReadonlySet<string> = new Set([
  'agent:migrate_disk',
  'agent:apply',
  'agent:mount_disk',
  'agent:stop',
  'create_vm',
]);

/** When the deployer is killed: on the n-th change, before it, halfway through it, after it, or after its answer. */
export interface KillOrder {
  readonly at: number;
  readonly phase: 'before' | 'half' | 'after' | 'answered';
}

export const kinds = ['error-after-success', 'error', 'late', 'never', 'twice'] as const;

export interface Misbehaviour {
  /** On the n-th change. */
  readonly at: number;
  /**
   * `error-after-success`: the change is made, and the answer is an error. `late`: the answer comes when the deployer
   * has stopped waiting for it. `never`: it does not come. `twice`: it does, and the call arrives a second time.
   */
  readonly kind: (typeof kinds)[number];
}

/** How things are in the cloud, whatever the deployer does; fine weather also cures the VMs that are there. */
export interface Weather {
  /** Agents of VMs made from now on never answer. */
  readonly silentAgents?: boolean;
  /** Jobs of VMs made from now on do not run. */
  readonly failingJobs?: boolean;
}

/** How long a late answer takes; simulated deployers wait for less. */
export const lateMs = 1_500;

export class SimulationError extends Error {
  readonly type: string;
  constructor(type: string, message: string) {
    super(message);
    this.type = type;
  }
}

const changes = new Set([
  'create_stemcell',
  'delete_stemcell',
  'create_vm',
  'delete_vm',
  'set_vm_metadata',
  'create_disk',
  'delete_disk',
  'attach_disk',
  'detach_disk',
  'resize_disk',
  'agent:apply',
  'agent:start',
  'agent:stop',
  'agent:run_script',
  'agent:drain',
  'agent:add_persistent_disk',
  'agent:remove_persistent_disk',
  'agent:mount_disk',
  'agent:unmount_disk',
  'agent:migrate_disk',
  'agent:compile_package',
]);

/**
 * A cloud with its VMs' agents that keeps its own truth, outlives every deployer and is strict: an address serves one
 * VM, a mounted disk cannot be detached, an attached one not deleted, a disk in use not unmounted. The service writes
 * something precious to its disk when it starts for the first time.
 */
export class SimulatedCloud {
  readonly stemcells = new Map<string, string>();
  readonly vms = new Map<string, SimulatedVm>();
  readonly disks = new Map<string, SimulatedDisk>();
  /** Changes since `orders` were given. */
  readonly log: string[] = [];
  /** Disks that were deleted with the only copy of what the service wrote. */
  readonly dataLost: string[] = [];
  /** Called after each change, with its number. */
  onChange: (count: number) => void = () => undefined;
  resizesDisks = true;
  /** How long the compilation of a package takes. */
  compileMs = 0;
  compiledAtOnce = 0;
  readonly compiledOrder: string[] = [];
  #compiling = 0;
  #lastCid = 0;
  #kill: KillOrder | undefined;
  #misbehaviour: Misbehaviour | undefined;
  #weather: Weather = {};
  #close: (() => Promise<void>) | undefined;

  orders(orders: { readonly kill?: KillOrder; readonly misbehaviour?: Misbehaviour }): void {
    this.log.length = 0;
    this.#kill = orders.kill;
    this.#misbehaviour = orders.misbehaviour;
  }

  /** False: the weather is bad, or a VM has suffered from it. */
  get isWell(): boolean {
    const isFine = Object.keys(this.#weather).length === 0;
    return isFine && [...this.vms.values()].every((vm) => !vm.silent && !vm.failing);
  }

  weather(weather: Weather): void {
    this.#weather = weather;
    if (Object.keys(weather).length > 0) return;
    for (const vm of this.vms.values()) {
      vm.silent = false;
      vm.failing = false;
      if (vm.jobs === 'failing') vm.jobs = 'running';
    }
  }

  copy(): string {
    return JSON.stringify([this.#lastCid, [...this.stemcells], [...this.vms], [...this.disks]]);
  }

  restore(copy: string): void {
    const [lastCid, stemcells, vms, disks] = JSON.parse(copy) as [
      number,
      [string, string][],
      [string, SimulatedVm][],
      [string, SimulatedDisk][],
    ];
    this.#lastCid = lastCid;
    this.dataLost.length = 0;
    refill(this.stemcells, stemcells);
    refill(this.vms, vms);
    refill(this.disks, disks);
  }

  /** Answers to deployers; returns the URL. A request carries the pid of its deployer. */
  async listen(): Promise<string> {
    const server = createServer((request, response) => {
      void text(request).then((body) => {
        const { method, args, pid } = JSON.parse(body) as { method: string; args: JsonObject; pid: number };
        const answer = this.#answer(method, args, pid);
        if (answer === undefined) {
          response.destroy();
          return;
        }
        if (answer === 'never') return;
        const say = () => response.end(JSON.stringify(answer), () => this.#afterAnswer(pid));
        if (method === 'agent:compile_package' && !('late' in answer))
          this.#compile(stringOf(args, 'name'), say);
        else if ('late' in answer) setTimeout(say, lateMs);
        else say();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    this.#close = async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    };
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    await this.#close?.();
  }

  #answer(method: string, args: JsonObject, pid: number): JsonObject | 'never' | undefined {
    const isChange = changes.has(method);
    if (isChange) {
      this.log.push(method);
      this.onChange(this.log.length);
    }
    const now = isChange && this.#kill?.at === this.log.length ? this.#kill.phase : undefined;
    if (now === 'before') return this.#strike(pid);
    if (now === 'half') {
      this.#half(method, args);
      return this.#strike(pid);
    }
    const wrong = isChange && this.#misbehaviour?.at === this.log.length ? this.#misbehaviour : undefined;
    if (wrong?.kind === 'error') return failure('Bosh::Clouds::CloudError', 'the cloud is out of order');
    try {
      const result = this.#perform(method, args);
      if (now === 'after') return this.#strike(pid);
      switch (wrong?.kind) {
        case 'error-after-success':
          return failure('Bosh::Clouds::CloudError', 'lost the answer of the cloud');
        case 'never':
          return 'never';
        case 'late':
          return { result, late: true };
        case 'twice':
          return { result: this.#perform(method, args) };
        default:
          return { result };
      }
    } catch (error) {
      if (!(error instanceof SimulationError)) throw error;
      return now === 'after' ? this.#strike(pid) : failure(error.type, error.message);
    }
  }

  #compile(name: string, say: () => void): void {
    this.compiledOrder.push(name);
    this.#compiling += 1;
    this.compiledAtOnce = Math.max(this.compiledAtOnce, this.#compiling);
    setTimeout(() => {
      this.#compiling -= 1;
      say();
    }, this.compileMs);
  }

  #strike(pid: number): undefined {
    this.#kill = undefined;
    process.kill(pid, 'SIGKILL');
    return undefined;
  }

  #afterAnswer(pid: number): void {
    if (this.#kill?.phase !== 'answered' || this.#kill.at !== this.log.length) return;
    this.#kill = undefined;
    process.kill(pid, 'SIGKILL');
  }

  /** What a call that dies in its middle leaves behind. */
  #half(method: string, args: JsonObject): void {
    if (!divisible.has(method)) return;
    if (method === 'create_vm') {
      this.#perform(method, args);
      return;
    }
    const vm = [...this.vms.values()].find((candidate) => candidate.address === stringOf(args, 'host'));
    if (method === 'agent:migrate_disk') {
      const target = this.disks.get(stringOf(args, 'to'));
      if (target !== undefined) target.data = 'half of it';
    } else if (method === 'agent:mount_disk') {
      const disk = this.disks.get(stringOf(args, 'disk'));
      if (disk !== undefined) disk.formatted = true;
    } else if (vm !== undefined) {
      if (method === 'agent:apply') vm.applied = 'half of it';
      vm.jobs = vm.jobs === 'running' ? 'failing' : vm.jobs;
    }
  }

  #perform(method: string, args: JsonObject): Json {
    switch (method) {
      case 'find':
        return this.#find(stringOf(args, 'kind'), stringOf(args, 'token')) ?? null;
      case 'address':
        return this.vms.get(stringOf(args, 'cid'))?.address ?? null;
      case 'has_vm':
        return this.vms.has(stringOf(args, 'cid'));
      case 'has_disk':
        return this.disks.has(stringOf(args, 'cid'));
      case 'create_stemcell':
        return this.#makeOnce('stemcell', args, () =>
          this.#make('stemcell', (cid) => this.stemcells.set(cid, stringOf(args, 'token'))),
        );
      case 'delete_stemcell':
        if (!this.stemcells.delete(stringOf(args, 'cid')))
          throw new SimulationError('Bosh::Clouds::StemcellNotFound', 'Stemcell not found');
        return null;
      case 'create_vm':
        return this.#makeOnce('vm', args, () => this.#createVm(args));
      case 'delete_vm':
        return this.#deleteVm(stringOf(args, 'cid'));
      case 'set_vm_metadata':
        this.#vm(args);
        return null;
      case 'create_disk':
        return this.#makeOnce('disk', args, () =>
          this.#make('disk', (cid) =>
            this.disks.set(cid, {
              cid,
              token: stringOf(args, 'token'),
              size: Number(args['size']),
              filesystemMiB: 0,
              attachedTo: undefined,
              formatted: false,
              data: '',
              usedMiB: 0,
            }),
          ),
        );
      case 'delete_disk':
        return this.#deleteDisk(stringOf(args, 'disk'));
      case 'attach_disk':
        return this.#attach(args);
      case 'detach_disk':
        return this.#detach(args);
      case 'resize_disk':
        return this.#resize(this.#disk(stringOf(args, 'disk')), Number(args['size']));
      default:
        return this.#agent(method, args);
    }
  }

  #find(kind: string, token: string): string | undefined {
    if (kind === 'stemcell') return [...this.stemcells].find(([, known]) => known === token)?.[0];
    const resources: readonly { readonly cid: string; readonly token: string }[] =
      kind === 'vm' ? [...this.vms.values()] : [...this.disks.values()];
    return resources.find((resource) => resource.token === token)?.cid;
  }

  /** A token that is known means the same resource. */
  #makeOnce(kind: string, args: JsonObject, make: () => string): string {
    const token = stringOf(args, 'token');
    return (token === '' ? undefined : this.#find(kind, token)) ?? make();
  }

  #make(prefix: string, put: (cid: string) => void): string {
    this.#lastCid += 1;
    const cid = `${prefix}-${this.#lastCid}`;
    put(cid);
    return cid;
  }

  #createVm(args: JsonObject): string {
    const address = stringOf(args, 'address') || this.#freeAddress();
    if ([...this.vms.values()].some((vm) => vm.address === address)) {
      throw new SimulationError('Bosh::Clouds::VMCreationFailed', `address ${address} is in use`);
    }
    const token = stringOf(args, 'token');
    const fresh = {
      store: undefined,
      migrationTarget: undefined,
      jobs: 'stopped',
      applied: '',
      silent: this.#weather.silentAgents === true,
      failing: this.#weather.failingJobs === true,
    } as const;
    return this.#make('vm', (cid) => this.vms.set(cid, { cid, token, address, ...fresh }));
  }

  #freeAddress(): string {
    const taken = new Set([...this.vms.values()].map((vm) => vm.address));
    for (let last = 100; ; last += 1) if (!taken.has(`10.0.0.${last}`)) return `10.0.0.${last}`;
  }

  #deleteVm(cid: string): null {
    const vm = this.vms.get(cid);
    if (vm === undefined) throw new SimulationError('Bosh::Clouds::VMNotFound', `VM '${cid}' not found`);
    for (const disk of this.disks.values()) if (disk.attachedTo === cid) disk.attachedTo = undefined;
    this.vms.delete(cid);
    return null;
  }

  #vm(args: JsonObject): SimulatedVm {
    const vm = this.vms.get(stringOf(args, 'vm'));
    if (vm === undefined) throw new SimulationError('Bosh::Clouds::VMNotFound', 'VM not found');
    return vm;
  }

  #disk(cid: string): SimulatedDisk {
    const disk = this.disks.get(cid);
    if (disk === undefined)
      throw new SimulationError('Bosh::Clouds::DiskNotFound', `Disk '${cid}' not found`);
    return disk;
  }

  #deleteDisk(cid: string): null {
    if (this.#disk(cid).attachedTo !== undefined) {
      throw new SimulationError('Bosh::Clouds::CloudError', `disk '${cid}' is attached`);
    }
    const { data } = this.#disk(cid);
    this.disks.delete(cid);
    const isLost = data === 'precious' && ![...this.disks.values()].some((disk) => disk.data === data);
    if (isLost) this.dataLost.push(cid);
    return null;
  }

  #attach(args: JsonObject): Json {
    const disk = this.#disk(stringOf(args, 'disk'));
    const vm = this.#vm(args);
    if (disk.attachedTo !== undefined && disk.attachedTo !== vm.cid) {
      throw new SimulationError('Bosh::Clouds::CloudError', 'the disk is attached to another VM');
    }
    disk.attachedTo = vm.cid;
    return { path: `/dev/${disk.cid}` };
  }

  #detach(args: JsonObject): null {
    const disk = this.#disk(stringOf(args, 'disk'));
    const vm = this.#vm(args);
    if (vm.store === disk.cid || vm.migrationTarget === disk.cid) {
      throw new SimulationError('Bosh::Clouds::CloudError', 'the disk is mounted');
    }
    if (disk.attachedTo !== vm.cid)
      throw new SimulationError('Bosh::Clouds::DiskNotAttached', 'not attached');
    disk.attachedTo = undefined;
    return null;
  }

  #resize(disk: SimulatedDisk, size: number): null {
    if (!this.resizesDisks) throw new SimulationError('Bosh::Clouds::NotSupported', 'disks stay as they are');
    if (disk.attachedTo !== undefined) throw new SimulationError('Bosh::Clouds::CloudError', 'attached');
    if (size < disk.size) throw new SimulationError('Bosh::Clouds::NotSupported', 'a disk does not shrink');
    disk.size = size;
    return null;
  }

  #agent(method: string, args: JsonObject): Json {
    const vm = [...this.vms.values()].find((candidate) => candidate.address === stringOf(args, 'host'));
    if (vm === undefined || vm.silent) throw new SimulationError('unreachable', 'nothing answers');
    const cid = stringOf(args, 'disk');
    switch (method) {
      case 'agent:ping':
      case 'agent:run_script':
      case 'agent:drain':
      case 'agent:add_persistent_disk':
      case 'agent:remove_persistent_disk':
        return null;
      case 'agent:get_state':
        return vm.jobs;
      case 'agent:vitals': {
        const disk = vm.store === undefined ? undefined : this.#disk(vm.store);
        return disk === undefined ? {} : { percent: String(Math.round((disk.usedMiB * 100) / disk.size)) };
      }
      case 'agent:list_disk':
        return [vm.store, vm.migrationTarget].filter((mounted) => mounted !== undefined);
      case 'agent:apply':
        vm.applied = stringOf(args, 'digest');
        return null;
      case 'agent:stop':
        vm.jobs = 'stopped';
        return null;
      case 'agent:start':
        return this.#start(vm);
      case 'agent:mount_disk':
        return this.#mount(vm, this.#disk(cid));
      case 'agent:unmount_disk':
        if (vm.store === cid && vm.jobs === 'running')
          throw new SimulationError('agent', 'the store is busy');
        if (vm.store === cid) vm.store = undefined;
        if (vm.migrationTarget === cid) vm.migrationTarget = undefined;
        return null;
      case 'agent:migrate_disk':
        return this.#migrate(vm, stringOf(args, 'from'), stringOf(args, 'to'));
      case 'agent:compile_package':
        return `compiled-${stringOf(args, 'name')}`;
      default:
        throw new SimulationError('agent', `unknown message ${method}`);
    }
  }

  #start(vm: SimulatedVm): null {
    if (vm.store !== undefined) {
      const disk = this.#disk(vm.store);
      // What a service does that finds an empty disk.
      if (disk.data === '') disk.data = 'precious';
    }
    vm.jobs = vm.failing ? 'failing' : 'running';
    return null;
  }

  #mount(vm: SimulatedVm, disk: SimulatedDisk): null {
    if (disk.attachedTo !== vm.cid) throw new SimulationError('agent', 'no such device');
    if (!disk.formatted && disk.data !== '') throw new SimulationError('agent', 'formats a disk with data');
    disk.formatted = true;
    disk.filesystemMiB = disk.size;
    if (vm.store === undefined || vm.store === disk.cid) vm.store = disk.cid;
    else vm.migrationTarget = disk.cid;
    return null;
  }

  #migrate(vm: SimulatedVm, from: string, to: string): null {
    if (vm.jobs === 'running') throw new SimulationError('agent', 'the store is busy');
    if (vm.store !== from || vm.migrationTarget !== to) throw new SimulationError('agent', 'not mounted');
    const [source, target] = [this.#disk(from), this.#disk(to)];
    if (source.usedMiB > target.size) throw new SimulationError('agent', 'the target is too small');
    target.data = source.data;
    target.usedMiB = source.usedMiB;
    vm.store = to;
    vm.migrationTarget = undefined;
    return null;
  }
}

function failure(type: string, message: string): JsonObject {
  return { error: { type, message } };
}

function stringOf(args: JsonObject, key: string): string {
  const value = args[key];
  return typeof value === 'string' ? value : '';
}

function refill<V>(map: Map<string, V>, entries: readonly [string, V][]): void {
  map.clear();
  for (const [key, value] of entries) map.set(key, value);
}
