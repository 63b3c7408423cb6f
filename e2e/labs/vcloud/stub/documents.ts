import { escapeXml } from '@microbosh/cpi/xml';
import type {
  Card,
  Catalog,
  Disk,
  HardDisk,
  Item,
  Media,
  Task,
  Template,
  Thing,
  TransferFile,
  VApp,
  Vm,
} from './state.ts';
import { forbidden, Refusal } from './state.ts';
import type { VcloudState } from './state.ts';
import { element, leaf, mediaType, namespaces } from './xml.ts';
import type { Attributes } from './xml.ts';

/** In the words of 2026: older APIs have sizes of disks in bytes. */
const megabytesSince = 33;

const segments: Readonly<Record<Thing['kind'], string>> = {
  vAppTemplate: 'vAppTemplate/vappTemplate-',
  media: 'media/',
  disk: 'disk/',
  vm: 'vApp/vm-',
  vApp: 'vApp/vapp-',
  catalogItem: 'catalogItem/',
  catalog: 'catalog/',
};

const urnKinds: Readonly<Record<Thing['kind'], string>> = {
  ...{ vAppTemplate: 'vapptemplate', media: 'media', disk: 'disk', vm: 'vm', vApp: 'vapp' },
  ...{ catalogItem: 'catalogitem', catalog: 'catalog' },
};

export const urn = (kind: string, id: string): string => `urn:vcloud:${kind}:${id}`;

/** The documents of one version of the API, with links as the state allows them. */
export class Documents {
  readonly #state: VcloudState;
  readonly #origin: string;
  readonly #version: number;

  constructor(state: VcloudState, origin: string, version: number) {
    this.#state = state;
    this.#origin = origin;
    this.#version = version;
  }

  href(thing: Thing): string {
    return this.url(`/api/${segments[thing.kind]}${thing.id}`);
  }

  url(path: string): string {
    return `${this.#origin}${path}`;
  }

