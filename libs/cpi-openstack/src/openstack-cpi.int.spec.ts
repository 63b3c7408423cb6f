import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { contractChecks } from '@microbosh/cpi';
import type { CallContext, Cpi } from '@microbosh/cpi';
import { NodeCommandRunner } from '@microbosh/host';
import type { NetworksSpec } from '@microbosh/spec';
import { FakeOpenstack } from './testing/fake-openstack.ts';
import { openstackUnderTest } from './testing/openstack-under-test.ts';

let directory: string;
let image: string;
let cloud: FakeOpenstack;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'microbosh-openstack-cpi-'));
  image = join(directory, 'image');
  await writeFile(join(directory, 'root.img'), randomBytes(100_000));
  await new NodeCommandRunner().run(['tar', '-czf', image, '-C', directory, 'root.img']);
  cloud = await FakeOpenstack.start();
});
afterAll(async () => {
  await cloud.stop();
  await rm(directory, { recursive: true, force: true });
});

const context = (token?: string): CallContext => ({
  directorUuid: 'd',
  requestId: 'r',
  stemcellApiVersion: 3,
  ...(token === undefined ? {} : { token }),
});
const manual = (ip: string): NetworksSpec => ({
  default: {
    type: 'manual',
    ip,
    netmask: '255.255.255.0',
    gateway: '10.77.0.1',
    default: ['dns', 'gateway'],
    cloud_properties: { net_id: cloud.networkId },
  },
});
const textOf = (value: unknown) => (typeof value === 'string' ? value : '');
const absentId = '00000000-0000-4000-8000-000000000000';

function open(properties?: Readonly<Record<string, unknown>>) {
  return openstackUnderTest(cloud.authUrl, properties).cpi;
}

async function stemcell(cpi: Cpi): Promise<string> {
  return cpi.createStemcell(context(), image, { disk_format: 'raw', name: 's', version: '1' });
}

describe('the contract on the fake', () => {
  const cpi = new Proxy({} as Cpi, {
    get: (_, property) => {
      const made = open();
      const member: unknown = Reflect.get(made, property, made);
      return typeof member === 'function' ? (member.bind(made) as unknown) : member;
    },
  });
  const checks = contractChecks(cpi, {
    get imagePath() {
      return image;
    },
    stemcellCloudProperties: { disk_format: 'raw', name: 's', version: '1' },
    vmCloudProperties: { instance_type: 'm1.small' },
    get networks() {
      return manual('10.77.0.10');
    },
    diskCloudProperties: {},
    diskSizeMiB: 1024,
    knowsTokens: true,
    absent: { vm: absentId, disk: absentId, stemcell: absentId },
  });
  for (const check of checks) it(check.name, () => check.run());

  it('leaves nothing behind', () => {
    expect(cloud.leftovers()).toEqual([]);
  });
});

