/**
 * Proves the vCloud CPI against a stub of vCloud Director that keeps state: the contract, as a library and as the executable,
 * cases of vCloud, and the matrix of faults. There is no simulator of others. Each document that is sent or answered is
 * validated by xmllint against a schema of those documents; that nothing is left is read from the stub's own API.
 *
 *   npm run lab:vcloud [-- [--part NAME]… [--methods create_vm,delete_vm] [--faults 503,401]]
 *
 * --part: contract, cases, deploy (needs root, dist/stemcells and dist/releases: npm run bundle, then the two builds in
 * packaging/releases), guest (builds a stemcell, needs QEMU) or faults only. --methods takes only some rows of the table, --faults
 * only faults whose name is given.
 */
import { rejects } from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { contractChecks, ProcessCpi, processChecks } from '@microbosh/cpi';
import type { ConformanceInput } from '@microbosh/cpi';
import { vcloudUnderTest } from '@microbosh/cpi-vcloud/testing';
import type { JsonObject } from '@microbosh/errors';
import { LabReport } from '../../support/lab-report.ts';
import { deployCases } from '../clouds/deploys.ts';
import type { MicroManifest } from '../clouds/deploys.ts';
import { guestCases } from '../clouds/guests.ts';
import type { GuestLab } from '../clouds/guests.ts';
import { contentOfIso } from '../clouds/iso-content.ts';
import { CaseRunner, stemcellFormats } from '../clouds/lab-cases.ts';
import { labOptions } from '../clouds/lab-options.ts';
import { writeOvfImage } from '../clouds/ovf-image.ts';
import { ownCertificate } from '../clouds/own-certificate.ts';
import { guestNetwork } from '../qemu/boot-flavour.ts';
import { networks, vcloudCases, vmProperties } from './cases.ts';
import type { VcloudLab } from './cases.ts';
import { vcloudFaults } from './faults.ts';
import { SchemaJudge } from './stub/schema-judge.ts';
import { VcloudStub } from './stub/vcloud-stub.ts';
import { VcloudView } from './vcloud-view.ts';

const root = dirname(dirname(dirname(import.meta.dirname)));
const options = labOptions();
const none = '00000000-0000-4000-8000-000000000000';
const absent = {
  vm: `urn:vcloud:vm:${none}`,
  disk: `urn:vcloud:disk:${none}`,
  stemcell: `urn:vcloud:catalogitem:${none}`,
};

function vcdOf({ origin, user, password, state }: VcloudStub, ca: string): JsonObject {
  return {
    ...{ url: origin, user, password, connection_options: { ca_cert: ca } },
    entities: {
      ...{ organization: state.organization.name, virtual_datacenter: state.vdc.name },
      ...{ vapp_catalog: 'stemcells', media_catalog: 'media', media_storage_profile: '*' },
      control: { wait_max: 60, wait_delay: 0.1 },
    },
  };
}

/** Two shapes of the documentation of the original's micro plug-in. */
function microManifests(vcd: JsonObject): readonly MicroManifest[] {
  const network = (ip: string) =>
    `network: {ip: ${ip}, netmask: 255.255.255.0, gateway: 10.246.95.1, dns: [], cloud_properties: {name: lab-net}}`;
  const cloud = `cloud: {plugin: vcloud, properties: ${JSON.stringify({ vcds: [vcd] })}}`;
  const spec = 'apply_spec: {properties: {ntp: [first]}}';
  return [
    { name: 'the defaults of the plug-in', text: (ip) => `${network(ip)}\n${cloud}\n${spec}\n` },
    {
      name: 'resources, an environment and an agent of its own',
      text: (ip) =>
        [
          'logging: {level: DEBUG}',
          network(ip),
          'resources: {persistent_disk: 1024, cloud_properties: {ram: 2048, disk: 8192, cpu: 2}}',
          "env: {bosh: {password: '*', vapp_note: lab}}",
          cloud.replace('"vcds"', '"agent": {"mbus": "https://vcap:lab-secret@0.0.0.0:6868"}, "vcds"'),
          spec,
          '',
        ].join('\n'),
    },
  ];
}

/** What is in the drive of a VM. */
function mediumOf(stub: VcloudStub, cid: string): Buffer {
  return stub.state.of('vm', cid.split(':').at(-1) ?? '').media?.content ?? Buffer.alloc(0);
}

