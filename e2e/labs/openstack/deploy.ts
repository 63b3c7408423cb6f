import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { root, start } from '../../support/commands.ts';
import type { Finished } from '../../support/commands.ts';
import type { CloudView } from './cloud-view.ts';

interface DeployRequest {
  readonly cloud: CloudView;
  readonly work: string;
  readonly stemcell: string;
  /** `cloud.properties.openstack`. */
  readonly properties: Readonly<Record<string, unknown>>;
}

type Line = (name: string, body: () => Promise<void>) => Promise<boolean>;

const privateIp = '10.77.0.50';

/** A deploy with our own stemcell as the guest: to the service on its floating IP, a new VM with the old disk, and away. */
export async function deployToService(deploy: DeployRequest, line: Line): Promise<void> {
  const { cloud, work } = deploy;
  const floating = await cloud.allocateFloatingIp();
  const manifest = join(work, 'manifest.yml');
  const env = { HOME: join(work, 'home'), NO_COLOR: '1', no_proxy: '*' };
  await mkdir(env.HOME);
  await writeFile(manifest, manifestFor(deploy, floating.address), { mode: 0o600 });
  const command = async (name: string, ...args: string[]): Promise<Finished> => {
    const argv = ['bin/microbosh', name, manifest, '--tty', ...args] as const;
    const finished = await start(argv, { env, timeoutMs: 1_500_000 }).finished;
    if (finished.exitCode !== 0) throw new Error(`${name} failed:\n${finished.output.slice(-3000)}`);
    return finished;
  };
  const creds = ['--vars-store', join(work, 'creds.yml')];
  const value = async (path: string) =>
    (await command('interpolate', ...creds, '--path', path)).stdout.replace(/\n$/, '');
  const service = async (method: 'GET' | 'PUT', body?: string): Promise<string> => {
    const ca = await value('/readiness/0/ca');
    const password = await value('/instance_groups/name=registry/properties/registry/password');
    const dispatcher = new Agent({ connect: { ca, timeout: 30_000 } });
    try {
      const answer = await request(`https://${floating.address}:25777/instances/vm-1/settings`, {
        method,
        dispatcher,
        headers: { authorization: `Basic ${Buffer.from(`admin:${password}`).toString('base64')}` },
        ...(body === undefined ? {} : { body }),
      });
      const text = await answer.body.text();
      if (answer.statusCode >= 300) throw new Error(`${method}: ${answer.statusCode} ${text}`);
      return text;
    } finally {
      await dispatcher.close();
    }
  };
  const state = async () =>
    JSON.parse(await readFile(join(work, 'manifest-state.json'), 'utf8')) as {
      current_vm_cid: string;
      disks: { cid: string }[];
    };

  try {
    const deployed = await line('deploy: create-env comes to its end', async () => {
      const { stdout } = await command('create-env', ...creds);
      for (const step of stdout.matchAll(/^\s*(\S.*)\.\.\. Finished \((\d\d:\d\d:\d\d)\)$/gm)) {
        console.log(`         ${step[2] ?? ''}  ${step[1] ?? ''}`);
      }
    });
    if (!deployed) return;
    await line('deploy: the service answers on the floating IP, and keeps what it is given', async () => {
      await service('PUT', '{"kept":true}');
    });
    await line('deploy: server and volume are what the state says', async () => {
      const { current_vm_cid: vm, disks } = await state();
      const server = await cloud.serverOf(vm);
      if (server.status !== 'ACTIVE') throw new Error(`the server is ${server.status}`);
      if (server.metadata['deployment'] !== 'lab') throw new Error(JSON.stringify(server.metadata));
      const volume = await cloud.volumeOf(disks[0]?.cid ?? '');
      if (volume.attachments[0]?.server_id !== vm) throw new Error(JSON.stringify(volume));
    });
    await line('deploy: a new server gets the volume with its data', async () => {
      const { current_vm_cid: vm } = await state();
      await command('create-env', '--recreate', ...creds);
      if ((await state()).current_vm_cid === vm) throw new Error('the server is the old one');
      const kept = await service('GET');
      if (!kept.includes('kept')) throw new Error(`the service answers ${kept}`);
    });
  } finally {
    await line('deploy: delete-env comes to its end', async () => {
      await command('delete-env', '-n');
    });
    await cloud.releaseFloatingIp(floating.id);
  }
}

function manifestFor({ cloud, stemcell, properties }: DeployRequest, address: string): string {
  return `name: lab
releases:
- {name: microbosh-registry, url: "file://${root}/dist/releases/microbosh-registry.tgz"}
resource_pools:
- name: vms
  network: private
  stemcell: {url: "file://${stemcell}"}
  cloud_properties: {instance_type: m1.small, availability_zone: nova}
  env: {bosh: {password: '*'}}
disk_pools:
- {name: disks, disk_size: 1024}
networks:
- name: private
  type: manual
  subnets:
  - range: 10.77.0.0/24
    gateway: 10.77.0.1
    dns: [10.77.0.1]
    cloud_properties: {net_id: ${cloud.setting('LAB_NETWORK_ID')}}
- name: public
  type: vip
instance_groups:
- name: registry
  instances: 1
  resource_pool: vms
  persistent_disk_pool: disks
  networks:
  - {name: private, static_ips: [${privateIp}], default: [dns, gateway]}
  - {name: public, static_ips: [${address}]}
  jobs: [{name: registry, release: microbosh-registry}]
  properties:
    registry:
      username: admin
      password: ((registry_admin_password))
      tls:
        certificate: ((registry_tls.certificate))
        private_key: ((registry_tls.private_key))
cloud_provider:
  plugin: openstack
  mbus: https://mbus:lab-secret@${address}:6868
  properties:
    openstack: ${JSON.stringify(properties)}
readiness:
- url: https://${address}:25777/readyz
  ca: ((registry_tls.ca))
  timeout: 120
variables:
- {name: registry_admin_password, type: password}
- {name: registry_ca, type: certificate, options: {is_ca: true, common_name: registry-ca}}
- name: registry_tls
  type: certificate
  options: {ca: registry_ca, common_name: ${address}, alternative_names: [${address}]}
`;
}
