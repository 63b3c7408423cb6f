import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { composeDeployer, createEnv, deleteEnv } from '@microbosh/deployer';
import type { DeployOptions } from '@microbosh/deployer';
import type { JsonObject } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';
import { Agent, request } from 'undici';
import { root, succeed } from '../../support/commands.ts';
import { microStemcell } from '../../support/micro-stemcell.ts';
import type { CloudInventory, LabCase } from './lab-cases.ts';
import { LocalGuests } from './local-guests.ts';
import type { SettingsOf } from './local-guests.ts';

const runner = new NodeCommandRunner();

export interface MicroManifest {
  /** Of its shape: `manual network and a key`. */
  readonly name: string;
  /** The manifest without name, resources.persistent_disk and readiness. */
  readonly text: (address: string) => string;
}

export interface DeployLab {
  readonly plugin: 'aws' | 'vsphere' | 'vcloud';
  readonly work: string;
  readonly cloud: CloudInventory;
  /** What was there at the beginning. */
  readonly before: ReadonlySet<string>;
  readonly settingsOf: SettingsOf;
  /** `cloud_provider.properties`. */
  readonly properties: JsonObject;
  /** The same for the job of the CPI release. */
  readonly releaseProperties: JsonObject;
  /** A stemcell's `image` for this cloud. */
  readonly imagePath: string;
  readonly stemcellFormat: string;
  readonly stemcellProperties: JsonObject;
  readonly vmProperties: JsonObject;
  readonly networkProperties: JsonObject;
  /** The first three numbers of the addresses. */
  readonly subnet: string;
  readonly micro: readonly MicroManifest[];
}

/** The greeter's port, with what its template shows. */
async function page(address: string): Promise<string> {
  const answer = await request(`http://${address}:8080/`);
  return answer.body.text();
}

/**
 * Deploys through the deployer to a cloud without machines: its VMs are played by local ones, which boot with what the CPI
 * has delivered.
 */