  #link(rel: string, href: string, type?: string, name?: string): string {
    return element('Link', { rel, href, ...(type === undefined ? {} : { type: mediaType(type) }), name });
  }

  #head(thing: Thing, attributes: Attributes = {}): Attributes {
    const type = mediaType(`vcloud.${thing.kind}`);
    const id = urn(urnKinds[thing.kind], thing.id);
    return { href: this.href(thing), type, id, name: thing.name, ...attributes };
  }

  /** Time goes on; what is deleted by then is not there. */
  #advance(thing: Thing): void {
    for (const task of [...thing.tasks]) this.#state.look(task);
    if (!this.#state.things.has(thing.id)) throw forbidden(thing.name);
  }

  #tasks(thing: Thing): string {
    return thing.tasks.length === 0
      ? ''
      : element('Tasks', {}, ...thing.tasks.map((task) => this.#task(task, {})));
  }

  #root(name: string, attributes: Attributes, ...content: readonly string[]): string {
    return `<?xml version="1.0" encoding="UTF-8"?>${element(name, { ...namespaces, ...attributes }, ...content)}`;
  }

  refusal({ reason, status, message }: Refusal): string {
    return this.#root('Error', { majorErrorCode: status, minorErrorCode: reason, message });
  }

  #task(task: Task, extra: Attributes): string {
    const { owner, status } = task;
    const href = this.url(`/api/task/${task.id}`);
    const isOpen = status === 'queued' || status === 'running';
    return element(
      'Task',
      {
        ...{ ...extra, href, type: mediaType('vcloud.task'), id: urn('task', task.id), name: 'task', status },
        ...{ operation: `${task.operation} ${owner.name}`, operationName: task.operation },
        startTime: task.startedAt,
      },
      isOpen && task.waits ? this.#link('task:cancel', `${href}/action/cancel`) : '',
      element('Owner', { href: this.href(owner), name: owner.name, type: mediaType(`vcloud.${owner.kind}`) }),
      task.error === undefined
        ? ''
        : element('Error', {
            majorErrorCode: 500,
            minorErrorCode: 'INTERNAL_SERVER_ERROR',
            message: task.error,
          }),
    );
  }

  task(task: Task): string {
    return `<?xml version="1.0" encoding="UTF-8"?>${this.#task(task, namespaces)}`;
  }

  session(user: string): string {
    const { organization } = this.#state;
    const attributes = {
      href: this.url('/api/session'),
      type: mediaType('vcloud.session'),
      user,
      org: organization.name,
    };
    return this.#root(
      'Session',
      attributes,
      this.#link('down', this.url('/api/org'), 'vcloud.orgList'),
      this.#link('down', this.url(`/api/org/${organization.id}`), 'vcloud.org', organization.name),
      this.#link('entityResolver', this.url('/api/entity/'), 'vcloud.entity'),
    );
  }

  organizations(): string {
    const { organization } = this.#state;
    const href = this.url(`/api/org/${organization.id}`);
    return this.#root(
      'OrgList',
      {},
      element('Org', { href, name: organization.name, type: mediaType('vcloud.org') }),
    );
  }

  organization(): string {
    const { organization, vdc, catalogs } = this.#state;
    return this.#root(
      'Org',
      {
        ...{ href: this.url(`/api/org/${organization.id}`), type: mediaType('vcloud.org') },
        ...{ id: urn('org', organization.id), name: organization.name },
      },
      this.#link('down', this.url(`/api/vdc/${vdc.id}`), 'vcloud.vdc', vdc.name),
      ...catalogs.map((catalog) => this.#link('down', this.href(catalog), 'vcloud.catalog', catalog.name)),
      this.#link('add', this.url(`/api/admin/org/${organization.id}/catalogs`), 'admin.catalog'),
      leaf('FullName', 'The lab'),
    );
  }

  entity(kind: string, id: string): string {
    const thing = [...this.#state.things.values()].find(
      (each) => each.id === id && urnKinds[each.kind] === kind,
    );
    if (thing === undefined)
      throw new Refusal(403, 'ACCESS_TO_RESOURCE_IS_FORBIDDEN', `No access to entity "${urn(kind, id)}".`);
    return this.#root(
      'Entity',
      {
        id: urn(kind, id),
        name: urn(kind, id),
        type: mediaType('vcloud.entity'),
        href: this.url(`/api/entity/${urn(kind, id)}`),
      },
      this.#link('alternate', this.href(thing), `vcloud.${thing.kind}`),
    );
  }

  vdc(): string {
    const { vdc, entities, networks, profiles } = this.#state;
    const href = this.url(`/api/vdc/${vdc.id}`);
    const reference = (
      kind: string,
      { id, name }: { id: string; name: string },
      path: string,
      type: string,
    ) => element(kind, { href: this.url(`/api/${path}/${id}`), name, type: mediaType(type) });
    return this.#root(
      'Vdc',
      { href, type: mediaType('vcloud.vdc'), id: urn('vdc', vdc.id), name: vdc.name, status: 1 },
      this.#link('add', `${href}/action/instantiateVAppTemplate`, 'vcloud.instantiateVAppTemplateParams'),
      this.#link('add', `${href}/media`, 'vcloud.media'),
      this.#link('add', `${href}/disk`, 'vcloud.diskCreateParams'),
      leaf('AllocationModel', 'AllocationVApp'),
      element(
        'ResourceEntities',
        {},
        ...entities.map((entity) =>
          element('ResourceEntity', {
            ...{ href: this.href(entity), name: entity.name, type: mediaType(`vcloud.${entity.kind}`) },
            id: urn(urnKinds[entity.kind], entity.id),
          }),
        ),
      ),
      element(
        'AvailableNetworks',
        {},
        ...networks.map((each) => reference('Network', each, 'network', 'vcloud.network')),
      ),
      leaf('IsEnabled', true),
      element(
        'VdcStorageProfiles',
        {},
        ...profiles.map((each) =>
          reference('VdcStorageProfile', each, 'vdcStorageProfile', 'vcloud.vdcStorageProfile'),
        ),
      ),
    );
  }

  network(id: string): string {
    const network = this.#state.networks.find((each) => each.id === id);
    if (network === undefined)
      throw new Refusal(403, 'ACCESS_TO_RESOURCE_IS_FORBIDDEN', 'No access to the network.');
    const { name, prefix } = network;
    const range = [leaf('StartAddress', `${prefix}.10`), leaf('EndAddress', `${prefix}.200`)];
    const scope = [
      leaf('IsInherited', false),
      leaf('Gateway', `${prefix}.1`),
      leaf('Netmask', '255.255.255.0'),
      leaf('Dns1', `${prefix}.2`),
      element('IpRanges', {}, element('IpRange', {}, ...range)),
    ];
    const configuration = [
      element('IpScopes', {}, element('IpScope', {}, ...scope)),
      leaf('FenceMode', 'bridged'),
    ];
    return this.#root(
      'OrgVdcNetwork',
      {
        href: this.url(`/api/network/${id}`),
        type: mediaType('vcloud.orgVdcNetwork'),
        id: urn('network', id),
        name,
      },
      element('Configuration', {}, ...configuration),
    );
  }

  catalog(catalog: Catalog, root: 'Catalog' | 'AdminCatalog' = 'Catalog'): string {
    this.#advance(catalog);
    const href = this.href(catalog);
    const items = catalog.items.map((item) =>
      element('CatalogItem', {
        href: this.href(item),
        name: item.name,
        type: mediaType('vcloud.catalogItem'),
      }),
    );
    return this.#root(
      root,
      this.#head(catalog),
      this.#link('add', `${href}/catalogItems`, 'vcloud.catalogItem'),
      this.#link('add', `${href}/action/upload`, 'vcloud.uploadVAppTemplateParams'),
      leaf('Description', ''),
      this.#tasks(catalog),
      element('CatalogItems', {}, ...items),
      leaf('IsPublished', false),
    );
  }

  item(item: Item): string {
    const { entity } = item;
    return this.#root(
      'CatalogItem',
      this.#head(item),
      this.#link('up', this.href(item.catalog), 'vcloud.catalog'),
      this.#link('remove', this.href(item)),
      this.#tasks(item),
      element('Entity', {
        href: this.href(entity),
        name: entity.name,
        type: mediaType(`vcloud.${entity.kind}`),
      }),
    );
  }

  /** Listed only while something is missing. */
  #files(files: readonly TransferFile[]): string {
    const open = files.filter(({ size, received }) => received !== size);
    if (open.length === 0) return '';
    return element(
      'Files',
      {},
      ...files.map(({ id, name, size, received }) => {
        const place = this.url(`/transfer/${id}/${name === 'descriptor.ovf' ? name : 'file'}`);
        const link = received === size ? '' : element('Link', { rel: 'upload:default', href: place });
        return element('File', { name, size, bytesTransferred: received }, link);
      }),
    );
  }

  template(template: Template): string {
    this.#advance(template);
    const tasks = this.#tasks(template);
    const remove = template.tasks.length === 0 ? this.#link('remove', this.href(template)) : '';
    const vmHref = this.url(`/api/vAppTemplate/vm-${template.vmId}`);
    const vm = element('Vm', {
      href: vmHref,
      type: mediaType('vcloud.vm'),
      id: urn('vm', template.vmId),
      name: 'stemcell',
      status: 8,
    });
    return this.#root(
      'VAppTemplate',
      this.#head(template, { status: template.status, ovfDescriptorUploaded: template.diskMb > 0 }),
      remove,
      leaf('Description', ''),
      tasks,
      this.#files(template.files),
      template.status === 8 ? element('Children', {}, vm) : '',
    );
  }

  media(media: Media): string {
    this.#advance(media);
    const tasks = this.#tasks(media);
    return this.#root(
      'Media',
      this.#head(media, { status: media.status, imageType: 'iso', size: media.size }),
      media.tasks.length === 0 ? this.#link('remove', this.href(media)) : '',
      tasks,
      media.status === 0 ? this.#files([media.file]) : '',
    );
  }

  #size(sizeMb: number): Attributes {
    return this.#version >= megabytesSince ? { sizeMb } : { size: sizeMb * 2 ** 20 };
  }

  disk(disk: Disk): string {
    this.#advance(disk);
    const tasks = this.#tasks(disk);
    const href = this.href(disk);
    const isFree = disk.tasks.length === 0 && this.#state.holderOf(disk) === undefined;
    return this.#root(
      'Disk',
      this.#head(disk, {
        status: disk.status,
        ...this.#size(disk.sizeMb),
        busType: disk.busType,
        busSubType: disk.busSubType,
      }),
      isFree ? this.#link('edit', href, 'vcloud.disk') + this.#link('remove', href) : '',
      this.#link('down', `${href}/metadata`, 'vcloud.metadata'),
      tasks,
    );
  }

  #section(vApp: VApp, extra: Attributes): string {
    const href = `${this.href(vApp)}/networkConfigSection/`;
    return element(
      'NetworkConfigSection',
      { ...extra, href, type: mediaType('vcloud.networkConfigSection') },
      leaf('ovf:Info', 'The configuration parameters for logical networks'),
      this.#link('edit', href, 'vcloud.networkConfigSection'),
      ...vApp.networks.values(),
    );
  }

  vApp(vApp: VApp): string {
    this.#advance(vApp);
    for (const task of vApp.vms.flatMap((vm) => vm.tasks)) this.#state.look(task);
    const tasks = this.#tasks(vApp);
    const vms = vApp.vms.map((vm) => this.#vm(vm, {}));
    const href = this.href(vApp);
    const isBusy = [vApp, ...vApp.vms].some((thing) => thing.tasks.length > 0);
    const states = new Set(vApp.vms.map((vm) => vm.status));
    const [only] = states.size === 1 ? states : [];
    const status = vApp.isMade ? (only ?? (states.size === 0 ? 8 : 10)) : 0;
    const deployed = vApp.vms.some((vm) => vm.deployed);
    const links = isBusy
      ? ''
      : [
          this.#link('recompose', `${href}/action/recomposeVApp`, 'vcloud.recomposeVAppParams'),
          status === 3 ? this.#link('discardState', `${href}/action/discardSuspendedState`) : '',
          deployed ? this.#link('undeploy', `${href}/action/undeploy`, 'vcloud.undeployVAppParams') : '',
          deployed ? '' : this.#link('remove', href),
        ].join('');
    return this.#root(
      'VApp',
      this.#head(vApp, { status, deployed }),
      links,
      this.#link('up', this.url(`/api/vdc/${this.#state.vdc.id}`), 'vcloud.vdc'),
      leaf('Description', vApp.description),
      tasks,
      this.#section(vApp, {}),
      vApp.vms.length === 0 ? '' : element('Children', {}, ...vms),
    );
  }

  vm(vm: Vm): string {
    this.#advance(vm);
    return `<?xml version="1.0" encoding="UTF-8"?>${this.#vm(vm, namespaces)}`;
  }

  #vm(vm: Vm, extra: Attributes): string {
    const tasks = this.#tasks(vm);
    const isBusy = vm.tasks.length > 0 || vm.vApp.tasks.length > 0;
    return element(
      'Vm',
      {
        ...extra,
        ...this.#head(vm, { status: vm.status, deployed: vm.deployed, needsCustomization: false }),
      },
      isBusy ? '' : this.#actions(vm),
      this.#link('up', this.href(vm.vApp), 'vcloud.vApp'),
      this.#link('down', `${this.href(vm)}/metadata`, 'vcloud.metadata'),
      leaf('Description', vm.description),
      tasks,
      this.#hardware(vm),
      this.#connections(vm),
      leaf('VAppScopedLocalId', 'stemcell'),
    );
  }

  #actions(vm: Vm): string {
    const href = this.href(vm);
    const isOn = vm.status === 4;
    const isSuspended = vm.status === 3;
    const disks = 'vcloud.diskAttachOrDetachParams';
    const drive = 'vcloud.mediaInsertOrEjectParams';
    const reconfigure =
      this.#version >= megabytesSince ? `${href}/action/reconfigureVm` : `${href}/reconfigureVm`;
    return [
      isOn ? '' : this.#link('power:powerOn', `${href}/power/action/powerOn`),
      isOn ? this.#link('power:powerOff', `${href}/power/action/powerOff`) : '',
      isOn ? this.#link('power:reboot', `${href}/power/action/reboot`) : '',
      isSuspended ? this.#link('discardState', `${href}/action/discardSuspendedState`) : '',
      vm.deployed ? this.#link('undeploy', `${href}/action/undeploy`, 'vcloud.undeployVAppParams') : '',
      vm.deployed ? '' : this.#link('remove', href),
      isOn ? '' : this.#link('reconfigureVm', reconfigure, 'vcloud.vm'),
      this.#link('disk:attach', `${href}/disk/action/attach`, disks),
      isSuspended ? '' : this.#link('disk:detach', `${href}/disk/action/detach`, disks),
      this.#link('media:insertMedia', `${href}/media/action/insertMedia`, drive),
      this.#link('media:ejectMedia', `${href}/media/action/ejectMedia`, drive),
    ].join('');
  }

  #hardware(vm: Vm): string {
    const item = (...fields: readonly string[]): string => element('ovf:Item', {}, ...fields);
    const named = (name: string, id: number): string[] => [
      leaf('rasd:ElementName', name),
      leaf('rasd:InstanceID', id),
    ];
    const quantity = (kind: number, value: number): string[] => [
      leaf('rasd:Reservation', 0),
      leaf('rasd:ResourceType', kind),
      leaf('rasd:VirtualQuantity', value),
      leaf('rasd:Weight', 0),
    ];
    return element(
      'ovf:VirtualHardwareSection',
      {
        'vcloud:href': `${this.href(vm)}/virtualHardwareSection/`,
        'vcloud:type': mediaType('vcloud.virtualHardwareSection'),
      },
      leaf('ovf:Info', 'Virtual hardware requirements'),
      ...vm.cards.map((card) => item(...this.#card(card))),
      item(
        leaf('rasd:Address', 0),
        ...named('SCSI Controller 0', 2),
        leaf('rasd:ResourceSubType', 'VirtualSCSI'),
        leaf('rasd:ResourceType', 6),
      ),
      ...vm.disks.map((disk) => item(...this.#hardDisk(disk))),
      item(
        leaf('rasd:AddressOnParent', 0),
        leaf('rasd:AutomaticAllocation', true),
        leaf('rasd:ElementName', 'CD/DVD Drive 1'),
        leaf('rasd:HostResource', vm.media?.name ?? ''),
        leaf('rasd:InstanceID', 3000),
        leaf('rasd:Parent', 3),
        leaf('rasd:ResourceType', 15),
      ),
      item(
        leaf('rasd:AllocationUnits', 'hertz * 10^6'),
        ...named(`${vm.cpu} virtual CPU(s)`, 4),
        ...quantity(3, vm.cpu),
      ),
      item(
        leaf('rasd:AllocationUnits', 'byte * 2^20'),
        ...named(`${vm.ramMb} MB of memory`, 5),
        ...quantity(4, vm.ramMb),
      ),
      this.#link('edit', `${this.href(vm)}/virtualHardwareSection/`, 'vcloud.virtualHardwareSection'),
    );
  }

  #card({ index, instanceId, network, ip, mode, isPrimary, mac }: Card): string[] {
    const attributes = {
      'vcloud:ipAddressingMode': mode,
      ...(ip === '' ? {} : { 'vcloud:ipAddress': ip }),
      'vcloud:primaryNetworkConnection': isPrimary,
    };
    return [
      leaf('rasd:Address', mac),
      leaf('rasd:AddressOnParent', index),
      leaf('rasd:AutomaticAllocation', true),
      element('rasd:Connection', attributes, escapeXml(network)),
      leaf('rasd:ElementName', `Network adapter ${index}`),
      leaf('rasd:InstanceID', instanceId),
      leaf('rasd:ResourceSubType', 'VMXNET3'),
      leaf('rasd:ResourceType', 10),
    ];
  }

  #hardDisk({ instanceId, unit, capacityMb, disk }: HardDisk): string[] {
    const attributes = {
      'vcloud:capacity': capacityMb,
      'vcloud:busSubType': 'VirtualSCSI',
      'vcloud:busType': 6,
      ...(disk === undefined ? {} : { 'vcloud:disk': this.href(disk) }),
    };
    return [
      leaf('rasd:AddressOnParent', unit),
      leaf('rasd:ElementName', `Hard disk ${instanceId - 1999}`),
      element('rasd:HostResource', attributes),
      leaf('rasd:InstanceID', instanceId),
      leaf('rasd:Parent', 2),
      leaf('rasd:ResourceType', 17),
    ];
  }

  #connections(vm: Vm): string {
    const href = `${this.href(vm)}/networkConnectionSection/`;
    const primary = vm.cards.find(({ isPrimary }) => isPrimary)?.index ?? 0;
    return element(
      'NetworkConnectionSection',
      { href, type: mediaType('vcloud.networkConnectionSection') },
      leaf('ovf:Info', 'Specifies the available VM network connections'),
      leaf('PrimaryNetworkConnectionIndex', primary),
      ...vm.cards.map(({ index, network, ip, mac, mode }) =>
        element(
          'NetworkConnection',
          { network, needsCustomization: true },
          leaf('NetworkConnectionIndex', index),
          ip === '' ? '' : leaf('IpAddress', ip),
          leaf('IsConnected', true),
          leaf('MACAddress', mac),
          leaf('IpAddressAllocationMode', mode),
        ),
      ),
      this.#link('edit', href, 'vcloud.networkConnectionSection'),
    );
  }

  metadata(owner: Vm | Disk): string {
    const entries = [...owner.metadata].map(([key, value]) =>
      element('MetadataEntry', {}, leaf('Key', key), this.#value(value)),
    );
    const href = `${this.href(owner)}/metadata`;
    return this.#root('Metadata', { href, type: mediaType('vcloud.metadata') }, ...entries);
  }

  metadataValue(value: string): string {
    return this.#root('MetadataValue', { type: mediaType('vcloud.metadata.value') }, this.#value(value));
  }

  #value(value: string): string {
    return element('TypedValue', { 'xsi:type': 'MetadataStringValue' }, leaf('Value', value));
  }
}

/** Tells what can be spoken, and where the way in is for each. */
export function versionsDocument(origin: string, versions: readonly string[]): string {
  const infos = versions.map((version) => {
    const path = Number(version) >= megabytesSince ? '/cloudapi/1.0.0/sessions' : '/api/sessions';
    return element('VersionInfo', {}, leaf('Version', version), leaf('LoginUrl', `${origin}${path}`));
  });
  const xmlns = 'http://www.vmware.com/vcloud/versions';
  return `<?xml version="1.0" encoding="UTF-8"?>${element('SupportedVersions', { xmlns }, ...infos)}`;
}
