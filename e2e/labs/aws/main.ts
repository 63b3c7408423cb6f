/**
 * Proves the AWS CPI against moto, with its validation switched on: the contract, as a library and as the executable, cases
 * of AWS, and the matrix of faults. That nothing is left is read from moto's own API.
 *
 *   npm run lab:aws [-- --contract]
 *
 * moto comes from PyPI into a virtual environment (kept in /var/tmp/microbosh-labs, or LAB_DIR). Where that is not possible
 * the cases are named and counted as skipped. --contract leaves the matrix of faults out.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { contractChecks, ProcessCpi, processChecks } from '@microbosh/cpi';
import type { ConformanceCheck, ConformanceInput, Cpi } from '@microbosh/cpi';
import { awsUnderTest } from '@microbosh/cpi-aws/testing';
import { messageOf } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';
import { FaultProxy } from '../fault-proxy/fault-proxy.ts';
import { LabReport, methodOf } from '../../support/lab-report.ts';
import { AwsView } from './aws-view.ts';
import type { AwsPlace } from './aws-view.ts';
import { awsCases } from './cases.ts';
import { faultCases } from './faults.ts';
import { installMoto, Moto } from './moto.ts';
import { motoDeviations } from './moto-deviations.ts';

const root = dirname(dirname(dirname(import.meta.dirname)));
const { values } = parseArgs({ options: { contract: { type: 'boolean', default: false } } });
const directory = process.env['LAB_DIR'] ?? '/var/tmp/microbosh-labs';
const absent = {
  vm: 'i-00000000000000000',
  disk: 'vol-00000000000000000',
  stemcell: 'ami-00000000000000000',
};

/** A stemcell's `image`: a root disk with three blocks of data among zeros. */
async function writeImage(work: string): Promise<string> {
  const disk = Buffer.alloc(3 << 20);
  for (const offset of [0, 600_000, 2_500_000]) disk.write('microbosh', offset);
  await writeFile(join(work, 'root.img'), disk);
  const path = join(work, 'image');
  await new NodeCommandRunner().run(['tar', '-czf', path, '-C', work, 'root.img']);
  return path;
}

function contractInput(place: AwsPlace, imagePath: string): ConformanceInput {
  return {
    imagePath,
    stemcellCloudProperties: { name: 'contract', version: '1', disk: 1024 },
    vmCloudProperties: {
      instance_type: 't3.micro',
      availability_zone: place.zone,
      key_name: place.keyName,
      security_groups: [place.securityGroup],
    },
    networks: {
      default: {
        type: 'dynamic',
        dns: ['10.0.0.2'],
        default: ['dns', 'gateway'],
        cloud_properties: { subnet: place.subnetId },
      },
      public: { type: 'vip', ip: place.elasticIp },
    },
    diskCloudProperties: {},
    diskSizeMiB: 1024,
    knowsTokens: true,
    absent,
  };
}

interface Suite {
  readonly name: string;
  readonly checks: readonly ConformanceCheck[];
}

async function suites(endpoint: string, place: AwsPlace, imagePath: string, work: string): Promise<Suite[]> {
  const config = join(work, 'cpi.json');
  const aws = {
    access_key_id: 'lab',
    secret_access_key: 'lab-secret',
    region: 'us-east-1',
    ec2_endpoint: endpoint,
    elb_endpoint: endpoint,
    ebs_endpoint: endpoint,
  };
  const properties = { aws, agent: { ntp: [] } };
  await writeFile(config, JSON.stringify({ cloud: { plugin: 'aws', properties } }), { mode: 0o600 });
  const executable = join(root, 'bin/cpi-aws');
  const input = contractInput(place, imagePath);
  const library: Cpi = awsUnderTest(endpoint, { max_retries: 2 });
  const process = new ProcessCpi({ executable, args: [config], sendsToken: true, timeoutMs: 400_000 });
  return [
    { name: 'library', checks: contractChecks(library, input) },
    {
      name: 'executable',
      checks: [
        ...processChecks({ argv: [executable, config], absentVmCid: absent.vm }),
        ...contractChecks(process, input),
      ],
    },
  ];
}

/** What is left is told once, not again with every later case. */
async function nothingSince(view: AwsView, before: Set<string>): Promise<void> {
  const left = (await view.everything()).filter((thing) => !before.has(thing));
  for (const thing of left) before.add(thing);
  if (left.length > 0) throw new Error(`left over: ${left.join(', ')}`);
}

const nowhere: AwsPlace = {
  subnetId: 'subnet-0',
  zone: 'us-east-1a',
  keyName: 'lab',
  securityGroup: 'lab',
  freeIp: '172.31.0.77',
  elasticIp: '203.0.113.10',
  amiId: 'ami-0',
};

const nowhereUrl = 'http://127.0.0.1:1';

async function main(report: LabReport): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'microbosh-lab-aws-'));
  let moto: Moto | undefined;
  let front: FaultProxy | undefined;
  try {
    const image = { path: await writeImage(work) };
    try {
      moto = await Moto.start(await installMoto(directory), work);
    } catch (error) {
      console.log(`moto cannot be had here: ${messageOf(error)}`);
    }
    front = moto && (await FaultProxy.start([moto.endpoint]));
    front?.inject(...motoDeviations());
    const endpoint = moto === undefined ? nowhereUrl : (front?.addressOf(moto.endpoint) ?? nowhereUrl);
    const view = new AwsView(endpoint);
    const place = moto === undefined ? nowhere : await view.seed();
    const before = new Set(moto === undefined ? [] : await view.everything());
    const run = async (method: string, name: string, body: () => Promise<unknown>): Promise<void> => {
      if (moto === undefined) report.skip(method, name);
      else await report.case(method, name, body);
    };
    for (const { name, checks } of await suites(endpoint, place, image.path, work)) {
      for (const check of checks)
        await run(methodOf(check.name), `${name}: ${check.name}`, () => check.run());
      await run('any', `${name}: nothing is left, by moto's own API`, () => nothingSince(view, before));
    }
    for (const { method, name, body } of awsCases({ endpoint, place, image, view })) {
      await run(method, name, async () => {
        await body();
        await nothingSince(view, before);
      });
    }
    if (values.contract) return;
    for (const { method, name, body } of faultCases({ endpoint, place, image, view, before })) {
      await run(method, name, body);
    }
  } finally {
    await front?.stop();
    await moto?.stop();
    await rm(work, { recursive: true, force: true });
  }
}

const report = new LabReport();
await main(report);
process.exit(report.end());
