/**
 * Proves the AWS CPI against moto, with its validation switched on: the contract, as a library and as the executable, cases
 * of AWS, and the matrix of faults. That nothing is left is read from moto's own API.
 *
 *   npm run lab:aws [-- [--part NAME]… [--methods create_vm,delete_vm] [--faults 503,401]]
 *
 * moto comes from PyPI into a virtual environment (kept in /var/tmp/microbosh-labs, or LAB_DIR). Where that is not possible
 * the cases are named and counted as skipped.
 * --part: contract, cases, deploy (needs root, dist/stemcells and dist/releases: npm run bundle, then the two builds in
 * packaging/releases), guest (builds a stemcell, needs QEMU) or faults only. --methods takes only some rows of the table, --faults
 * only faults whose name is given.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { contractChecks, ProcessCpi, processChecks } from '@microbosh/cpi';
import type { ConformanceInput, Cpi } from '@microbosh/cpi';
import { awsUnderTest } from '@microbosh/cpi-aws/testing';
import { isJsonObject, messageOf } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';
import { FaultProxy } from '../fault-proxy/fault-proxy.ts';
import { LabReport } from '../../support/lab-report.ts';
import { deployCases } from '../clouds/deploys.ts';
import type { MicroManifest } from '../clouds/deploys.ts';
import { guestCases } from '../clouds/guests.ts';
import type { GuestLab } from '../clouds/guests.ts';
import { CaseRunner, stemcellFormats } from '../clouds/lab-cases.ts';
import type { Suite } from '../clouds/lab-cases.ts';
import { labOptions } from '../clouds/lab-options.ts';
import { AwsView } from './aws-view.ts';
import type { AwsPlace } from './aws-view.ts';
import { awsCases, dynamicNetwork, vmProperties } from './cases.ts';
import type { AwsLab } from './cases.ts';
import { awsDeviationCases } from './deviation-cases.ts';
import { awsFaults } from './faults.ts';
import { installMoto, Moto } from './moto.ts';
import { motoDeviations } from './moto-deviations.ts';

const root = dirname(dirname(dirname(import.meta.dirname)));
const options = labOptions();
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

function propertiesAt(endpoint: string): JsonObject {
  return {
    ...{ access_key_id: 'lab', secret_access_key: 'lab-secret', region: 'us-east-1' },
    ...{ ec2_endpoint: endpoint, elb_endpoint: endpoint, ebs_endpoint: endpoint },
  };
}

async function suites(endpoint: string, place: AwsPlace, imagePath: string, work: string): Promise<Suite[]> {
  const config = join(work, 'cpi.json');
  const aws = propertiesAt(endpoint);
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

/** Two shapes of the documentation of the original's micro plug-in. */
function microManifests(aws: JsonObject, network: JsonObject, subnet: string): readonly MicroManifest[] {
  const at = (ip: string) =>
    `network: {type: manual, ip: ${ip}, netmask: 255.255.255.0, gateway: ${subnet}.1, dns: [], cloud_properties: ${JSON.stringify(network)}}`;
  const cloud = (properties: JsonObject) =>
    `cloud: {plugin: aws, properties: ${JSON.stringify({ aws: properties })}}`;
  const spec = 'apply_spec: {properties: {ntp: [first]}}';
  const zone = 'availability_zone: us-east-1a';
  return [
    {
      name: 'a subnet, a key pair and default security groups',
      text: (ip) =>
        [
          at(ip),
          `resources: {persistent_disk: 1024, cloud_properties: {instance_type: t3.micro, ${zone}}}`,
          cloud({ ...aws, default_key_name: 'lab', default_security_groups: ['lab-deploy'] }),
          spec,
          '',
        ].join('\n'),
    },
    {
      name: 'security groups of the network, an ephemeral disk and a session',
      text: (ip) =>
        [
          at(ip).replace('"subnet"', '"security_groups": ["lab-deploy"], "subnet"'),
          `resources: {persistent_disk: 1024, cloud_properties: {instance_type: t3.micro, ${zone}, ephemeral_disk: {size: 10240, type: gp3}}}`,
          "env: {bosh: {password: '*'}}",
          cloud({ ...aws, session_token: 'lab-session', default_key_name: 'lab' }),
          spec,
          '',
        ].join('\n'),
    },
  ];
}

function settingsIn(userData: Buffer, cid: string): JsonObject {
  const data: unknown = JSON.parse(userData.toString('utf8'));
  if (!isJsonObject(data)) throw new Error(`${cid} has no settings in its user data`);
  return data;
}

async function deploys(
  runner: CaseRunner,
  lab: AwsLab,
  work: string,
  before: ReadonlySet<string>,
): Promise<void> {
  const subnet = '10.246.93';
  const { view, endpoint, place, image } = lab;
  const { subnetId, securityGroup } = await view.seedSubnet(`${subnet}.0/24`);
  const aws = propertiesAt(endpoint);
  const network = { subnet: subnetId };
  const prepared = await deployCases({
    ...{ plugin: 'aws', work, cloud: view, before, properties: { aws }, imagePath: image.path, subnet },
    settingsOf: async (cid) => settingsIn(await view.userData(cid), cid),
    releaseProperties: { aws },
    ...{ stemcellFormat: 'aws-raw', stemcellProperties: { name: 'lab', version: '1', disk: 1024 } },
    vmProperties: { ...vmProperties(place), security_groups: [securityGroup] },
    ...{ networkProperties: network, micro: microManifests(aws, network, subnet) },
  });
  try {
    for (const each of prepared.cases) await runner.run(each);
  } finally {
    await prepared.end();
  }
}

function guestLab({ endpoint, place, image, view }: AwsLab, work: string): GuestLab {
  return {
    ...{ iaas: 'aws', work, imagePath: image.path, networks: dynamicNetwork(place) },
    stemcellProperties: { name: 'guest', version: '1', disk: 1024 },
    open: () => ({ cpi: awsUnderTest(endpoint), close: async () => undefined }),
    // QEMU's NVMe disks do not tell the names that EC2 gives to disks.
    vmProperties: { ...vmProperties(place), ephemeral_disk: { use_root_disk: true } },
    contentOf: (cid) => view.userData(cid),
    settingsOf: async (cid) => settingsIn(await view.userData(cid), cid),
  };
}

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
    const { wants, methods, faults } = options;
    const isThere = moto !== undefined;
    const runner = new CaseRunner(report, { isThere, cloud: view, before, methods });
    const lab = { endpoint, place, image, view };
    if (wants('contract')) {
      await runner.suites(await suites(endpoint, place, image.path, work));
      await runner.run(stemcellFormats('aws', awsUnderTest(endpoint)));
    }
    if (wants('cases')) await runner.clean([...awsCases(lab), ...awsDeviationCases(lab)]);
    if (wants('deploy')) {
      if (isThere) await deploys(runner, lab, work, before);
      else report.skip('deploy', 'deploys with local guests');
    }
    if (wants('guest')) await runner.clean(guestCases(guestLab(lab, work)));
    if (!wants('faults')) return;
    for (const each of awsFaults({ ...lab, before, onlyFaults: faults, report })) await runner.run(each);
  } finally {
    await front?.stop();
    await moto?.stop();
    await rm(work, { recursive: true, force: true });
  }
}

const report = new LabReport();
await main(report);
process.exit(report.end());
