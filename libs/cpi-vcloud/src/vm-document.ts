import { CloudError } from '@microbosh/cpi';
import { parseXml } from '@microbosh/cpi/xml';
import type { XmlNode } from '@microbosh/cpi/xml';
import { hardDiskItem, networkCardItem, networkConnectionSection } from './documents.ts';
import type { NetworkCard } from './documents.ts';

const kinds = { cpu: 3, memory: 4, scsiController: 6, networkCard: 10, hardDisk: 17 };

export interface VmDisk {
  /** Unit number on its controller. */
  readonly unit: number;
  /** Of an independent disk. */
  readonly diskHref: string | undefined;
}

export interface VmCard {
  readonly network: string;
  readonly mac: string;
}

export interface Reconfiguration {
  readonly name: string;
  readonly description: string;
  readonly cpu: number;
  readonly ramMiB: number;
  readonly diskMiB: number;
  /** One card each, in this order. */
  readonly networks: readonly { readonly network: string; readonly ip: string }[];
}

/** The document of a VM: its hardware, and how to ask for other hardware. */
export class VmDocument {
  readonly node: XmlNode;
  readonly #section: XmlNode;

  constructor(node: XmlNode) {
    const section = node.at('VirtualHardwareSection');
    if (section === undefined)
      throw new CloudError(`VM ${node.attribute('name') ?? ''} has no hardware section`);
    this.node = node;
    this.#section = section;
  }

  get name(): string {
    return this.node.attribute('name') ?? '';
  }

  get href(): string {
    return this.node.attribute('href') ?? '';
  }

  /** `urn:vcloud:vm:<uuid>`. */
  get cid(): string {
    return this.node.attribute('id') ?? '';
  }

  #items(kind: number): readonly XmlNode[] {
    return this.#section.all('Item').filter((item) => item.numberAt('ResourceType') === kind);
  }

  get disks(): readonly VmDisk[] {
    return this.#items(kinds.hardDisk).map((item) => {
      const diskHref = item.at('HostResource')?.attribute('disk');
      return {
        unit: item.numberAt('AddressOnParent') ?? 0,
        diskHref: diskHref === '' ? undefined : diskHref,
      };
    });
  }

  get cards(): readonly VmCard[] {
    return this.#items(kinds.networkCard).map((item) => ({
      network: item.textAt('Connection') ?? '',
      mac: item.textAt('Address') ?? '',
    }));
  }

  /** `lsilogic`, `VirtualSCSI`, …: what disks are put on. */
  get busSubType(): string {
    const [controller] = this.#items(kinds.scsiController);
    if (controller === undefined) throw new CloudError(`No SCSI controller found for VM ${this.name}`);
    return controller.textAt('ResourceSubType') ?? 'lsilogic';
  }

  /** On the first controller; 7 is the controller itself. */
  freeUnit(): number {
    const taken = new Set([7, ...this.disks.map(({ unit }) => unit)]);
    const free = Array.from({ length: 16 }, (_, unit) => unit).find((unit) => !taken.has(unit));
    if (free === undefined) throw new CloudError(`VM '${this.name}' has no place for another disk`);
    return free;
  }

  /** The whole document with the wanted hardware: what the server does not find in it, it takes away. */
  reconfigured(wanted: Reconfiguration): string {
    const items = this.#section.all('Item');
    let instanceId = Math.max(0, ...items.map((item) => item.numberAt('InstanceID') ?? 0));
    const cards = wanted.networks.map(({ network, ip }, index): NetworkCard => {
      instanceId += 1;
      return { index, instanceId, network, ip };
    });
    const count = this.disks.length + 1;
    const disk = hardDiskItem({
      name: `Hard disk ${count}`,
      instanceId: instanceId + 1,
      capacityMb: wanted.diskMiB,
      busSubType: this.busSubType,
    });
    const added = [disk, ...cards.map(networkCardItem)].map(parseXml);
    const kept = items
      .filter((item) => item.numberAt('ResourceType') !== kinds.networkCard)
      .map((item) => {
        const kind = item.numberAt('ResourceType');
        if (kind === kinds.cpu) return withQuantity(item, wanted.cpu);
        return kind === kinds.memory ? withQuantity(item, wanted.ramMiB) : item;
      });
    const others = this.#section.children.filter((child) => !items.includes(child));
    const before = others.filter(({ name }) => name === 'Info' || name === 'System');
    const after = others.filter((child) => !before.includes(child));
    const hardware = this.#section.with({ children: [...before, ...kept, ...added, ...after] });
    const connections = parseXml(networkConnectionSection(cards));
    const children = this.node.children.map((child) => {
      if (child === this.#section) return hardware;
      if (child.name === 'NetworkConnectionSection') return connections;
      return child.name === 'Description' ? child.with({ text: wanted.description }) : child;
    });
    const attributes = { ...this.node.attributes, name: wanted.name };
    return this.node.with({ attributes, children }).render();
  }
}

function withQuantity(item: XmlNode, quantity: number): XmlNode {
  const children = item.children.map((child) =>
    child.name === 'VirtualQuantity' ? child.with({ text: String(quantity) }) : child,
  );
  return item.with({ children });
}
