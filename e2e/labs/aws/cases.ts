import { EBSClient, GetSnapshotBlockCommand, ListSnapshotBlocksCommand } from '@aws-sdk/client-ebs';
import { CloudError, VmCreationFailed } from '@microbosh/cpi';
import type { CallContext, CpiError } from '@microbosh/cpi';
import { awsUnderTest } from '@microbosh/cpi-aws/testing';
import type { JsonObject } from '@microbosh/errors';
import type { NetworksSpec } from '@microbosh/spec';
import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { request } from 'undici';
import type { LabCase } from '../clouds/lab-cases.ts';
import type { AwsPlace, AwsView } from './aws-view.ts';

export interface AwsLab {
  readonly endpoint: string;
  readonly place: AwsPlace;
  readonly image: { readonly path: string };
  readonly view: AwsView;
}

const context = (token?: string): CallContext => ({
  directorUuid: 'lab',
  requestId: 'cpi-1',
  stemcellApiVersion: 3,
  ...(token === undefined ? {} : { token }),
});

export function dynamicNetwork(place: AwsPlace): NetworksSpec {
  return { default: { type: 'dynamic', cloud_properties: { subnet: place.subnetId } } };
}

export function vmProperties(place: AwsPlace): JsonObject {
  return {
    instance_type: 't3.micro',
    availability_zone: place.zone,
    key_name: place.keyName,
    security_groups: [place.securityGroup],
  };
}

const blockBytes = 512 * 1024;

