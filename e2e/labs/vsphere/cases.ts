import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict';
import type { CallContext } from '@microbosh/cpi';
import { elementOrder } from '@microbosh/cpi-vsphere';
import { vsphereUnderTest } from '@microbosh/cpi-vsphere/testing';
import type { JsonObject } from '@microbosh/errors';
import type { NetworksSpec } from '@microbosh/spec';
import { contentOfIso } from '../clouds/iso-content.ts';
import type { LabCase } from '../clouds/lab-cases.ts';
import { govmomiTypes } from './vcsim.ts';
import type { VsphereView } from './vsphere-view.ts';

export interface VsphereLab {
  readonly vcenter: JsonObject;
  readonly image: string;
  readonly view: VsphereView;
}

export const vmProperties = { cpu: 2, ram: 512, disk: 1024 };

export const networks: NetworksSpec = {
  default: {
    type: 'manual',
    ip: '10.0.0.10',
    netmask: '255.255.255.0',
    gateway: '10.0.0.1',
    default: ['dns', 'gateway'],
    cloud_properties: { name: 'VM Network' },
  },
  second: {
    type: 'manual',
    ip: '10.0.1.10',
    netmask: '255.255.255.0',
    gateway: '10.0.1.1',
    cloud_properties: { name: 'DC0_DVPG0' },
  },
};

const context = (token?: string): CallContext => ({
  directorUuid: 'lab',
  requestId: 'cpi-1',
  stemcellApiVersion: 3,
  ...(token === undefined ? {} : { token }),
});

type Opened = ReturnType<typeof vsphereUnderTest>;

/** Fields of a Go struct by their names in XML, those of embedded structs in place. */
function goFields(source: string, type: string): string[] {
  const body = new RegExp(`^type ${type} struct \\{\\n([\\s\\S]*?)^\\}`, 'm').exec(source)?.[1];
  if (body === undefined) return [];
  return body.split('\n').flatMap((line) => {
    const embedded = /^\t(\w+)(?:\s+`.*`)?$/.exec(line)?.[1];
    if (embedded !== undefined) return goFields(source, embedded);
    const name = /xml:"([\w:]+)[,"]/.exec(line)?.[1];
    return name === undefined ? [] : [name];
  });
}

