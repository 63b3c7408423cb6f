import { deepStrictEqual, match, strictEqual } from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../support/commands.ts';
import type { LabReport } from '../../support/lab-report.ts';
import type { OpenstackLab } from './contract.ts';
import { microManifest } from './manifests.ts';
import type { Certificate } from './manifests.ts';

type Manifest = ReturnType<typeof microManifest>;

interface WrongThing {
  readonly what: string;
  /** Makes it wrong. */
  readonly change: (manifest: Manifest) => void;
  /** Name of the check that has to fail, and what it says. */
  readonly check: string;
  readonly says: RegExp;
}

interface Told {
  readonly name: string;
  readonly status: 'ok' | 'warning' | 'failed';
  readonly message: string;
}

/** `microbosh doctor --manifest` on the real services: all is well, and each thing that can be wrong. */
export async function doctorCases(
  lab: OpenstackLab,
  certificate: Certificate,
  report: LabReport,
): Promise<void> {
  const { cloud } = lab;
  const folder = join(lab.work, 'doctor');
  await mkdir(join(folder, 'home'), { recursive: true });
  const env = { HOME: join(folder, 'home'), NO_COLOR: '1', no_proxy: '*' };
  const file = join(folder, 'micro_bosh.yml');
  const floating = await cloud.allocateFloatingIp();
  const looked = async (change: (manifest: Manifest) => void) => {
    const manifest = microManifest(
      lab,
      { privateIp: '10.77.0.70', floatingIp: floating.address },
      { certificate, password: 'lab-secret' },
    );
    change(manifest);
    await writeFile(file, JSON.stringify(manifest), { mode: 0o600 });
    const finished = await run(['bin/microbosh', 'doctor', '--manifest', file, '--json'], {
      env,
      timeoutMs: 300_000,
    });
    const told = finished.stdout.split('\n').find((text) => text.includes('"doctor"'));
    if (told === undefined) throw new Error(`doctor says nothing of its checks:\n${finished.output}`);
    const { checks } = JSON.parse(told) as { checks: readonly Told[] };
    const failed = checks.filter(({ status }) => status === 'failed');
    return { exitCode: finished.exitCode, checks, failed };
  };
  try {
    await report.case('doctor', 'all is well', async () => {
      const { failed, exitCode, checks } = await looked(() => undefined);
      deepStrictEqual(failed, []);
      strictEqual(exitCode, 0);
      for (const { name, status, message } of checks) report.figure(`${name}: ${message}`, status);
      for (const name of wrongThings(lab).map(({ check }) => check)) {
        strictEqual(checks.find((check) => check.name === name)?.status, 'ok', name);
      }
    });
    for (const { what, change, check, says } of wrongThings(lab)) {
      await report.case('doctor', `${what} is told`, async () => {
        const { failed, exitCode } = await looked(change);
        deepStrictEqual(
          failed.map(({ name }) => name),
          [check],
        );
        match(failed[0]?.message ?? '', says);
        strictEqual(exitCode, 1);
      });
    }
    await report.case('doctor', 'a quota of servers that is used up is told', async () => {
      const restore = await cloud.limitServers(0);
      try {
        const { failed } = await looked(() => undefined);
        deepStrictEqual(
          failed.map(({ name }) => name),
          ['quota of servers'],
        );
        match(failed[0]?.message ?? '', /quota of servers is 0/);
      } finally {
        await restore();
      }
    });
  } finally {
    await cloud.releaseFloatingIp(floating.id);
  }
}

function wrongThings({ cloud }: OpenstackLab): readonly WrongThing[] {
  const openstackOf = (manifest: Manifest) => manifest.cloud.properties.openstack as Record<string, unknown>;
  const absent = '00000000-0000-4000-8000-000000000000';
  const subnet = cloud.setting('LAB_SUBNET_ID');
  return [
    {
      what: 'a wrong password',
      change: (manifest) => (openstackOf(manifest)['api_key'] = 'wrong'),
      check: 'credentials',
      says: /Unable to authenticate/,
    },
    {
      what: 'a project that does not exist',
      change: (manifest) => (openstackOf(manifest)['project'] = 'nowhere'),
      check: 'credentials',
      says: /Unable to authenticate/,
    },
    {
      what: 'a Keystone that is not there',
      change: (manifest) => (openstackOf(manifest)['auth_url'] = 'http://127.0.0.1:9/v3'),
      check: 'credentials',
      says: /Unable to connect to the OpenStack Keystone API/,
    },
    {
      what: 'a region that the catalog does not have',
      change: (manifest) => (openstackOf(manifest)['region'] = 'Nowhere'),
      check: 'credentials',
      says: /region Nowhere/,
    },
    {
      what: 'a network that does not exist',
      change: (manifest) => (manifest.network.cloud_properties.net_id = absent),
      check: 'networks',
      says: /does not exist/,
    },
    {
      what: 'a subnet in place of a network',
      change: (manifest) => (manifest.network.cloud_properties.net_id = subnet),
      check: 'networks',
      says: new RegExp(`'${subnet}'`),
    },
    {
      what: 'a floating IP that is not allocated',
      change: (manifest) => (manifest.network.vip = '172.24.4.254'),
      check: 'floating IP',
      says: /not allocated/,
    },
    {
      what: 'a security group that does not exist',
      change: (manifest) => (openstackOf(manifest)['default_security_groups'] = ['none']),
      check: 'security groups',
      says: /none/,
    },
    {
      what: 'a key pair that does not exist',
      change: (manifest) => (openstackOf(manifest)['default_key_name'] = 'none'),
      check: 'key pair',
      says: /Key-pair `none' not found/,
    },
    {
      what: 'a flavor that does not exist',
      change: (manifest) => (manifest.resources.cloud_properties.instance_type = 'm1.none'),
      check: 'flavor',
      says: /Flavor `m1\.none' not found/,
    },
    {
      what: 'an availability zone that does not exist',
      change: (manifest) => (manifest.resources.cloud_properties.availability_zone = 'none'),
      check: 'availability zone',
      says: /none/,
    },
    {
      what: 'a disk beyond the quota of volumes',
      change: (manifest) => (manifest.resources.persistent_disk = 2_000_000),
      check: 'quota of volumes',
      says: /quota of GB of volumes/,
    },
  ];
}
