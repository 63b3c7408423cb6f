import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { VmNotFound } from '@microbosh/cpi';
import type { CallContext } from '@microbosh/cpi';
import { vcloudUnderTest } from '@microbosh/cpi-vcloud/testing';
import type { JsonObject } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';
import type { NetworksSpec } from '@microbosh/spec';
import { contentOfIso } from '../clouds/iso-content.ts';
import type { LabCase } from '../clouds/lab-cases.ts';
import type { Vm } from './stub/state.ts';
import type { VcloudStub } from './stub/vcloud-stub.ts';
import type { VcloudView } from './vcloud-view.ts';

export interface VcloudLab {
  readonly vcd: JsonObject;
  readonly image: string;
  readonly stub: VcloudStub;
  readonly view: VcloudView;
  /** A folder for what a case needs. */
  readonly work: string;
}

export const vmProperties = { cpu: 2, ram: 512, disk: 1024 };

export const networks: NetworksSpec = {
  default: {
    ...{ type: 'manual', ip: '10.0.0.10', netmask: '255.255.255.0', gateway: '10.0.0.1' },
    default: ['dns', 'gateway'],
    cloud_properties: { name: 'lab-net' },
  },
  second: {
    ...{ type: 'manual', ip: '10.0.1.10', netmask: '255.255.255.0', gateway: '10.0.1.1' },
    cloud_properties: { name: 'second-net' },
  },
};

const context = (token?: string): CallContext => ({
  ...{ directorUuid: 'lab', requestId: 'cpi-1', stemcellApiVersion: 3 },
  ...(token === undefined ? {} : { token }),
});

type Opened = ReturnType<typeof vcloudUnderTest>;