/** What vSphere does and other clouds do not. */
export function vsphereCases(lab: VsphereLab): readonly LabCase[] {
  const { view } = lab;

  async function withCpi<T>(properties: JsonObject, use: (opened: Opened) => Promise<T>): Promise<T> {
    const opened = vsphereUnderTest({ ...lab.vcenter, ...properties });
    try {
      return await use(opened);
    } finally {
      await opened.cpi.dispose();
    }
  }

  /** A VM, looked at and deleted with its stemcell. */
  async function withVm(
    use: (opened: Opened, cid: string, answered: NetworksSpec | undefined) => Promise<void>,
    change: { readonly cpi?: JsonObject; readonly vm?: JsonObject; readonly networks?: NetworksSpec } = {},
  ): Promise<void> {
    await withCpi(change.cpi ?? {}, async (opened) => {
      const { cpi } = opened;
      const stemcell = await cpi.createStemcell(context(), lab.image, {});
      try {
        const properties = { ...vmProperties, ...change.vm };
        const env = { bosh: { password: 'p' } };
        const wanted = change.networks ?? networks;
        const vm = await cpi.createVm(context(), 'agent-1', stemcell, properties, wanted, [], env);
        try {
          await use(opened, vm.cid, vm.networks);
        } finally {
          await cpi.deleteVm(context(), vm.cid);
        }
      } finally {
        await cpi.deleteStemcell(context(), stemcell);
      }
    });
  }

  return [
    {
      method: 'any',
      name: 'the order of elements is that of govmomi’s types',
      body: async () => {
        const source = await govmomiTypes();
        const seen = Object.entries(elementOrder).filter(([type, order]) => {
          // Methods have their parameters in a type of their own.
          const fields = [
            goFields(source, type),
            goFields(source, `${type.replace(/_Task$/, '')}RequestType`),
          ]
            .flat()
            .filter((name) => name !== '_this');
          if (fields.length === 0) return false;
          const places = order.map((name) => fields.indexOf(name));
          ok(!places.includes(-1), `${type} has no ${order[places.indexOf(-1)] ?? ''}`);
          deepStrictEqual(
            places,
            [...places].sort((a, b) => a - b),
            `${type}: ${order.join(', ')}`,
          );
          return true;
        });
        const judged = seen.filter(([, order]) => order.length > 0).length;
        ok(judged > 50, `only ${judged} classes were found`);
      },
    },
    {
      method: 'create_vm',
      name: 'the settings are on the CD-ROM and in the guestinfo, with the MACs of both networks',
      body: () =>
        withVm(async (_, cid, answered) => {
          const vm = await view.vm(cid);
          const settings = await contentOfIso(await view.download(vm.isoPath));
          deepStrictEqual(settings, JSON.parse(Buffer.from(vm.guestUserData, 'base64').toString('utf8')));
          deepStrictEqual(settings['networks'], answered);
          deepStrictEqual(
            Object.values(answered ?? {})
              .map(({ mac }) => mac)
              .sort(),
            [...vm.macs].sort(),
          );
          deepStrictEqual(settings['disks'], { system: '0', ephemeral: '1', persistent: {} });
          strictEqual(settings['agent_id'], 'agent-1');
          deepStrictEqual(settings['vm'], { name: cid, id: vm.id });
          strictEqual(settings['mbus'], 'https://u:p@0.0.0.0:6868');
        }),
    },
    {
      method: 'create_vm',
      name: 'CPUs, memory, disk and hardware version are those that were asked for',
      body: () =>
        withVm(async (_, cid) => {
          const vm = await view.vm(cid);
          deepStrictEqual([vm.cpus, vm.memoryMiB, vm.powerState], [2, 512, 'poweredOn']);
          ok(vm.version === 'vmx-17' || Number(vm.version.slice(4)) > 17, vm.version);
        }),
    },
    {
      method: 'attach_disk',
      name: 'with disk.enableUUID disks are known by their UUID',
      body: () =>
        withVm(
          async ({ cpi }, cid) => {
            const disk = await cpi.createDisk(context(), 1024, {}, cid);
            const hint = await cpi.attachDisk(context(), cid, disk);
            match(JSON.stringify(hint), /^\{"id":"[0-9a-f-]{36}"\}$/);
            await cpi.detachDisk(context(), cid, disk);
            await cpi.deleteDisk(context(), disk);
          },
          { vm: { vmx_options: { 'disk.enableUUID': 1 } } },
        ),
    },
    {
      method: 'attach_disk',
      name: 'a persistent disk outlives its VM, and an attached one is not given to another',
      body: () =>
        withVm(async ({ cpi }, first) => {
          const disk = await cpi.createDisk(context(), 1024, { type: 'thin' }, first);
          await cpi.attachDisk(context(), first, disk);
          await withVm(
            async (_, second) => rejects(cpi.attachDisk(context(), second, disk), /attached to another VM/),
            { cpi: { ensure_no_ip_conflicts: false } },
          );
          await cpi.detachDisk(context(), first, disk);
          await withVm(
            async ({ cpi: own }, second) => {
              await own.attachDisk(context(), second, disk);
            },
            { cpi: { ensure_no_ip_conflicts: false } },
          );
          strictEqual(await cpi.hasDisk(context(), disk), true);
          await cpi.deleteDisk(context(), disk);
        }),
    },
    {
      method: 'create_vm',
      name: 'a stemcell is copied to a datastore of its own when the VM goes there',
      body: () =>
        withCpi({}, async ({ cpi }) => {
          const stemcell = await cpi.createStemcell(context(), lab.image, {});
          const [first] = lab.vcenter['datacenters'] as JsonObject[];
          const elsewhere = { datacenters: [{ ...first, datastore_pattern: '^LocalDS_1$' }] };
          try {
            await withCpi(elsewhere, async ({ cpi: other }) => {
              const vm = await other.createVm(context(), 'a', stemcell, vmProperties, networks, [], {});
              const copies = (await view.everything()).filter((thing) => thing.startsWith(`vm ${stemcell}`));
              await other.deleteVm(context(), vm.cid);
              strictEqual(copies.length, 2);
            });
          } finally {
            await cpi.deleteStemcell(context(), stemcell);
          }
        }),
    },
    ...(
      [
        [
          'a network',
          { networks: { default: { cloud_properties: { name: 'none' } } } },
          /Network 'none' not found/,
        ],
        ['cpu', { vm: { cpu: 0 } }, /Must specify 'cpu' in VM cloud properties/],
        ['room', { vm: { disk: 2 ** 40 } }, /No valid placement found/],
      ] as const
    ).map(([what, change, message]) => ({
      method: 'create_vm',
      name: `${what} that is not there is refused`,
      body: () =>
        rejects(
          withVm(async () => undefined, change as never),
          message,
        ),
    })),
    {
      method: 'create_vm',
      name: 'a cluster and a datacenter that are not there are named',
      body: async () => {
        const [first] = lab.vcenter['datacenters'] as JsonObject[];
        const made = (change: JsonObject) =>
          withCpi({ datacenters: [{ ...first, ...change }] }, ({ cpi }) =>
            cpi.createDisk(context(), 1024, {}, null),
          );
        await rejects(made({ clusters: ['none'] }), /Cluster 'none' not found in datacenter 'DC0'/);
        await rejects(made({ name: 'none' }), /Datacenter 'none' not found/);
      },
    },
    {
      method: 'any',
      name: 'a wrong password is tried once, and is not told',
      body: () =>
        withCpi({ password: 'wrong-password' }, async ({ cpi, client }) => {
          await rejects(cpi.hasVm(context(), 'vm-0'), (error: Error) => {
            match(error.message, /InvalidLogin/);
            ok(!JSON.stringify(error).includes('wrong-password'));
            return true;
          });
          deepStrictEqual(client.calls, ['RetrieveServiceContent', 'Login']);
        }),
    },
    {
      method: 'any',
      name: 'a certificate that nobody vouches for is refused, with what to do',
      body: () =>
        withCpi({ connection_options: {} }, async ({ cpi }) => {
          await rejects(cpi.hasVm(context(), 'vm-0'), (error: { readonly advice?: string }) => {
            match(error.advice ?? '', /connection_options\.ca_cert/);
            return true;
          });
        }),
    },
    {
      method: 'any',
      name: 'a session that the server has forgotten is opened again',
      body: () =>
        withCpi({}, async ({ cpi, client }) => {
          await cpi.hasVm(context(), 'vm-0');
          await view.endSessionsOf(client);
          strictEqual(await cpi.hasVm(context(), 'vm-0'), false);
          strictEqual(client.calls.filter((method) => method === 'Login').length, 2);
        }),
    },
    {
      method: 'any',
      name: 'what carries the metadata of a deployment is found again',
      body: () =>
        withVm(async ({ cpi }, vm) => {
          const metadata = { deployment: 'found', director: 'lab' };
          const disk = await cpi.createDisk(context(), 1024, {}, vm);
          await cpi.setVmMetadata(context(), vm, metadata);
          await cpi.attachDisk(context(), vm, disk);
          const found = await cpi.findByMetadata(context(), metadata);
          deepStrictEqual(
            found.map(({ kind, cid }) => [kind, cid]),
            [
              ['vm', vm],
              ['disk', disk],
            ],
          );
          await cpi.detachDisk(context(), vm, disk);
          await cpi.deleteDisk(context(), disk);
        }),
    },
  ];
}
