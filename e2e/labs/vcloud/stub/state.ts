import { randomUUID } from 'node:crypto';
import { parseXml } from '@microbosh/cpi/xml';
import type { XmlNode } from '@microbosh/cpi/xml';

/** An answer that says no. */
export class Refusal extends Error {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, reason: string, message: string) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

/** Unknown objects are answered like forbidden ones. */
export const forbidden = (what: string): Refusal =>
  new Refusal(403, 'ACCESS_TO_RESOURCE_IS_FORBIDDEN', `No access to entity "${what}".`);

export interface Task {
  readonly id: string;
  readonly operation: string;
  readonly owner: Thing;
  status: 'queued' | 'running' | 'success' | 'error' | 'canceled';
  /** Looks until it is done. */
  looks: number;
  readonly startedAt: string;
  error: string | undefined;
  /** It goes on only when somebody does something: a transfer. */
  readonly waits: boolean;
  readonly done: () => void;
}

interface Common {
  readonly id: string;
  name: string;
  readonly tasks: Task[];
}

export interface Template extends Common {
  readonly kind: 'vAppTemplate';
  status: number;
  files: TransferFile[];
  readonly vmId: string;
  diskMb: number;
}

export interface TransferFile {
  readonly name: string;
  readonly id: string;
  /** -1: not known before it is there. */
  size: number;
  received: number;
}

export interface Media extends Common {
  readonly kind: 'media';
  status: number;
  readonly size: number;
  readonly file: TransferFile;
  content: Buffer;
}

export interface Disk extends Common {
  readonly kind: 'disk';
  status: number;
  sizeMb: number;
  readonly busType: string;
  readonly busSubType: string;
  readonly metadata: Map<string, string>;
}

export interface HardDisk {
  readonly instanceId: number;
  readonly unit: number;
  readonly capacityMb: number;
  readonly disk: Disk | undefined;
}

export interface Card {
  readonly index: number;
  readonly instanceId: number;
  readonly network: string;
  readonly ip: string;
  readonly mode: string;
  readonly isPrimary: boolean;
  readonly mac: string;
}

export interface Vm extends Common {
  readonly kind: 'vm';
  description: string;
  status: number;
  deployed: boolean;
  cpu: number;
  ramMb: number;
  disks: HardDisk[];
  cards: Card[];
  media: Media | undefined;
  vApp: VApp;
  readonly metadata: Map<string, string>;
}

export interface VApp extends Common {
  readonly kind: 'vApp';
  readonly description: string;
  /** Undefined: it is being made. */
  isMade: boolean;
  /** `NetworkConfig` by name, as XML. */
  networks: Map<string, string>;
  vms: Vm[];
}

export interface Item extends Common {
  readonly kind: 'catalogItem';
  readonly catalog: Catalog;
  readonly entity: Template | Media;
}

export interface Catalog extends Common {
  readonly kind: 'catalog';
  items: Item[];
}

export type Thing = Template | Media | Disk | Vm | VApp | Item | Catalog;
export type Entity = Template | Media | Disk | VApp;

const networkNames = ['lab-net', 'second-net'];
const noMetadata = new Map<string, string>();

/** What a vCloud Director has of one organisation, and the rules of what may be done when. */
export class VcloudState {
  readonly organization = { id: randomUUID(), name: 'lab-org' };
  readonly vdc = { id: randomUUID(), name: 'lab-vdc' };
  readonly profiles = ['gold', 'silver'].map((name) => ({ id: randomUUID(), name }));
  readonly networks = networkNames.map((name, index) => ({
    id: randomUUID(),
    name,
    prefix: `10.0.${index}`,
  }));
  readonly things = new Map<string, Thing>();
  readonly tasks = new Map<string, Task>();
  /** Looks at a task until it is done: queued, running, done. */
  taskLooks = 2;
  #macs = 0;

  get catalogs(): readonly Catalog[] {
    return [...this.things.values()].filter((thing): thing is Catalog => thing.kind === 'catalog');
  }