export async function deployCases(
  lab: DeployLab,
): Promise<{ cases: readonly LabCase[]; end: () => Promise<void> }> {
  const { work, plugin, cloud, before, subnet } = lab;
  for (const needed of [
    'stemcells/local-host-rootfs',
    'releases/microbosh-registry',
    'releases/microbosh-cpi',
  ]) {
    if (existsSync(join(root, 'dist', `${needed}.tgz`))) continue;
    throw new Error(`dist/${needed}.tgz is not there: run npm run bundle, and packaging/releases/*/build`);
  }
  const guests = new LocalGuests(work, lab.settingsOf);
  const baked = join(work, 'baked');
  await mkdir(baked);
  const light = await microStemcell(baked, plugin);
  await runner.run(['tar', '-C', baked, '-xzf', light]);
  await guests.useStemcell(join(baked, 'image'));
  const stemcell = await cloudStemcell(lab, join(baked, 'apply_spec.yml'));
  const manifest = join(work, 'manifest.yml');
  const creds = join(work, 'creds.yml');
  const env = { HOME: join(work, 'home'), NO_COLOR: '1', no_proxy: '*' };
  await mkdir(env.HOME);
  await writeFile(manifest, registryManifest(lab, stemcell), { mode: 0o600 });

  const composed = composeDeployer({ env: { ...process.env, ...env } });
  const dependencies: NonNullable<DeployOptions['dependencies']> = {
    ...composed,
    openCloud: async (...args) => guests.behind(await composed.openCloud(...args)),
  };
  const create = (options: Partial<DeployOptions> = {}) =>
    createEnv({ manifest, inputs: { varsStore: creds }, dependencies, ...options });

  const value = async (path: string): Promise<string> => {
    const argv = ['bin/microbosh', 'interpolate', manifest, '--vars-store', creds, '--path', path] as const;
    return (await succeed(argv, { env, timeoutMs: 120_000 })).stdout.replace(/\n$/, '');
  };
  const address = `${subnet}.10`;
  async function service(method: 'GET' | 'PUT', body?: string): Promise<string> {
    const password = await value('/instance_groups/name=registry/properties/registry/password');
    const dispatcher = new Agent({ connect: { ca: await value('/readiness/0/ca') } });
    try {
      const answer = await request(`https://${address}:25777/instances/vm-1/settings`, {
        ...{ method, dispatcher },
        headers: { authorization: `Basic ${Buffer.from(`admin:${password}`).toString('base64')}` },
        ...(body === undefined ? {} : { body }),
      });
      const text = await answer.body.text();
      ok(answer.statusCode < 300, `${method}: ${answer.statusCode} ${text}`);
      return text;
    } finally {
      await dispatcher.close();
    }
  }
  const state = async () =>
    JSON.parse(await readFile(join(work, 'manifest-state.json'), 'utf8')) as {
      current_vm_cid: string;
      current_disk_id: string;
      disks: { id: string; cid: string; size: number }[];
    };
  const keeps = async () =>
    ok((await service('GET')).includes('kept'), 'the service has lost what it was given');

  async function nothingLeft(): Promise<void> {
    const left = (await cloud.everything()).filter((thing) => !before.has(thing));
    deepStrictEqual(left, []);
    strictEqual(guests.count, 0);
  }

  const steps: readonly LabCase[] = [
    {
      method: 'deploy',
      name: `create-env with plugin ${plugin}: an agent with the delivered settings answers, the service keeps what it is given`,
      body: async () => {
        strictEqual(await create(), 'deployed');
        await service('PUT', '{"kept":true}');
        strictEqual(await create(), 'unchanged');
      },
    },
    {
      method: 'update',
      name: 'a new VM gets the disk with its data',
      body: async () => {
        const { current_vm_cid: vm, disks } = await state();
        strictEqual(await create({ recreate: true }), 'deployed');
        const now = await state();
        ok(now.current_vm_cid !== vm, 'the VM is the old one');
        strictEqual(now.disks[0]?.cid, disks[0]?.cid);
        await keeps();
      },
    },
    {
      method: 'migrate',
      name: 'a larger disk gets the data, and the old one stays for a day',
      body: async () => {
        const [old] = (await state()).disks;
        const text = await readFile(manifest, 'utf8');
        await writeFile(manifest, text.replace('disk_size: 1024', 'disk_size: 2048'));
        strictEqual(await create(), 'deployed');
        const now = await state();
        const { disks } = now;
        deepStrictEqual(
          disks.map(({ size }) => size),
          [1024, 2048],
        );
        deepStrictEqual([disks[0]?.cid, now.current_disk_id], [old?.cid, disks[1]?.id]);
        await keeps();
      },
    },
    {
      method: 'delete',
      name: 'nothing is left, by the cloud’s own API',
      body: async () => {
        await deleteEnv({ manifest, inputs: { varsStore: creds }, dependencies });
        await nothingLeft();
      },
    },
  ];
  const released: LabCase = {
    method: 'release',
    name: `create-env with the job microbosh_${plugin}_cpi of the CPI release, and delete-env`,
    body: async () => {
      const folder = join(work, 'released');
      await mkdir(folder);
      const path = join(folder, 'manifest.yml');
      const text = await readFile(manifest, 'utf8');
      await writeFile(path, withReleasedCpi(lab, text), { mode: 0o600 });
      const options = { manifest: path, inputs: { varsStore: creds }, dependencies };
      try {
        strictEqual(await createEnv(options), 'deployed');
      } finally {
        await deleteEnv(options);
      }
      await nothingLeft();
    },
  };
  const micro = lab.micro.map(({ name, text }, index): LabCase => {
    const ip = `${subnet}.${20 + index}`;
    return {
      method: 'micro',
      name: `micro_bosh.yml with ${name}: deployed, updated and deleted`,
      body: async () => {
        const folder = join(work, `micro-${index}`);
        await mkdir(folder);
        const path = join(folder, 'micro_bosh.yml');
        const common = `name: micro-${index}\nreadiness: [{url: "http://${ip}:8080/", timeout: 60}]\n`;
        await writeFile(path, `${common}${text(ip)}`, { mode: 0o600 });
        const options = { manifest: path, inputs: { stemcell }, dependencies };
        try {
          strictEqual(await createEnv(options), 'deployed');
          strictEqual(await page(ip), `micro-${index} at ${ip} asks first`);
          await writeFile(path, (await readFile(path, 'utf8')).replace('ntp: [first]', 'ntp: [second]'));
          strictEqual(await createEnv(options), 'deployed');
          ok((await page(ip)).endsWith('asks second'), await page(ip));
        } finally {
          await deleteEnv(options);
        }
        await nothingLeft();
      },
    };
  });
  return { cases: [...steps, released, ...micro], end: () => guests.end() };
}