async function deploys(
  runner: CaseRunner,
  { vcd, image, stub, view, work }: VcloudLab,
  before: ReadonlySet<string>,
) {
  const prepared = await deployCases({
    ...{ plugin: 'vcloud', work, cloud: view, before, properties: { vcds: [vcd] }, imagePath: image },
    settingsOf: (cid) => contentOfIso(mediumOf(stub, cid)),
    releaseProperties: { vcd },
    ...{ stemcellFormat: 'vcloud-ovf', stemcellProperties: {}, vmProperties },
    ...{ networkProperties: { name: 'lab-net' }, subnet: '10.246.95', micro: microManifests(vcd) },
  });
  try {
    for (const each of prepared.cases) await runner.run(each);
  } finally {
    await prepared.end();
  }
}

function guestLab({ vcd, image, stub, work }: VcloudLab): GuestLab {
  return {
    ...{ iaas: 'vcloud', work, imagePath: image, stemcellProperties: {}, vmProperties },
    networks: { default: { ...guestNetwork, cloud_properties: { name: 'lab-net' } } },
    open: () => {
      const { cpi } = vcloudUnderTest(vcd);
      return { cpi, close: () => cpi.dispose() };
    },
    contentOf: async (cid) => mediumOf(stub, cid),
    settingsOf: (cid) => contentOfIso(mediumOf(stub, cid)),
  };
}

async function contract(runner: CaseRunner, { vcd, image, work }: VcloudLab): Promise<void> {
  const config = join(work, 'cpi.json');
  const properties = { vcds: [vcd], agent: { ntp: [] } };
  await writeFile(config, JSON.stringify({ cloud: { plugin: 'vcloud', properties } }), { mode: 0o600 });
  const executable = join(root, 'bin/cpi-vcloud');
  const input: ConformanceInput = {
    ...{ imagePath: image, stemcellCloudProperties: {}, vmCloudProperties: vmProperties, networks },
    ...{ diskCloudProperties: {}, diskSizeMiB: 1024, knowsTokens: true, absent },
  };
  const library = vcloudUnderTest(vcd);
  const cpi = new ProcessCpi({ executable, args: [config], sendsToken: true, timeoutMs: 400_000 });
  const process = processChecks({ argv: [executable, config], absentVmCid: absent.vm });
  await runner.suites([
    { name: 'library', checks: contractChecks(library.cpi, input) },
    { name: 'executable', checks: [...process, ...contractChecks(cpi, input)] },
  ]);
  await runner.run(stemcellFormats('vcloud', library.cpi));
  await library.cpi.dispose();
  await runner.run({
    ...{ method: 'any', name: 'the judge refuses a document with its elements in another order' },
    body: async () => {
      const judge = new SchemaJudge();
      const [first, second] = ['<Disk href="https://v/d"/>', '<UnitNumber>1</UnitNumber>'];
      const around = (...content: string[]) =>
        `<DiskAttachOrDetachParams xmlns="http://www.vmware.com/vcloud/v1.5">${content.join('')}</DiskAttachOrDetachParams>`;
      judge.take('right', around(first, second));
      await judge.check();
      judge.take('wrong', around(second, first));
      await rejects(judge.check(), /not valid by the schema/);
    },
  });
}

async function main(report: LabReport): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'microbosh-lab-vcloud-'));
  const tls = await ownCertificate(work);
  const stub = await VcloudStub.start({ tls });
  const view = new VcloudView(stub, tls.cert);
  try {
    const image = await writeOvfImage(work);
    const vcd = vcdOf(stub, tls.cert);
    const before = new Set(await view.everything());
    const { wants, methods, faults } = options;
    const runner = new CaseRunner(report, { isThere: true, cloud: view, before, methods });
    const documents = {
      method: 'any',
      name: 'every document that was sent or answered is valid by the schema',
      body: () => stub.judge.check(),
    };
    const lab = { vcd, image, stub, view, work };
    if (wants('contract')) {
      await contract(runner, lab);
      await runner.run(documents);
    }
    if (wants('cases')) {
      await runner.clean(vcloudCases(lab));
      await runner.run(documents);
    }
    if (wants('deploy')) await deploys(runner, lab, before);
    if (wants('guest')) await runner.clean(guestCases(guestLab(lab)));
    if (wants('faults')) {
      for (const each of vcloudFaults({ ...lab, before, tls, onlyFaults: faults, report }))
        await runner.run(each);
      await runner.run(documents);
    }
    console.log(`documents: ${stub.judge.taken}, of them ${stub.judge.different} different`);
  } finally {
    await view.close();
    await stub.stop();
    await rm(work, { recursive: true, force: true });
  }
}

const report = new LabReport();
await main(report);
process.exit(report.end());