  get entities(): readonly Entity[] {
    return [...this.things.values()].filter((thing): thing is Entity =>
      ['vAppTemplate', 'media', 'disk', 'vApp'].includes(thing.kind),
    );
  }

  of<K extends Thing['kind']>(kind: K, id: string): Extract<Thing, { kind: K }> {
    const thing = this.things.get(id);
    if (thing?.kind !== kind) throw forbidden(`urn:vcloud:${kind}:${id}`);
    return thing as Extract<Thing, { kind: K }>;
  }

  add<T extends Thing>(thing: T): T {
    this.things.set(thing.id, thing);
    return thing;
  }

  start(owner: Thing, operation: string, done: () => void, waits = false): Task {
    const task: Task = {
      ...{ id: randomUUID(), operation, owner, status: 'queued', looks: this.taskLooks, waits, done },
      startedAt: new Date().toISOString(),
      error: undefined,
    };
    owner.tasks.push(task);
    this.tasks.set(task.id, task);
    return task;
  }

  /** Time goes on by being looked at. */
  look(task: Task): void {
    if (task.status !== 'queued' && task.status !== 'running') return;
    if (task.waits) {
      task.status = 'running';
      return;
    }
    task.looks -= 1;
    if (task.looks > 0) {
      task.status = 'running';
      return;
    }
    this.finish(task);
  }

  finish(task: Task): void {
    task.status = 'success';
    task.done();
    task.owner.tasks.splice(task.owner.tasks.indexOf(task), 1);
  }

  cancel(task: Task): void {
    if (!task.waits || task.status === 'canceled')
      throw new Refusal(400, 'BAD_REQUEST', 'The task cannot be canceled.');
    task.status = 'canceled';
    if (task.owner.kind === 'vAppTemplate') task.owner.files = [];
    if (task.owner.kind === 'vAppTemplate' || task.owner.kind === 'media') task.owner.status = -1;
    task.owner.tasks.splice(task.owner.tasks.indexOf(task), 1);
  }

  /** What is at work on something refuses everything else that would change it. */
  free(thing: Thing): void {
    const related: Thing[] = [thing];
    if (thing.kind === 'vm') related.push(thing.vApp);
    if (thing.kind === 'vApp') related.push(...thing.vms);
    if (related.every(({ tasks }) => tasks.length === 0)) return;
    throw new Refusal(
      400,
      'BUSY_ENTITY',
      `The entity ${thing.kind} (${thing.name}) is busy completing an operation.`,
    );
  }

  nameIsFree(kind: Entity['kind'], name: string): void {
    if (!this.entities.some((entity) => entity.kind === kind && entity.name === name)) return;
    throw new Refusal(400, 'DUPLICATE_NAME', `The VCD entity ${name} already exists.`);
  }

  itemNameIsFree(catalog: Catalog, name: string): void {
    if (!catalog.items.some((item) => item.name === name)) return;
    throw new Refusal(400, 'DUPLICATE_NAME', `Catalog item name ${name} is not unique within the catalog.`);
  }

  addItem(catalog: Catalog, name: string, entity: Template | Media): Item {
    this.itemNameIsFree(catalog, name);
    const item = this.add<Item>({ kind: 'catalogItem', id: randomUUID(), name, tasks: [], catalog, entity });
    catalog.items.push(item);
    return item;
  }

  removeItem(item: Item): void {
    item.catalog.items = item.catalog.items.filter((other) => other !== item);
    this.things.delete(item.id);
  }

  upload(catalog: Catalog, name: string): Item {
    this.itemNameIsFree(catalog, name);
    const descriptor = { name: 'descriptor.ovf', id: randomUUID(), size: -1, received: 0 };
    const template = this.add<Template>({
      ...{ kind: 'vAppTemplate', id: randomUUID(), name, tasks: [], status: 0, files: [descriptor] },
      ...{ vmId: randomUUID(), diskMb: 0 },
    });
    this.start(template, 'vdcUploadOvfContents', () => undefined, true);
    return this.addItem(catalog, name, template);
  }