/** What vCloud Director does and other clouds do not. */
export function vcloudCases(lab: VcloudLab): readonly LabCase[] {
  const { stub } = lab;

  async function withCpi<T>(properties: JsonObject, use: (opened: Opened) => Promise<T>): Promise<T> {
    const opened = vcloudUnderTest({ ...lab.vcd, ...properties });
    try {
      return await use(opened);
    } finally {
      await opened.cpi.dispose();
    }
  }

  const vmOf = (cid: string): Vm => stub.state.of('vm', cid.split(':').at(-1) ?? '');

  const settingsOn = (cid: string): Promise<JsonObject> =>
    contentOfIso(vmOf(cid).media?.content ?? Buffer.alloc(0));

  /** A VM, looked at and deleted with its stemcell. */
  async function withVm(
    use: (opened: Opened, cid: string, answered: NetworksSpec | undefined) => Promise<void>,
    change: {
      readonly cpi?: JsonObject;
      readonly vm?: JsonObject;
      readonly networks?: NetworksSpec;
      readonly env?: JsonObject;
    } = {},
  ): Promise<void> {
    await withCpi(change.cpi ?? {}, async (opened) => {
      const { cpi } = opened;
      const stemcell = await cpi.createStemcell(context(), lab.image, {});
      try {
        const properties = { ...vmProperties, ...change.vm };
        const env = { bosh: { password: 'p' }, ...change.env };
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

  /** The versions that the server offers for the time of a case. */
  async function offering(versions: readonly string[], body: () => Promise<void>): Promise<void> {
    const before = stub.versions;
    stub.versions = versions;
    try {
      await body();
    } finally {
      stub.versions = before;
    }
  }

  const withEntities = (change: JsonObject): JsonObject => ({
    entities: { ...(lab.vcd['entities'] as JsonObject), ...change },
  });

  return [
    {
      method: 'create_vm',
      name: 'the settings are on the CD-ROM and in the metadata, with the MACs of both networks',
      body: () =>
        withVm(async (_, cid, answered) => {
          const vm = vmOf(cid);
          const settings = await settingsOn(cid);
          deepStrictEqual(settings, JSON.parse(vm.metadata.get('vcd-cf') ?? ''));
          deepStrictEqual(settings['networks'], answered);
          deepStrictEqual(
            Object.values(answered ?? {}).map(({ mac }) => mac),
            vm.cards.map(({ mac }) => mac),
          );
          deepStrictEqual(settings['disks'], { system: '0', ephemeral: '1', persistent: {} });
          deepStrictEqual(settings['vm'], { name: vm.name, id: cid });
          strictEqual(settings['agent_id'], 'agent-1');
          strictEqual(settings['mbus'], 'https://u:p@0.0.0.0:6868');
        }),
    },
    {
      method: 'create_vm',
      name: 'CPUs, memory, disk and networks are those that were asked for, and the template’s network is gone',
      body: () =>
        withVm(async (_, cid) => {
          const vm = vmOf(cid);
          deepStrictEqual([vm.cpu, vm.ramMb, vm.status, vm.deployed], [2, 512, 4, true]);
          deepStrictEqual(
            vm.disks.map(({ unit, capacityMb }) => [unit, capacityMb]),
            [
              [0, 3072],
              [1, 1024],
            ],
          );
          deepStrictEqual(
            vm.cards.map(({ network, ip, mode, isPrimary }) => [network, ip, mode, isPrimary]),
            [
              ['lab-net', '10.0.0.10', 'MANUAL', true],
              ['second-net', '10.0.1.10', 'MANUAL', false],
            ],
          );
          deepStrictEqual([...vm.vApp.networks.keys()], ['lab-net', 'second-net']);
        }),
    },
    {
      method: 'attach_disk',
      name: 'the settings on the CD-ROM and in the metadata follow the disks',
      body: () =>
        withVm(async ({ cpi }, cid) => {
          const disk = await cpi.createDisk(context(), 1024, {}, cid);
          const first = vmOf(cid).media;
          strictEqual(await cpi.attachDisk(context(), cid, disk), '2');
          const persistent = async () => ((await settingsOn(cid))['disks'] as JsonObject)['persistent'];
          deepStrictEqual(await persistent(), { [disk]: '2' });
          ok(vmOf(cid).media !== first, 'the old medium is in the drive');
          strictEqual(stub.state.entities.filter(({ kind }) => kind === 'media').length, 1);
          await cpi.detachDisk(context(), cid, disk);
          deepStrictEqual(await persistent(), {});
          await cpi.deleteDisk(context(), disk);
        }),
    },
    {
      method: 'attach_disk',
      name: 'a disk of another VM is not taken away from it, and outlives its own',
      body: () =>
        withVm(async ({ cpi }, first) => {
          const disk = await cpi.createDisk(context(), 1024, {}, first);
          await cpi.attachDisk(context(), first, disk);
          await withVm(async (_, second) => rejects(cpi.attachDisk(context(), second, disk), /is attached/));
          await cpi.detachDisk(context(), first, disk);
          await withVm(async ({ cpi: own }, second) => {
            await own.attachDisk(context(), second, disk);
          });
          strictEqual(await cpi.hasDisk(context(), disk), true);
          await cpi.deleteDisk(context(), disk);
        }),
    },
    {
      method: 'create_vm',
      name: 'VMs with the same env.vapp are in one vApp, from which each is deleted alone',
      body: () =>
        withVm(
          async (_, first) => {
            await withVm(
              async (__, second) => {
                strictEqual(vmOf(first).vApp, vmOf(second).vApp);
                strictEqual(vmOf(first).vApp.name, 'collected');
                strictEqual((await settingsOn(second))['agent_id'], 'agent-1');
              },
              { env: { vapp: 'collected' } },
            );
            const { vApp } = vmOf(first);
            strictEqual(vApp.vms.length, 1);
            stub.state.things.delete(vApp.id);
          },
          { env: { vapp: 'collected' } },
        ),
    },
    {
      method: 'reboot_vm',
      name: 'a VM that is suspended, off or on is on afterwards',
      body: () =>
        withVm(async ({ cpi }, cid) => {
          for (const status of [3, 8, 4]) {
            vmOf(cid).status = status;
            await cpi.rebootVm(context(), cid);
            deepStrictEqual([vmOf(cid).status, vmOf(cid).deployed], [4, true]);
          }
        }),
    },
    ...[3, 8].map((status) => ({
      method: 'delete_vm',
      name: `a VM that is ${status === 3 ? 'suspended' : 'switched off but deployed'} is deleted, with its vApp, media and items`,
      body: () =>
        withVm(async (_, cid) => {
          vmOf(cid).status = status;
        }).catch((error: unknown) => {
          throw error;
        }),
    })),
    ...[['5.1'], ['5.5', '29.0'], ['31.0'], ['33.0', '36.3'], ['37.0', '39.0.0-alpha']].map((versions) => ({
      method: 'any',
      name: `a VM with a disk on a server that offers ${versions.join(' and ')}`,
      body: () =>
        offering(versions, () =>
          withVm(async ({ cpi, client }, cid) => {
            const { name } = await client.version(undefined);
            strictEqual(
              name,
              versions.findLast((version) => !version.includes('-')),
            );
            const disk = await cpi.createDisk(context(), 1024, {}, cid);
            await cpi.resizeDisk(context(), disk, 2048);
            await cpi.attachDisk(context(), cid, disk);
            strictEqual(vmOf(cid).disks.at(-1)?.capacityMb, 2048);
            await cpi.detachDisk(context(), cid, disk);
            await cpi.deleteDisk(context(), disk);
          }),
        ),
    })),
    {
      method: 'any',
      name: 'a server that offers no known version is told with what it offers',
      body: () =>
        offering(['1.0', '99.0'], () =>
          withCpi({}, async ({ cpi }) => {
            await rejects(cpi.hasVm(context(), 'urn:vcloud:vm:0'), (error: { readonly advice?: string }) => {
              match(error.advice ?? '', /It offers: 1\.0, 99\.0/);
              return true;
            });
          }),
        ),
    },
    {
      method: 'any',
      name: 'a wrong password is tried once, and is not told',
      body: () =>
        withCpi({ password: 'wrong-password' }, async ({ cpi, client }) => {
          await rejects(cpi.hasVm(context(), 'urn:vcloud:vm:0'), (error: Error) => {
            match(error.message, /status 401/);
            ok(!JSON.stringify(error).includes('wrong-password'));
            return true;
          });
          deepStrictEqual(client.calls, ['GET /api/versions', 'POST /api/sessions']);
        }),
    },
    {
      method: 'any',
      name: 'a certificate that nobody vouches for is refused, with what to do',
      body: () =>
        withCpi({ connection_options: {} }, async ({ cpi }) => {
          await rejects(cpi.hasVm(context(), 'urn:vcloud:vm:0'), (error: { readonly advice?: string }) => {
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
          const absent = 'urn:vcloud:vm:00000000-0000-4000-8000-000000000000';
          await cpi.hasVm(context(), absent);
          stub.endSessions();
          strictEqual(await cpi.hasVm(context(), absent), false);
          strictEqual(client.calls.filter((call) => call === 'POST /api/sessions').length, 2);
        }),
    },
    {
      method: 'create_vm',
      name: 'profiles are those that are named; one that is not there is left to the datacenter',
      body: () =>
        withVm(async () => undefined, {
          cpi: withEntities({ vapp_storage_profile: 'silver', media_storage_profile: 'none' }),
        }),
    },
    ...(
      [
        [
          'a network that is not there',
          { networks: { default: { type: 'manual', ip: '10.0.0.9', cloud_properties: { name: 'none' } } } },
          /Network none not accessible to VDC lab-vdc/,
        ],
        [
          'a network without an address',
          { networks: { default: { type: 'dynamic', cloud_properties: { name: 'lab-net' } } } },
          /has no address/,
        ],
        [
          'a vip network',
          { networks: { default: { type: 'vip', ip: '10.0.0.9', cloud_properties: {} } } },
          /vip network/,
        ],
        ['no memory', { vm: { ram: 0 } }, /Missing VM cloud properties: 'ram'/],
      ] as const
    ).map(([what, change, message]) => ({
      method: 'create_vm',
      name: `${what} is refused before anything is made`,
      body: () =>
        rejects(
          withVm(async () => undefined, change),
          message,
        ),
    })),
    {
      method: 'create_vm',
      name: 'a datacenter and an organization that are not there are named',
      body: async () => {
        const made = (change: JsonObject) =>
          withCpi(withEntities(change), ({ cpi }) => cpi.createDisk(context(), 1024, {}, null));
        await rejects(
          made({ virtual_datacenter: 'none' }),
          /Virtual datacenter 'none' not found in 'lab-org'/,
        );
        await rejects(made({ organization: 'none' }), /status 401/);
      },
    },
    {
      method: 'create_stemcell',
      name: 'an image with no descriptor is refused',
      body: async () => {
        const disk = join(lab.work, 'only.vmdk');
        await writeFile(disk, 'KDMV');
        const image = join(lab.work, 'no-descriptor');
        await new NodeCommandRunner().run(['tar', '-czf', image, '-C', lab.work, 'only.vmdk']);
        await withCpi({}, ({ cpi }) =>
          rejects(cpi.createStemcell(context(), image, {}), /Invalid stemcell image: having 0 \.ovf files/),
        );
      },
    },
    {
      method: 'create_stemcell',
      name: 'a catalog that is not there is made, and stays',
      body: () =>
        withCpi(withEntities({ vapp_catalog: 'made-for-it' }), async ({ cpi }) => {
          const stemcell = await cpi.createStemcell(context(), lab.image, {});
          ok(stub.state.catalogs.some(({ name }) => name === 'made-for-it'));
          await cpi.deleteStemcell(context(), stemcell);
        }),
    },
    {
      method: 'has_vm',
      name: 'a cid that is no URN names nothing, and reaches no other path',
      body: () =>
        withCpi({}, async ({ cpi, client }) => {
          for (const cid of ['vm-1', 'urn:vcloud:vm:1/../../session', 'urn:vcloud:vm:?x', '../org'])
            strictEqual(await cpi.hasVm(context(), cid), false);
          deepStrictEqual(client.calls, []);
        }),
    },
    {
      method: 'delete_vm',
      name: 'a VM that is not there is said to be absent',
      body: () =>
        withCpi({}, ({ cpi }) =>
          rejects(cpi.deleteVm(context(), 'urn:vcloud:vm:00000000-0000-4000-8000-000000000000'), VmNotFound),
        ),
    },
    {
      method: 'any',
      name: 'what carries the metadata of a deployment is found again',
      body: () =>
        withVm(async ({ cpi }, vm) => {
          const metadata = { deployment: 'found', director: 'lab' };
          const disk = await cpi.createDisk(context(), 1024, {}, vm);
          await cpi.setVmMetadata(context(), vm, metadata);
          await cpi.setDiskMetadata(context(), disk, metadata);
          deepStrictEqual(await cpi.findByMetadata(context(), metadata), [
            { kind: 'vm', cid: vm },
            { kind: 'disk', cid: disk, sizeMiB: 1024, cloudProperties: {} },
          ]);
          await cpi.deleteDisk(context(), disk);
        }),
    },
  ];
}
