/**
 * Proves the OpenStack CPI on a real OpenStack (see README.md): the contract, as a library and as the executable, faults,
 * `doctor`, and deploys to the running service, through a manifest of create-env and through micro_bosh.yml.
 *
 *   npm run lab:openstack -- [--running SETTINGS] [--compute qemu|fake] [--part NAME]… [--record] [--keep]
 *
 * --running: a lab that is up already, by the file of settings that `up` wrote; it is left up. Otherwise the lab is started
 * and stopped. --compute fake runs no guests, so nothing is deployed. --part: contract, requests, doctor, faults,
 * create-env or micro only. --record writes the answers of the services to the test data of libs/cpi-openstack. --keep leaves the lab up.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { JsonObject } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';
import { LabReport, methodOf } from '../../support/lab-report.ts';
import { CloudView, parseSettings } from './cloud-view.ts';
import { contractSuites } from './contract.ts';
import type { OpenstackLab } from './contract.ts';
import { deployByCreateEnv, deployByMicro, makeCertificate } from './deploy.ts';
import { doctorCases } from './doctor.ts';
import { faultCases } from './faults.ts';
import { buildMicroStemcell, buildParts } from './parts.ts';
import { recordLifecycle } from './record.ts';

const parts = ['contract', 'requests', 'doctor', 'faults', 'create-env', 'micro'] as const;
const runner = new NodeCommandRunner();
const { values } = parseArgs({
  options: {
    running: { type: 'string' },
    compute: { type: 'string', default: 'qemu' },
    part: { type: 'string', multiple: true, default: [...parts] },
    record: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
  },
});
const unknown = values.part.find((name) => !parts.some((part) => part === name));
if (unknown !== undefined) {
  console.error(`no part '${unknown}'; there are: ${parts.join(', ')}`);
  process.exit(1);
}
const wants = (part: (typeof parts)[number]): boolean => values.part.includes(part);
// The services are on this machine, whatever proxy leads out of it.
process.env['no_proxy'] = '*';
const environment = {
  ...(process.env as Record<string, string>),
  OPENSTACK_LAB_DIR: process.env['OPENSTACK_LAB_DIR'] ?? `/var/tmp/openstack-lab-${values.compute}`,
  OPENSTACK_LAB_COMPUTE: values.compute,
};

function cpiProperties(cloud: CloudView): JsonObject {
  return {
    auth_url: cloud.setting('OS_AUTH_URL'),
    username: 'lab',
    api_key: cloud.setting('OS_PASSWORD'),
    project: 'lab',
    domain: 'Default',
    region: 'RegionOne',
    default_key_name: cloud.setting('LAB_KEYPAIR'),
    default_security_groups: [cloud.setting('LAB_SECURITY_GROUP')],
    state_timeout: 600,
    wait_resource_poll_interval: 1,
  };
}

/** What is left is told once, not again with every later case. */
async function nothingSince(cloud: CloudView, before: Set<string>, besides?: string): Promise<void> {
  const left = (await cloud.everything()).filter((thing) => !before.has(thing) && thing !== besides);
  for (const thing of left) before.add(thing);
  if (left.length > 0) throw new Error(`left over: ${left.join(', ')}`);
}

async function runParts(lab: OpenstackLab, report: LabReport): Promise<void> {
  const { cloud } = lab;
  const before = new Set(await cloud.everything());
  const nothingIsLeft = (after: string) =>
    report.case('any', `${after}: nothing is left, by the services' own APIs`, () =>
      nothingSince(cloud, before),
    );
  if (wants('contract')) {
    for (const { name, checks } of await contractSuites(lab)) {
      for (const check of checks) {
        await report.case(methodOf(check.name), `${name}: ${check.name}`, () => check.run());
      }
      await nothingIsLeft(`contract, ${name}`);
    }
  }
  if (wants('requests')) {
    await report.case('any', 'every method once; requests beside those to Keystone', () =>
      recordLifecycle(lab, report, values.record),
    );
    await nothingIsLeft('requests');
  }
  if (wants('doctor')) {
    await doctorCases(lab, await makeCertificate(lab.work, '127.0.0.1'), report);
    await nothingIsLeft('doctor');
  }
  if (wants('faults')) {
    await faultCases(lab, report, (besides) => nothingSince(cloud, before, besides));
    await nothingIsLeft('faults');
  }
  if (values.compute !== 'qemu' || !(wants('create-env') || wants('micro'))) return;
  const built = await buildParts();
  if (wants('create-env')) {
    await deployByCreateEnv(lab, built, report);
    await nothingIsLeft('create-env');
  }
  if (wants('micro')) {
    await deployByMicro(lab, await buildMicroStemcell(built), report);
    await nothingIsLeft('micro');
  }
}

async function main(report: LabReport): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'microbosh-lab-openstack-'));
  const settingsFile = values.running ?? join(work, 'lab.env');
  try {
    if (values.running === undefined) {
      const isUp = await report.case('lab', 'the services are up', () =>
        runner.run([join(import.meta.dirname, 'up'), settingsFile], {
          env: environment,
          timeoutMs: 3_600_000,
        }),
      );
      if (!isUp) return;
    }
    const cloud = new CloudView(parseSettings(await readFile(settingsFile, 'utf8')));
    try {
      await runParts({ cloud, work, properties: cpiProperties(cloud) }, report);
    } finally {
      await cloud.close();
    }
  } finally {
    if (values.running === undefined && !values.keep) {
      await report.case('lab', 'the services are down', () =>
        runner.run([join(import.meta.dirname, 'down')], { env: environment, timeoutMs: 300_000 }),
      );
    }
    await rm(work, { recursive: true, force: true });
  }
}

const report = new LabReport();
await main(report);
process.exit(report.end());
