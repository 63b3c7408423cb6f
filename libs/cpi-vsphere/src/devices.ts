import { CloudError } from '@microbosh/cpi';
import { elementOrder, object } from './data-objects.ts';
import type { DataObject } from './data-objects.ts';
import { XmlNode } from '@microbosh/cpi/xml';

/** The virtual hardware of a VM: `config.hardware.device`. */
export class Devices {
  readonly all: readonly XmlNode[];

  constructor(property: XmlNode | undefined) {
    this.all = property?.children ?? [];
  }

  get disks(): readonly XmlNode[] {
    return this.all.filter(({ type }) => type === 'VirtualDisk');
  }

  get networkCards(): readonly XmlNode[] {
    return this.all.filter((device) => device.at('macAddress') !== undefined || isCard(device.type));
  }

  get systemDisk(): XmlNode {
    const [first] = this.disks;
    if (first === undefined) throw new CloudError('The stemcell has no disk');
    return first;
  }

  get cdrom(): XmlNode {
    const found = this.all.find(({ type }) => type === 'VirtualCdrom');
    if (found !== undefined) return found;
    throw new CloudError('The VM has no CD-ROM device for the settings of its agent', {
      advice: 'The OVF of the stemcell has to have one.',
    });
  }

  get scsiController(): XmlNode {
    const key = this.systemDisk.textAt('controllerKey');
    const found = this.all.find((device) => device.textAt('key') === key);
    if (found === undefined) throw new CloudError('The system disk of the stemcell has no controller');
    return found;
  }

  get pciControllerKey(): number | undefined {
    return this.all.find(({ type }) => type === 'VirtualPCIController')?.numberAt('key');
  }

  /** Lowest numbers that are free on the system disk's controller; 7 is the controller itself. */
  freeUnitNumber(): number {
    const key = this.systemDisk.textAt('controllerKey');
    const taken = new Set(
      this.all
        .filter((device) => device.textAt('controllerKey') === key)
        .map((device) => device.numberAt('unitNumber')),
    );
    for (let unit = 0; unit < 64; unit += 1) if (unit !== 7 && !taken.has(unit)) return unit;
    throw new CloudError('The VM has no room for another disk');
  }
}

function isCard(type: string | undefined): boolean {
  return /^Virtual(Vmxnet\d*|E1000e?|PCNet32|SriovEthernetCard)$/.test(type ?? '');
}

export function fileNameOf(device: XmlNode): string {
  return device.textAt('backing', 'fileName') ?? '';
}

/** The cid of a persistent disk: the name of its file. */
export function diskCidOf(device: XmlNode): string | undefined {
  if (device.textAt('backing', 'diskMode') !== 'independent_persistent') return undefined;
  return /([^/\]\s]+)\.vmdk$/.exec(fileNameOf(device))?.[1];
}

/** A change of the virtual hardware; `remove` leaves the files of a disk alone. */
export function deviceChange(
  operation: 'add' | 'edit' | 'remove',
  device: DataObject | XmlNode,
  fileOperation?: 'create',
): DataObject {
  return object('VirtualDeviceConfigSpec', { operation, fileOperation, device });
}

/** The same tree with all disks thin, or none. */
export function withThinDisks(node: XmlNode, isThin: boolean): XmlNode {
  const children = node.children.map((child) => withThinDisks(child, isThin));
  if (node.type !== 'VirtualDiskFlatVer2BackingInfo') return node.with({ children });
  const order = elementOrder[node.type] ?? [];
  const later = order.slice(order.indexOf('thinProvisioned') + 1);
  const others = children.filter(({ name }) => name !== 'thinProvisioned');
  const next = others.findIndex(({ name }) => later.includes(name) || !order.includes(name));
  const known = others.findLastIndex(({ name }) => order.includes(name) && !later.includes(name));
  const place = next > known ? next : known + 1;
  const thin = new XmlNode('thinProvisioned', {}, [], String(isThin));
  return node.with({ children: [...others.slice(0, place), thin, ...others.slice(place)] });
}