  fileOf(id: string): { readonly owner: Template | Media; readonly file: TransferFile } {
    for (const entity of this.entities) {
      const files =
        entity.kind === 'vAppTemplate' ? entity.files : entity.kind === 'media' ? [entity.file] : [];
      const file = files.find((each) => each.id === id);
      if (file !== undefined && (entity.kind === 'vAppTemplate' || entity.kind === 'media'))
        return { owner: entity, file };
    }
    throw new Refusal(404, 'NOT_FOUND', 'There is no such transfer.');
  }

  received(owner: Template | Media, file: TransferFile, content: Buffer, sizeBytes: number): void {
    if (file.size >= 0 && sizeBytes !== file.size) {
      throw new Refusal(400, 'BAD_REQUEST', `${sizeBytes} bytes came for a file of ${file.size}.`);
    }
    file.received = sizeBytes;
    file.size = sizeBytes;
    if (owner.kind === 'media') {
      owner.content = content;
      owner.tasks.filter(({ waits }) => waits).forEach((task) => this.finish(task));
      this.start(owner, 'vdcUploadMedia', () => (owner.status = 1));
    } else if (file.name === 'descriptor.ovf') {
      this.#readDescriptor(owner, content);
    } else if (owner.files.every(({ size, received }) => received === size)) {
      owner.files = [];
      owner.tasks.filter(({ waits }) => waits).forEach((task) => this.finish(task));
      this.start(owner, 'vdcImportOvf', () => (owner.status = 8));
    }
  }