/** The CPI as a release's executable in place of the one inside the deployer. */
function withReleasedCpi({ plugin, properties, releaseProperties, subnet }: DeployLab, text: string): string {
  const changes = [
    [
      'releases:\n',
      `releases:\n- {name: microbosh-cpi, url: "file://${root}/dist/releases/microbosh-cpi.tgz"}\n`,
    ],
    [`  plugin: ${plugin}\n`, `  template: {name: microbosh_${plugin}_cpi, release: microbosh-cpi}\n`],
    // The bus is the deployer's, which tells the job.
    [`  mbus: https://mbus:lab-secret@${subnet}.10:6868\n`, ''],
    [`  properties: ${JSON.stringify(properties)}\n`, `  properties: ${JSON.stringify(releaseProperties)}\n`],
  ] as const;
  return changes.reduce((before, [from, to]) => {
    ok(before.includes(from), `the manifest has no ${from}`);
    return before.replace(from, to);
  }, text);
}

/** As `build-stemcell` packs one, for the cloud, with the spec of the release that the guests have baked in. */
async function cloudStemcell(lab: DeployLab, applySpec: string): Promise<string> {
  const folder = join(lab.work, 'stemcell');
  await mkdir(folder);
  await runner.run(['cp', lab.imagePath, join(folder, 'image')]);
  await runner.run(['cp', applySpec, folder]);
  const hash = createHash('sha256');
  await pipeline(createReadStream(lab.imagePath), hash);
  const lines = [
    `name: lab-${lab.plugin}`,
    "version: '1'",
    'api_version: 3',
    'operating_system: debian-bookworm',
    `sha1: sha256:${hash.digest('hex')}`,
    `stemcell_formats: [${lab.stemcellFormat}]`,
    `cloud_properties: ${JSON.stringify(lab.stemcellProperties)}`,
  ];
  await writeFile(join(folder, 'stemcell.MF'), `${lines.join('\n')}\n`);
  const tarball = join(lab.work, 'stemcell.tgz');
  await runner.run(['tar', '-C', folder, '-czf', tarball, 'stemcell.MF', 'apply_spec.yml', 'image']);
  return tarball;
}

function registryManifest({ plugin, properties, subnet, ...lab }: DeployLab, stemcell: string): string {
  const address = `${subnet}.10`;
  return `name: lab
releases:
- {name: microbosh-registry, url: "file://${root}/dist/releases/microbosh-registry.tgz"}
resource_pools:
- name: vms
  network: private
  stemcell: {url: "file://${stemcell}"}
  cloud_properties: ${JSON.stringify(lab.vmProperties)}
  env: {bosh: {password: '*'}}
disk_pools:
- {name: disks, disk_size: 1024}
networks:
- name: private
  type: manual
  subnets:
  - range: ${subnet}.0/24
    gateway: ${subnet}.1
    dns: []
    cloud_properties: ${JSON.stringify(lab.networkProperties)}
instance_groups:
- name: registry
  instances: 1
  resource_pool: vms
  persistent_disk_pool: disks
  networks:
  - {name: private, static_ips: [${address}]}
  jobs: [{name: registry, release: microbosh-registry}]
  properties:
    registry:
      username: admin
      password: ((registry_admin_password))
      tls:
        certificate: ((registry_tls.certificate))
        private_key: ((registry_tls.private_key))
cloud_provider:
  plugin: ${plugin}
  mbus: https://mbus:lab-secret@${address}:6868
  properties: ${JSON.stringify(properties)}
readiness:
- {url: "https://${address}:25777/readyz", ca: ((registry_tls.ca)), timeout: 120}
variables:
- {name: registry_admin_password, type: password}
- {name: registry_ca, type: certificate, options: {is_ca: true, common_name: registry-ca}}
- name: registry_tls
  type: certificate
  options: {ca: registry_ca, common_name: ${address}, alternative_names: [${address}]}
`;
}