describe('create_vm', () => {
  const vm = async (
    cpi: Cpi,
    image: string,
    properties: Readonly<Record<string, unknown>>,
    networks: NetworksSpec,
    disks: string[] = [],
  ) => {
    const all = { instance_type: 'm1.small', ...properties } as never;
    return (await cpi.createVm(context(), 'agent-1', image, all, networks, disks, { bosh: {} })).cid;
  };
  let cpi: Cpi;
  let sc: string;
  beforeAll(async () => {
    cpi = open();
    sc = await stemcell(cpi);
  });
  afterAll(async () => {
    await cpi.deleteStemcell(context(), sc);
    expect(cloud.leftovers()).toEqual([]);
  });
  const view = (cid: string) => cloud.servers.get(cid)?.body ?? {};
  const userData = (cid: string): unknown =>
    JSON.parse(Buffer.from(textOf(view(cid)['user_data']), 'base64').toString('utf8'));

  it('tells the agent everything when there is no registry', async () => {
    const cid = await vm(cpi, sc, {}, manual('10.77.0.10'));

    expect(userData(cid)).toMatchObject({
      agent_id: 'agent-1',
      mbus: 'https://u:p@0.0.0.0:6868',
      networks: {
        default: { ip: '10.77.0.10', use_dhcp: true, mac: expect.stringMatching(/^fa:16/) as string },
      },
      disks: { system: '/dev/sda', ephemeral: null },
    });
    await cpi.deleteVm(context(), cid);
  });

  it('moves an allocated floating IP to the server, and from a server that has it', async () => {
    const networks = (ip: string): NetworksSpec => ({
      ...manual(ip),
      public: { type: 'vip', ip: '203.0.113.10' },
    });
    const first = await vm(cpi, sc, {}, networks('10.77.0.10'));
    const second = await vm(cpi, sc, {}, networks('10.77.0.11'));

    const [floating] = [...cloud.floatingIps.values()];
    const port = cloud.ports.get(textOf(floating?.body['port_id']));
    expect(port?.body['device_id']).toBe(second);
    await cpi.deleteVm(context(), first);
    await cpi.deleteVm(context(), second);
    expect(floating?.body['port_id']).toBeNull();
  });

  it('refuses a floating IP that is not allocated, and takes the server back', async () => {
    const networks: NetworksSpec = { ...manual('10.77.0.10'), public: { type: 'vip', ip: '203.0.113.99' } };

    await expect(vm(cpi, sc, {}, networks)).rejects.toThrow("Floating IP '203.0.113.99' not allocated");
    expect([cloud.servers.size, cloud.ports.size]).toEqual([0, 0]);
  });

  it('boots from a volume that goes with the server', async () => {
    const cid = await vm(cpi, sc, { boot_from_volume: true, root_disk: { size: 7 } }, manual('10.77.0.10'));

    expect([...cloud.volumes.values()].map(({ body }) => body['size'])).toEqual([7]);
    expect(view(cid)['image']).toBe('');
    await cpi.deleteVm(context(), cid);
    expect(cloud.volumes.size).toBe(0);
  });

  it('puts the server into its group, its zone, and gives it a config drive', async () => {
    const drive = open({ config_drive: 'disk' });
    const properties = { scheduler_hints: { group: cloud.serverGroupId }, availability_zone: 'west' };
    const cid = await vm(drive, sc, properties, manual('10.77.0.10'));

    expect(view(cid)).toMatchObject({
      config_drive: 'True',
      'OS-EXT-AZ:availability_zone': 'west',
      scheduler_hints: { group: cloud.serverGroupId },
    });
    // b is the config drive's.
    const disk = await drive.createDisk(context(), 1024, {}, cid);
    expect([...cloud.volumes.values()][0]?.body['availability_zone']).toBe('west');
    await drive.attachDisk(context(), cid, disk);
    await drive.deleteVm(context(), cid);
    await drive.deleteDisk(context(), disk);
  });

  it('tries the next of several zones when one is full, and leaves nothing in that one', async () => {
    cloud.fullZones = ['nova'];
    const zones = open({ ignore_server_availability_zone: true });
    for (let run = 0; run < 4; run += 1) {
      const cid = await vm(zones, sc, { availability_zones: ['nova', 'west'] }, manual('10.77.0.10'));
      expect(view(cid)['OS-EXT-AZ:availability_zone']).toBe('west');
      expect(cloud.servers.size).toBe(1);
      await zones.deleteVm(context(), cid);
    }
    cloud.fullZones = [];
  });

  it('refuses disks of another zone before anything is made', async () => {
    const disk = await cpi.createDisk(context(), 1024, {}, null);

    await expect(vm(cpi, sc, { availability_zone: 'west' }, manual('10.77.0.10'), [disk])).rejects.toThrow(
      "can't use multiple availability zones: west, nova",
    );
    await cpi.deleteDisk(context(), disk);
  });

  it('puts allowed address pairs on the port of the gateway network', async () => {
    const owner = await vm(cpi, sc, {}, manual('10.77.0.20'));
    const cid = await vm(cpi, sc, { allowed_address_pairs: '10.77.0.20' }, manual('10.77.0.10'));

    const port = [...cloud.ports.values()].find(({ body }) => body['device_id'] === cid);
    expect(port?.body['allowed_address_pairs']).toEqual([{ ip_address: '10.77.0.20' }]);
    await cpi.deleteVm(context(), cid);
    await cpi.deleteVm(context(), owner);
    await expect(vm(cpi, sc, { allowed_address_pairs: '10.77.0.20' }, manual('10.77.0.10'))).rejects.toThrow(
      "Configured VRRP port with ip '10.77.0.20' does not exist.",
    );
  });

  it('takes an address from a port that belongs to nothing, not from one in use', async () => {
    const first = await vm(cpi, sc, {}, manual('10.77.0.10'));
    await expect(vm(cpi, sc, {}, manual('10.77.0.10'))).rejects.toThrow(/Cannot use IP address '10.77.0.10'/);
    await cpi.deleteVm(context(), first);

    const [abandoned] = [...cloud.ports.values()];
    expect(abandoned).toBeUndefined();
  });

  it('works with an application credential', async () => {
    const { username, api_key, project, domain } = {
      username: undefined,
      api_key: undefined,
      project: undefined,
      domain: undefined,
    };
    const keyed = open({
      ...{ username, api_key, project, domain },
      application_credential_id: 'credential',
      application_credential_secret: 'credential-secret',
    });

    await expect(keyed.hasVm(context(), absentId)).resolves.toBe(false);
  });

  it('logs in again when the token has been revoked, also before an upload', async () => {
    const long = open();
    await long.hasVm(context(), absentId);
    cloud.tokens.clear();

    const made = await stemcell(long);
    cloud.tokens.clear();
    await long.deleteStemcell(context(), made);

    expect(cloud.images.size).toBe(1);
  });
});