/** What AWS does and other clouds do not. */
export function awsCases(lab: AwsLab): readonly LabCase[] {
  const { endpoint, place, view } = lab;
  const light = { ami: { 'us-east-1': place.amiId } };
  const open = (properties?: Readonly<Record<string, unknown>>) => awsUnderTest(endpoint, properties);

  /** A VM of a light stemcell, looked at and deleted. */
  async function withVm(
    properties: JsonObject,
    networks: NetworksSpec,
    look: (cid: string, networks: NetworksSpec | undefined) => Promise<void>,
    cpiProperties: Readonly<Record<string, unknown>> = {},
  ): Promise<void> {
    const cpi = open(cpiProperties);
    const stemcell = await cpi.createStemcell(context(), '', light);
    const all = { ...vmProperties(place), ...properties };
    const env = { bosh: { tags: { from: 'env', both: 'env' } } };
    const vm = await cpi.createVm(context(), 'agent-1', stemcell, all, networks, [], env);
    try {
      await look(vm.cid, vm.networks);
    } finally {
      await cpi.deleteVm(context(), vm.cid);
    }
  }

  async function refused(properties: JsonObject, networks: NetworksSpec, message: RegExp): Promise<void> {
    const never = withVm(properties, networks, async () => undefined);
    await rejects(never, (error: CpiError) => message.test(error.message) || Promise.reject(error));
  }

  return [
    {
      method: 'create_stemcell',
      name: 'a heavy stemcell arrives block by block, without its zeros',
      body: async () => {
        const cpi = open();
        const cid = await cpi.createStemcell(context('heavy'), lab.image.path, { name: 's', version: '1' });
        try {
          const snapshotId = (await view.image(cid))?.BlockDeviceMappings?.find(({ Ebs }) => Ebs)?.Ebs
            ?.SnapshotId;
          const credentials = { accessKeyId: 'lab', secretAccessKey: 'lab-secret' };
          const ebs = new EBSClient({ endpoint, region: 'us-east-1', credentials });
          const { Blocks = [] } = await ebs.send(new ListSnapshotBlocksCommand({ SnapshotId: snapshotId }));
          deepStrictEqual(Blocks.map(({ BlockIndex }) => BlockIndex).sort(), [0, 1, 4]);
          const disk = await readFile(join(dirname(lab.image.path), 'root.img'));
          for (const { BlockIndex = 0, BlockToken } of Blocks) {
            const { BlockData } = await ebs.send(
              new GetSnapshotBlockCommand({ SnapshotId: snapshotId, BlockIndex, BlockToken }),
            );
            const content = Buffer.from((await BlockData?.transformToByteArray()) ?? []);
            const expected = disk.subarray(BlockIndex * blockBytes, (BlockIndex + 1) * blockBytes);
            ok(content.equals(expected), `block ${BlockIndex} differs`);
          }
        } finally {
          await cpi.deleteStemcell(context(), cid);
        }
      },
    },
    {
      method: 'create_stemcell',
      name: 'a light stemcell is the AMI of the region; an encrypted one is a copy of its own',
      body: async () => {
        strictEqual(await open().createStemcell(context(), '', light), `${place.amiId} light`);
        const cpi = open({ encrypted: true });
        const copy = await cpi.createStemcell(context('copy'), '', light);
        ok(/^ami-\w+$/.test(copy) && copy !== place.amiId, copy);
        strictEqual(await cpi.findByToken(context(), 'stemcell', 'copy'), copy);
        await cpi.deleteStemcell(context(), copy);
        strictEqual(await cpi.findByToken(context(), 'stemcell', 'copy'), undefined);
      },
    },
    {
      method: 'create_stemcell',
      name: 'a light stemcell without an AMI of the region is refused',
      body: () =>
        rejects(
          open().createStemcell(context(), '', { ami: { 'us-east-1': 'ami-00000000000000000' } }),
          CloudError,
        ),
    },
    {
      method: 'create_vm',
      name: 'the agent is told everything in the user data',
      body: () =>
        withVm({}, dynamicNetwork(place), async (cid, networks) => {
          const data = JSON.parse((await view.userData(cid)).toString('utf8')) as JsonObject;
          const nic = (await view.instance(cid))?.NetworkInterfaces?.[0];
          strictEqual(networks?.['default']?.mac, nic?.MacAddress);
          strictEqual(data['agent_id'], 'agent-1');
          strictEqual(data['mbus'], 'https://u:p@0.0.0.0:6868');
          deepStrictEqual((data['networks'] as JsonObject)['default'], {
            ...dynamicNetwork(place)['default'],
            use_dhcp: true,
            mac: nic?.MacAddress,
          });
          strictEqual((data['disks'] as JsonObject)['ephemeral'], '/dev/sdb');
        }),
    },
    {
      method: 'create_vm',
      name: 'a manual network has its address, and a second one its own interface',
      body: () =>
        withVm(
          {},
          {
            ...dynamicNetwork(place),
            inner: { type: 'manual', ip: place.freeIp, cloud_properties: { subnet: place.subnetId } },
          },
          async (cid) => {
            const nics = (await view.instance(cid))?.NetworkInterfaces ?? [];
            strictEqual(nics.length, 2);
            ok(nics.some(({ PrivateIpAddress }) => PrivateIpAddress === place.freeIp));
          },
        ),
    },
    {
      method: 'create_vm',
      name: 'tags of the VM win over those of env, and volumes carry them',
      body: () =>
        withVm({ tags: { both: 'vm' } }, dynamicNetwork(place), async (cid) => {
          const tags = (await view.instance(cid))?.Tags ?? [];
          const of = (key: string) => tags.find(({ Key }) => Key === key)?.Value;
          deepStrictEqual([of('from'), of('both')], ['env', 'vm']);
        }),
    },
    {
      method: 'create_vm',
      name: 'ephemeral and root disk have the size, type and key that were asked for',
      body: () =>
        withVm(
          {
            ephemeral_disk: { size: 20_000, type: 'gp3', iops: 4000, throughput: 200, encrypted: true },
            root_disk: { size: 40_000 },
          },
          dynamicNetwork(place),
          async (cid) => {
            const volumes = await view.volumesOf(cid);
            deepStrictEqual(
              volumes.map(({ Size, VolumeType, Encrypted }) => [Size, VolumeType, Encrypted]).sort(),
              [
                [20, 'gp3', true],
                [40, 'gp3', false],
              ],
            );
          },
        ),
    },
    {
      method: 'create_vm',
      name: 'metadata options of the VM go over those of the configuration',
      body: () =>
        withVm(
          { metadata_options: { http_tokens: 'required' } },
          dynamicNetwork(place),
          async (cid) => {
            const options = (await view.instance(cid))?.MetadataOptions;
            deepStrictEqual([options?.HttpTokens, options?.HttpPutResponseHopLimit], ['required', 2]);
          },
          { metadata_options: { http_tokens: 'optional', http_put_response_hop_limit: 2 } },
        ),
    },
    {
      method: 'create_vm',
      name: 'an instance profile is put on it, and an unknown one is refused',
      body: async () => {
        await view.createInstanceProfile('lab-profile');
        await withVm({ iam_instance_profile: 'lab-profile' }, dynamicNetwork(place), async (cid) => {
          ok((await view.instance(cid))?.IamInstanceProfile?.Arn?.endsWith('/lab-profile'));
        });
        await refused({ iam_instance_profile: 'no-profile' }, dynamicNetwork(place), /no-profile/);
      },
    },
    {
      method: 'create_vm',
      name: 'a spot instance is asked for with its price',
      body: () =>
        withVm({ spot_bid_price: 0.03 }, dynamicNetwork(place), async (cid) => {
          strictEqual((await view.instance(cid))?.InstanceLifecycle, 'spot');
        }),
    },
    {
      method: 'create_vm',
      name: 'the instance is put into its target group, and not made for one that is not there',
      body: async () => {
        const targets = await view.createTargetGroup('lab-group');
        await withVm({ lb_target_groups: ['lab-group'] }, dynamicNetwork(place), async (cid) => {
          deepStrictEqual(await targets(), [cid]);
        });
        await refused({ lb_target_groups: ['no-group'] }, dynamicNetwork(place), /no-group/);
      },
    },
    ...(
      [
        ['a key pair that is not there', { key_name: 'no-key' }, /no-key/],
        [
          'a security group that is not there',
          { security_groups: ['no-group'] },
          /Security group not found.*no-group/,
        ],
        ['an instance type that is not there', { instance_type: 'x9.tiny' }, /x9\.tiny/],
        [
          'a zone where its subnet is not',
          { availability_zone: 'us-east-1b' },
          /multiple availability zones/,
        ],
      ] as const
    ).map(([what, properties, message]) => ({
      method: 'create_vm',
      name: `${what} is refused`,
      body: () => refused(properties, dynamicNetwork(place), message),
    })),
    {
      method: 'create_vm',
      name: 'a subnet or an elastic IP that is not there is refused',
      body: async () => {
        const subnet = { default: { type: 'dynamic' as const, cloud_properties: { subnet: 'subnet-0' } } };
        await refused({}, subnet, /Subnet not found: subnet-0/);
        const vip = { ...dynamicNetwork(place), public: { type: 'vip' as const, ip: '203.0.113.99' } };
        await refused({}, vip, /Elastic IP with VPC scope not found/);
      },
    },
    {
      method: 'create_vm',
      name: 'user data beyond 16 KiB is refused before anything is made',
      body: async () => {
        const cpi = open();
        const env = { bosh: { authorized_keys: ['x'.repeat(17_000)] } };
        const made = cpi.createVm(
          context(),
          'agent',
          `${place.amiId} light`,
          vmProperties(place),
          dynamicNetwork(place),
          [],
          env,
        );
        await rejects(made, VmCreationFailed);
      },
    },
    {
      method: 'create_disk',
      name: 'type, iops, throughput, encryption and tags are those of the properties',
      body: async () => {
        const cpi = open();
        const properties = { type: 'gp3', iops: 4000, throughput: 250, encrypted: true, tags: { a: 'b' } };
        const cid = await cpi.createDisk(context(), 1500, properties, null);
        const volume = await view.volume(cid);
        const { Size, VolumeType, Iops, Throughput, Encrypted } = volume ?? {};
        deepStrictEqual([Size, VolumeType, Iops, Throughput, Encrypted], [2, 'gp3', 4000, 250, true]);
        ok(volume?.Tags?.some(({ Key, Value }) => Key === 'a' && Value === 'b'));
        await cpi.deleteDisk(context(), cid);
      },
    },
    {
      method: 'attach_disk',
      name: 'a disk of another VM is not taken away from it',
      body: async () => {
        const cpi = open();
        const disk = await cpi.createDisk(context(), 1024, {}, null);
        try {
          await withVm({}, dynamicNetwork(place), async (first) => {
            const zone = (await view.volume(disk))?.AvailabilityZone;
            strictEqual(zone !== undefined, true);
            await cpi.attachDisk(context(), first, disk);
            await withVm({}, dynamicNetwork(place), async (second) => {
              await rejects(cpi.attachDisk(context(), second, disk), /is attached to/);
            });
          });
        } finally {
          await cpi.deleteDisk(context(), disk);
        }
      },
    },
    {
      method: 'any',
      name: 'what carries the metadata of a deployment is found again',
      body: async () => {
        const cpi = open();
        await withVm({}, dynamicNetwork(place), async (vm) => {
          const metadata = { deployment: 'found', director: 'lab' };
          const disk = await cpi.createDisk(context(), 1024, {}, vm);
          await cpi.setVmMetadata(context(), vm, metadata);
          await cpi.setDiskMetadata(context(), disk, metadata);
          await cpi.attachDisk(context(), vm, disk);
          const found = await cpi.findByMetadata(context(), metadata);
          deepStrictEqual(
            found.map(({ kind, cid }) => [kind, cid]),
            [
              ['vm', vm],
              ['disk', disk],
              ['stemcell', `${place.amiId} light`],
            ],
          );
          await cpi.detachDisk(context(), vm, disk);
          await cpi.deleteDisk(context(), disk);
        });
      },
    },
    {
      method: 'any',
      name: 'credentials: a session, an assumed role, the profile of the instance',
      body: async () => {
        process.env['AWS_ENDPOINT_URL_STS'] = endpoint;
        process.env['AWS_EC2_METADATA_SERVICE_ENDPOINT'] = endpoint;
        const role_arn = 'arn:aws:iam::123456789012:role/lab';
        const profile = {
          credentials_source: 'env_or_profile',
          access_key_id: undefined,
          secret_access_key: undefined,
        };
        for (const properties of [{ session_token: 'session' }, { role_arn }, profile]) {
          strictEqual(await open(properties).hasVm(context(), 'i-00000000000000000'), false);
        }
        const seen = await request(`${endpoint}/latest/meta-data/iam/security-credentials/`);
        ok((await seen.body.text()).length > 0);
      },
    },
  ];
}