  #readDescriptor(template: Template, content: Buffer): void {
    const envelope = parseXml(content.toString('utf8'));
    const disk = envelope.at('DiskSection', 'Disk');
    template.diskMb = Math.ceil(Number(disk?.attribute('capacity') ?? 0) / 2 ** 20);
    const files = envelope.at('References')?.all('File') ?? [];
    template.files.push(
      ...files.map((file) => ({
        name: file.attribute('href') ?? '',
        id: randomUUID(),
        size: Number(file.attribute('size')),
        received: 0,
      })),
    );
  }

  instantiate(template: Template, name: string, description: string): VApp {
    if (template.status !== 8) throw new Refusal(400, 'BAD_REQUEST', 'The template is not ready.');
    this.nameIsFree('vApp', name);
    const none =
      '<NetworkConfig networkName="VM Network"><Configuration><FenceMode>isolated</FenceMode></Configuration></NetworkConfig>';
    const vApp = this.add<VApp>({
      ...{ kind: 'vApp', id: randomUUID(), name, tasks: [], description, isMade: false },
      ...{ networks: new Map([['VM Network', none]]), vms: [] },
    });
    this.start(vApp, 'vdcInstantiateVapp', () => {
      vApp.isMade = true;
      const vm = this.add<Vm>({
        ...{
          kind: 'vm',
          id: randomUUID(),
          name: 'stemcell',
          tasks: [],
          description: 'of the template',
          status: 8,
        },
        ...{ deployed: false, cpu: 1, ramMb: 512, vApp, media: undefined, metadata: new Map(noMetadata) },
        disks: [{ instanceId: 2000, unit: 0, capacityMb: template.diskMb, disk: undefined }],
        cards: [
          {
            ...{ index: 0, instanceId: 1, network: 'VM Network', ip: '', mode: 'DHCP', isPrimary: true },
            mac: this.#mac(),
          },
        ],
      });
      vApp.vms.push(vm);
    });
    return vApp;
  }

  #mac(): string {
    this.#macs += 1;
    return `00:50:56:01:${(this.#macs >> 8).toString(16).padStart(2, '0')}:${(this.#macs & 255).toString(16).padStart(2, '0')}`;
  }

  setNetworks(vApp: VApp, configs: readonly XmlNode[]): Task {
    this.free(vApp);
    const wanted = new Map(configs.map((config) => [config.attribute('networkName') ?? '', config]));
    for (const network of vApp.vms.flatMap(({ cards }) => cards.map((card) => card.network))) {
      if (!wanted.has(network)) throw new Refusal(400, 'BAD_REQUEST', `Network ${network} is in use.`);
    }
    for (const config of configs) {
      const parent = config.at('Configuration', 'ParentNetwork')?.attribute('href') ?? '';
      const isBridged = config.textAt('Configuration', 'FenceMode') === 'bridged';
      if (isBridged && !this.networks.some(({ id }) => parent.endsWith(id)))
        throw new Refusal(400, 'BAD_REQUEST', `The parent network ${parent} is not there.`);
    }
    return this.start(vApp, 'vappUpdateNetworkConfig', () => {
      vApp.networks = new Map([...wanted].map(([name, config]) => [name, config.render()]));
    });
  }

  /** The document says what there shall be: what is not in it goes. */
  reconfigure(vm: Vm, wanted: XmlNode): Task {
    this.free(vm);
    if (vm.status === 4) throw new Refusal(400, 'BAD_REQUEST', 'The VM is on.');
    const items = wanted.at('VirtualHardwareSection')?.all('Item') ?? [];
    const of = (kind: number) => items.filter((item) => item.numberAt('ResourceType') === kind);
    const disks = this.#wantedDisks(vm, of(17));
    const cards = this.#wantedCards(
      vm,
      of(10),
      wanted.at('NetworkConnectionSection')?.all('NetworkConnection') ?? [],
    );
    const one = (kind: number) => of(kind)[0]?.numberAt('VirtualQuantity');
    const name = wanted.attribute('name') ?? vm.name;
    const sibling = vm.vApp.vms.some((other) => other !== vm && other.name === name);
    if (sibling) throw new Refusal(400, 'BAD_REQUEST', `There is already a VM named "${name}".`);
    return this.start(vm, 'vappReconfigureVm', () => {
      Object.assign(vm, { name, description: wanted.textAt('Description') ?? '', disks, cards });
      vm.cpu = one(3) ?? vm.cpu;
      vm.ramMb = one(4) ?? vm.ramMb;
    });
  }

  #wantedDisks(vm: Vm, items: readonly XmlNode[]): HardDisk[] {
    const disks: HardDisk[] = [];
    for (const item of items) {
      const instanceId = item.numberAt('InstanceID') ?? 0;
      const host = item.at('HostResource');
      const present = vm.disks.find((disk) => disk.instanceId === instanceId);
      const taken = new Set([7, ...vm.disks.map(({ unit }) => unit), ...disks.map(({ unit }) => unit)]);
      const unit =
        present?.unit ?? Array.from({ length: 16 }, (_, place) => place).find((place) => !taken.has(place));
      const capacityMb = Number(host?.attribute('capacity') ?? 0);
      if (capacityMb < (present?.capacityMb ?? 1))
        throw new Refusal(400, 'BAD_REQUEST', 'A disk cannot shrink.');
      if (host?.attribute('busType') !== '6') throw new Refusal(400, 'BAD_REQUEST', 'The disk has no bus.');
      disks.push({ instanceId, unit: unit ?? 0, capacityMb, disk: present?.disk });
    }
    const lost = vm.disks.find(
      ({ disk }) => disk !== undefined && !disks.some((other) => other.disk === disk),
    );
    if (lost !== undefined) throw new Refusal(400, 'BAD_REQUEST', 'An independent disk has to be detached.');
    return disks;
  }

  #wantedCards(vm: Vm, items: readonly XmlNode[], connections: readonly XmlNode[]): Card[] {
    if (connections.length !== items.length) {
      throw new Refusal(400, 'BAD_REQUEST', 'Network cards and network connections do not agree.');
    }
    return items.map((item) => {
      const connection = item.at('Connection');
      const index = item.numberAt('AddressOnParent') ?? -1;
      const network = connection?.text ?? '';
      const other = connections.find((each) => each.numberAt('NetworkConnectionIndex') === index);
      if (other?.attribute('network') !== network)
        throw new Refusal(400, 'BAD_REQUEST', `Card ${index} has no connection to ${network}.`);
      if (!vm.vApp.networks.has(network))
        throw new Refusal(400, 'BAD_REQUEST', `The network ${network} is not in the vApp.`);
      return {
        ...{ index, instanceId: item.numberAt('InstanceID') ?? 0, network },
        ip: connection?.attribute('ipAddress') ?? '',
        mode: connection?.attribute('ipAddressingMode') ?? 'NONE',
        isPrimary: connection?.attribute('primaryNetworkConnection') === 'true',
        mac: this.#mac(),
      };
    });
  }

  powerOn(vm: Vm): Task {
    this.free(vm);
    if (vm.status === 4) throw new Refusal(400, 'BAD_REQUEST', 'The VM is on.');
    return this.start(vm, 'vappPowerOn', () => Object.assign(vm, { status: 4, deployed: true }));
  }

  powerOff(vm: Vm): Task {
    this.free(vm);
    if (vm.status !== 4) throw new Refusal(400, 'BAD_REQUEST', 'The VM is not on.');
    // It stays deployed on its host.
    return this.start(vm, 'vappPowerOff', () => Object.assign(vm, { status: 8 }));
  }

  reboot(vm: Vm): Task {
    this.free(vm);
    if (vm.status !== 4) throw new Refusal(400, 'BAD_REQUEST', 'The VM is not on.');
    return this.start(vm, 'vappReboot', () => undefined);
  }

  discard(vm: Vm): Task {
    this.free(vm);
    if (vm.status !== 3) throw new Refusal(400, 'BAD_REQUEST', 'The VM is not suspended.');
    return this.start(vm, 'vappDiscardSuspendedState', () =>
      Object.assign(vm, { status: 8, deployed: false }),
    );
  }

  undeploy(owner: Vm | VApp): Task {
    this.free(owner);
    const vms = owner.kind === 'vm' ? [owner] : owner.vms;
    if (!vms.some(({ deployed }) => deployed)) throw new Refusal(400, 'BAD_REQUEST', 'It is not deployed.');
    return this.start(owner, 'vappUndeployPowerOff', () => {
      for (const vm of vms) Object.assign(vm, { status: 8, deployed: false });
    });
  }

  removeVms(owner: Vm | VApp): Task {
    this.free(owner);
    const vms = owner.kind === 'vm' ? [owner] : owner.vms;
    if (vms.some(({ deployed }) => deployed)) throw new Refusal(400, 'BAD_REQUEST', 'It is deployed.');
    if (vms.some(({ disks }) => disks.some(({ disk }) => disk !== undefined)))
      throw new Refusal(400, 'BAD_REQUEST', 'It has independent disks.');
    return this.start(owner, 'vdcDeleteVapp', () => {
      for (const vm of vms) {
        this.things.delete(vm.id);
        vm.vApp.vms = vm.vApp.vms.filter((other) => other !== vm);
      }
      if (owner.kind === 'vApp') this.things.delete(owner.id);
    });
  }

  recompose(vApp: VApp, name: string | undefined, source: Vm | undefined): Task {
    this.free(vApp);
    if (source !== undefined) {
      this.free(source);
      const unknown = source.cards.find(({ network }) => !vApp.networks.has(network));
      if (unknown !== undefined)
        throw new Refusal(400, 'BAD_REQUEST', `The network ${unknown.network} is not in the vApp.`);
      if (vApp.vms.some((vm) => vm.name === source.name))
        throw new Refusal(400, 'BAD_REQUEST', `There is already a VM named "${source.name}".`);
    } else if (name !== undefined && name !== vApp.name) this.nameIsFree('vApp', name);
    return this.start(vApp, 'vdcRecomposeVapp', () => {
      if (name !== undefined) vApp.name = name;
      if (source === undefined) return;
      source.vApp.vms = source.vApp.vms.filter((vm) => vm !== source);
      // The moved VM is a new one.
      this.things.delete(source.id);
      vApp.vms.push(this.add({ ...source, id: randomUUID(), tasks: [], vApp }));
    });
  }

  createDisk(wanted: { name: string; sizeMb: number; busType: string; busSubType: string }): Disk {
    const disk = this.add<Disk>({
      ...{ kind: 'disk', id: randomUUID(), tasks: [], status: 0, metadata: new Map(noMetadata) },
      ...wanted,
    });
    this.start(disk, 'vdcCreateDisk', () => (disk.status = 1));
    return disk;
  }

  holderOf(disk: Disk): Vm | undefined {
    const vms = [...this.things.values()].filter((thing): thing is Vm => thing.kind === 'vm');
    return vms.find((vm) => vm.disks.some((each) => each.disk === disk));
  }

  attach(vm: Vm, disk: Disk, place: number | undefined): Task {
    this.free(vm);
    this.free(disk);
    if (this.holderOf(disk) !== undefined)
      throw new Refusal(400, 'BAD_REQUEST', 'The disk is attached to a VM.');
    const taken = new Set([7, ...vm.disks.map(({ unit }) => unit)]);
    const unit =
      place ?? Array.from({ length: 16 }, (_, each) => each).find((each) => !taken.has(each)) ?? 16;
    if (taken.has(unit) || unit > 15) throw new Refusal(400, 'BAD_REQUEST', `The unit ${unit} is taken.`);
    const instanceId = Math.max(2000, ...vm.disks.map((each) => each.instanceId)) + 1;
    return this.start(vm, 'vappAttachDisk', () => {
      vm.disks.push({ instanceId, unit, capacityMb: disk.sizeMb, disk });
    });
  }

  detach(vm: Vm, disk: Disk): Task {
    this.free(vm);
    if (vm.status === 3) throw new Refusal(400, 'BAD_REQUEST', 'The VM is suspended.');
    if (this.holderOf(disk) !== vm)
      throw new Refusal(400, 'BAD_REQUEST', 'The disk is not attached to the VM.');
    return this.start(vm, 'vappDetachDisk', () => {
      vm.disks = vm.disks.filter((each) => each.disk !== disk);
    });
  }

  resizeDisk(disk: Disk, sizeMb: number): Task {
    this.free(disk);
    if (this.holderOf(disk) !== undefined)
      throw new Refusal(400, 'BAD_REQUEST', 'The disk is attached to a VM.');
    if (sizeMb < disk.sizeMb) throw new Refusal(400, 'BAD_REQUEST', 'A disk cannot shrink.');
    return this.start(disk, 'vdcUpdateDisk', () => (disk.sizeMb = sizeMb));
  }

  createMedia(name: string, size: number): Media {
    this.nameIsFree('media', name);
    const file = { name: 'file', id: randomUUID(), size, received: 0 };
    const media = this.add<Media>({
      ...{
        kind: 'media',
        id: randomUUID(),
        name,
        tasks: [],
        status: 0,
        size,
        file,
        content: Buffer.alloc(0),
      },
    });
    this.start(media, 'vdcUploadMedia', () => undefined, true);
    return media;
  }

  insert(vm: Vm, media: Media): Task {
    this.free(vm);
    this.free(media);
    if (media.status !== 1) throw new Refusal(400, 'BAD_REQUEST', 'The media is not ready.');
    if (vm.media !== undefined) throw new Refusal(400, 'BAD_REQUEST', 'There is a media in the drive.');
    return this.start(vm, 'vappInsertMedia', () => (vm.media = media));
  }

  eject(vm: Vm, media: Media): Task {
    this.free(vm);
    if (vm.media !== media) throw new Refusal(400, 'BAD_REQUEST', 'The media is not in the drive.');
    return this.start(vm, 'vappEjectMedia', () => (vm.media = undefined));
  }

  removeStored(thing: Template | Media | Disk): Task {
    this.free(thing);
    const isUsed =
      thing.kind === 'disk'
        ? this.holderOf(thing) !== undefined
        : [...this.things.values()].some((each) => each.kind === 'vm' && each.media === thing);
    if (isUsed) throw new Refusal(400, 'BAD_REQUEST', 'It is used by a VM.');
    return this.start(thing, `vdcDelete${thing.kind}`, () => {
      this.things.delete(thing.id);
      for (const catalog of this.catalogs) {
        for (const item of catalog.items) {
          if (thing.kind === 'vAppTemplate' && item.entity === thing) this.removeItem(item);
        }
      }
    });
  }
}