describe('a look before a deploy', () => {
  const needs = () => ({
    vmCloudProperties: { instance_type: 'm1.small', availability_zone: 'nova' },
    networks: { ...manual('10.77.0.10'), public: { type: 'vip', ip: '203.0.113.10' } } as NetworksSpec,
    disk: { sizeMiB: 1024, cloudProperties: {} },
  });
  const look = async (cpi: ReturnType<typeof open>, change: object = {}) =>
    (await cpi.checkNeeds(context(), { ...needs(), ...change })).filter(({ status }) => status !== 'ok');

  it('finds a cloud that is ready, and changes nothing', async () => {
    const { cpi, calls } = openstackUnderTest(cloud.authUrl);

    const checks = await cpi.checkNeeds(context(), needs());

    expect(checks.map(({ name, status }) => `${name}: ${status}`)).toEqual([
      'credentials: ok',
      'networks: ok',
      'floating IP: ok',
      'security groups: ok',
      'key pair: ok',
      'flavor: ok',
      'availability zone: ok',
      'quota of servers: ok',
      'quota of volumes: ok',
    ]);
    expect(calls.filter((call) => !call.startsWith('GET '))).toEqual(['POST /v3/auth/tokens']);
  });

  it('stops at credentials that are refused', async () => {
    expect(await look(open({ api_key: 'wrong-key' }))).toMatchObject([
      { name: 'credentials', status: 'failed', advice: expect.stringContaining('api_key') as string },
    ]);
  });

  it.each([
    [{ vmCloudProperties: { instance_type: 'huge' } }, 'flavor', /Flavor `huge' not found/],
    [
      { vmCloudProperties: { instance_type: 'm1.small', key_name: 'x' } },
      'key pair',
      /Key-pair `x' not found/,
    ],
    [
      { vmCloudProperties: { instance_type: 'm1.small', security_groups: ['x'] } },
      'security groups',
      /Security group `x' not found/,
    ],
    [
      { vmCloudProperties: { instance_type: 'm1.small', availability_zone: 'east' } },
      'availability zone',
      /east is not there/,
    ],
    [
      { disk: { sizeMiB: 2_000_000, cloudProperties: {} } },
      'quota of volumes',
      /quota of GB of volumes is 1000/,
    ],
  ])('says what is missing: %j', async (change, name, message) => {
    expect(await look(open(), change)).toEqual([
      expect.objectContaining({ name, status: 'failed', message: expect.stringMatching(message) as string }),
    ]);
  });

  it('knows a subnet that was taken for a network', async () => {
    const networks = {
      default: { type: 'manual', ip: '10.77.0.10', cloud_properties: { net_id: 'subnet-1' } },
    };

    expect(await look(open(), { networks })).toEqual([
      expect.objectContaining({
        name: 'networks',
        advice: `It is the id of a subnet; its network is '${cloud.networkId}'.`,
      }),
    ]);
  });
});
