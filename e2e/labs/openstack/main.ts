/**
 * Proves the OpenStack CPI on a real OpenStack (see README.md): the contract, then a deploy to the running service.
 *
 *   npm run lab:openstack -- [--running SETTINGS] [--compute qemu|fake] [--stemcell STEMCELL.tgz] [--keep]
 *
 * --running: a lab that is up already, by the file of settings that `up` wrote; it is left up. Otherwise the lab is started
 * and stopped. Without --stemcell only the contract is run. Build the stemcell before:
 *   npm run bundle && packaging/agent/build && packaging/releases/microbosh-registry/build --with-runtime
 *   bin/microbosh build-stemcell --iaas openstack --no-compilers --out DIR
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { contractChecks, ProcessCpi, processChecks, runChecks } from '@microbosh/cpi';
import { messageOf } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';
import { CloudView, parseSettings } from './cloud-view.ts';
import { deployToService } from './deploy.ts';

const here = import.meta.dirname;
const root = dirname(dirname(dirname(here)));
const runner = new NodeCommandRunner();
const { values } = parseArgs({
  options: {
    running: { type: 'string' },
    compute: { type: 'string', default: 'qemu' },
    stemcell: { type: 'string' },
    keep: { type: 'boolean', default: false },
  },
});
const directory = process.env['OPENSTACK_LAB_DIR'] ?? `/var/tmp/openstack-lab-${values.compute}`;
const environment = {
  ...(process.env as Record<string, string>),
  OPENSTACK_LAB_DIR: directory,
  OPENSTACK_LAB_COMPUTE: values.compute,
  no_proxy: '*',
};

let failed = 0;

function report(name: string, seconds: number, failure?: string): void {
  if (failure !== undefined) failed += 1;
  console.log(`${failure === undefined ? 'ok    ' : 'FAILED'} ${seconds.toFixed(1).padStart(6)} s  ${name}`);
  if (failure !== undefined) console.log(`       ${failure}`);
}

/** One line of the table; a failure is told, and the next one is tried. */
async function line(name: string, body: () => Promise<void>): Promise<boolean> {
  const started = Date.now();
  try {
    await body();
    report(name, (Date.now() - started) / 1000);
    return true;
  } catch (error) {
    report(name, (Date.now() - started) / 1000, messageOf(error));
    return false;
  }
}

function cpiProperties(cloud: CloudView): Record<string, unknown> {
  return {
    auth_url: cloud.setting('OS_AUTH_URL'),
    username: 'lab',
    api_key: cloud.setting('OS_PASSWORD'),
    project: 'lab',
    domain: 'Default',
    region: 'RegionOne',
    default_key_name: cloud.setting('LAB_KEYPAIR'),
    default_security_groups: [cloud.setting('LAB_SECURITY_GROUP')],
    wait_resource_poll_interval: 1,
  };
}

async function contract(cloud: CloudView, work: string): Promise<void> {
  const config = join(work, 'cpi.json');
  const openstack = cpiProperties(cloud);
  await writeFile(
    config,
    JSON.stringify({ cloud: { plugin: 'openstack', properties: { openstack, agent: { ntp: [] } } } }),
    { mode: 0o600 },
  );
  // A guest with a kernel: without one, no device is ever given back.
  const guest = join(work, 'root.img');
  await runner.run(['ln', '-s', cloud.setting('LAB_GUEST_FILE'), guest]);
  await runner.run(['tar', '-czhf', join(work, 'image'), '-C', work, 'root.img'], { timeoutMs: 120_000 });
  const executable = join(root, 'bin/cpi-openstack');
  const absent = '00000000-0000-4000-8000-000000000000';
  const cpi = new ProcessCpi({
    executable,
    args: [config],
    sendsToken: true,
    env: { no_proxy: '*' },
    timeoutMs: 400_000,
  });
  await runChecks(
    [
      ...processChecks({ argv: [executable, config], absentVmCid: absent }),
      ...contractChecks(cpi, {
        imagePath: join(work, 'image'),
        stemcellCloudProperties: {
          name: 'contract',
          version: '1',
          disk_format: 'raw',
          container_format: 'bare',
        },
        vmCloudProperties: { instance_type: cloud.setting('LAB_FLAVOR'), availability_zone: 'nova' },
        networks: {
          default: {
            type: 'manual',
            ip: '10.77.0.40',
            netmask: '255.255.255.0',
            gateway: '10.77.0.1',
            default: ['dns', 'gateway'],
            cloud_properties: { net_id: cloud.setting('LAB_NETWORK_ID') },
          },
        },
        diskCloudProperties: {},
        diskSizeMiB: 1024,
        knowsTokens: true,
        absent: { vm: absent, disk: absent, stemcell: absent },
      }),
    ],
    ({ name, durationMs, failure }) => report(`contract: ${name}`, durationMs / 1000, failure),
  );
}

async function main(): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'microbosh-lab-openstack-'));
  const settingsFile = values.running ?? join(work, 'lab.env');
  try {
    if (values.running === undefined) {
      const started = await line('the services are up', async () => {
        await runner.run([join(here, 'up'), settingsFile], { env: environment, timeoutMs: 1_600_000 });
      });
      if (!started) return;
    }
    const cloud = new CloudView(parseSettings(await readFile(settingsFile, 'utf8')));
    try {
      const before = await cloud.everything();
      await contract(cloud, work);
      await line('contract: nothing is left, by the services’ own APIs', () => nothingSince(cloud, before));
      if (values.stemcell !== undefined) {
        const request = { cloud, work, stemcell: resolve(values.stemcell), properties: cpiProperties(cloud) };
        await deployToService(request, line);
        await line('deploy: nothing is left, by the services’ own APIs', () => nothingSince(cloud, before));
      }
    } finally {
      await cloud.close();
    }
  } finally {
    if (values.running === undefined && !values.keep) {
      await runner.run([join(here, 'down')], { env: environment, timeoutMs: 300_000 });
    }
    await rm(work, { recursive: true, force: true });
  }
}

async function nothingSince(cloud: CloudView, before: readonly string[]): Promise<void> {
  const left = (await cloud.everything()).filter((thing) => !before.includes(thing));
  if (left.length > 0) throw new Error(`left over: ${left.join(', ')}`);
}

await main();
console.log(failed === 0 ? 'all passed' : `${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
