/**
 * Proves the vSphere CPI against the simulator of govmomi: the contract, as a library and as the executable, cases of
 * vSphere, and the matrix of faults. That nothing is left is read from the simulator's own API and its datastores' folders.
 *
 *   npm run lab:vsphere [-- [--part NAME]… [--methods create_vm,delete_vm] [--faults 503,401]]
 *
 * The simulator is built with Go through its module proxy (kept in /var/tmp/microbosh-labs, or LAB_DIR). Where that is not
 * possible the cases are named and counted as skipped.
 * --part: contract, cases, deploy (needs root, dist/stemcells and dist/releases: npm run bundle, then the two builds in
 * packaging/releases), guest (builds a stemcell, needs QEMU) or faults only. --methods takes only some rows of the table, --faults
 * only faults whose name is given.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { contractChecks, ProcessCpi, processChecks } from '@microbosh/cpi';
import type { ConformanceInput } from '@microbosh/cpi';
import { vsphereUnderTest } from '@microbosh/cpi-vsphere/testing';
import { messageOf } from '@microbosh/errors';
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
import { guestNetwork } from '../qemu/boot-flavour.ts';
import { networks, vmProperties, vsphereCases } from './cases.ts';
import type { VsphereLab } from './cases.ts';
import { vsphereFaults } from './faults.ts';
import { buildVcsim, Vcsim } from './vcsim.ts';
import { VsphereView } from './vsphere-view.ts';

const root = dirname(dirname(dirname(import.meta.dirname)));
const options = labOptions();
const directory = process.env['LAB_DIR'] ?? '/var/tmp/microbosh-labs';
const absent = {
  vm: 'vm-00000000-0000-4000-8000-000000000000',
  disk: 'disk-00000000-0000-4000-8000-000000000000',
  stemcell: 'sc-00000000-0000-4000-8000-000000000000',
};

function vcenterOf(vcsim: Pick<Vcsim, 'host' | 'password' | 'ca'>): JsonObject {
  return {
    host: vcsim.host,
    user: 'lab',
    password: vcsim.password,
    connection_options: { ca_cert: vcsim.ca },
    default_disk_type: 'thin',
    datacenters: [
      {
        name: 'DC0',
        datastore_pattern: '^LocalDS_0$',
        persistent_datastore_pattern: '^LocalDS_1$',
        clusters: ['DC0_C0'],
      },
    ],
  };
}

async function suites(vcenter: JsonObject, imagePath: string, work: string) {
  const config = join(work, 'cpi.json');
  const properties = { vcenters: [vcenter], agent: { ntp: [] } };
  await writeFile(config, JSON.stringify({ cloud: { plugin: 'vsphere', properties } }), { mode: 0o600 });
  const executable = join(root, 'bin/cpi-vsphere');
  const input: ConformanceInput = {
    imagePath,
    stemcellCloudProperties: {},
    vmCloudProperties: vmProperties,
    networks,
    diskCloudProperties: {},
    diskSizeMiB: 1024,
    knowsTokens: true,
    absent,
  };
  const library = vsphereUnderTest(vcenter);
  const cpi = new ProcessCpi({ executable, args: [config], sendsToken: true, timeoutMs: 400_000 });
  const process = processChecks({ argv: [executable, config], absentVmCid: absent.vm });
  return {
    library,
    list: [
      { name: 'library', checks: contractChecks(library.cpi, input) },
      { name: 'executable', checks: [...process, ...contractChecks(cpi, input)] },
    ],
  };
}

/** Two shapes of the documentation of the original's micro plug-in. */
function microManifests(vcenter: JsonObject): readonly MicroManifest[] {
  const network = (ip: string) =>
    `network: {ip: ${ip}, netmask: 255.255.255.0, gateway: 10.246.94.1, dns: [], cloud_properties: {name: VM Network}}`;
  const cloud = (agent: JsonObject) =>
    `cloud: {plugin: vsphere, properties: ${JSON.stringify({ vcenters: [vcenter], ...agent })}}`;
  const spec = 'apply_spec: {properties: {ntp: [first]}}';
  return [
    { name: 'the defaults of the plug-in', text: (ip) => `${network(ip)}\n${cloud({})}\n${spec}\n` },
    {
      name: 'resources, an environment and an agent of its own',
      text: (ip) =>
        [
          'logging: {level: DEBUG}',
          network(ip),
          'resources: {persistent_disk: 1024, cloud_properties: {ram: 2048, disk: 8192, cpu: 2}}',
          "env: {bosh: {password: '*'}}",
          cloud({ agent: { mbus: 'https://vcap:lab-secret@0.0.0.0:6868', ntp: [] } }),
          spec,
          '',
        ].join('\n'),
    },
  ];
}

async function deploys(
  runner: CaseRunner,
  { vcenter, image, view }: VsphereLab,
  work: string,
  before: ReadonlySet<string>,
): Promise<void> {
  const { host: address = '', ...others } = vcenter;
  const prepared = await deployCases({
    ...{ plugin: 'vsphere', work, cloud: view, before, imagePath: image },
    properties: { vcenters: [vcenter] },
    releaseProperties: { vcenter: { ...others, address } },
    settingsOf: async (cid) => contentOfIso(await view.download((await view.vm(cid)).isoPath)),
    ...{ stemcellFormat: 'vsphere-ovf', stemcellProperties: {}, vmProperties },
    ...{ networkProperties: { name: 'VM Network' }, subnet: '10.246.94', micro: microManifests(vcenter) },
  });
  try {
    for (const each of prepared.cases) await runner.run(each);
  } finally {
    await prepared.end();
  }
}

function guestLab({ vcenter, image, view }: VsphereLab, work: string): GuestLab {
  const contentOf = async (cid: string) => view.download((await view.vm(cid)).isoPath);
  return {
    ...{ iaas: 'vsphere', work, imagePath: image, stemcellProperties: {}, vmProperties },
    networks: { default: { ...guestNetwork, cloud_properties: { name: 'VM Network' } } },
    open: () => {
      const { cpi } = vsphereUnderTest(vcenter);
      return { cpi, close: () => cpi.dispose() };
    },
    contentOf,
    settingsOf: async (cid) => contentOfIso(await contentOf(cid)),
  };
}

async function main(report: LabReport): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'microbosh-lab-vsphere-'));
  let vcsim: Vcsim | undefined;
  let view: VsphereView | undefined;
  try {
    const image = await writeOvfImage(work);
    try {
      vcsim = await Vcsim.start(await buildVcsim(directory), work);
    } catch (error) {
      console.log(`vcsim cannot be had here: ${messageOf(error)}`);
    }
    const known = vcsim ?? { host: '127.0.0.1:1', password: '', ca: '', key: '' };
    const inside = new VsphereView(known, work);
    view = inside;
    if (vcsim !== undefined) await inside.login();
    const before = new Set(vcsim === undefined ? [] : await inside.everything());
    const { wants, methods, faults } = options;
    const isThere = vcsim !== undefined;
    const runner = new CaseRunner(report, { isThere, cloud: inside, before, methods });
    const vcenter = vcenterOf(known);
    const lab = { vcenter, image, view: inside };
    if (wants('contract')) {
      const { library, list } = await suites(vcenter, image, work);
      await runner.suites(list);
      await runner.run(stemcellFormats('vsphere', library.cpi));
      await library.cpi.dispose();
    }
    if (wants('cases')) await runner.clean(vsphereCases(lab));
    if (wants('deploy')) {
      if (isThere) await deploys(runner, lab, work, before);
      else report.skip('deploy', 'deploys with local guests');
    }
    if (wants('guest')) await runner.clean(guestCases(guestLab(lab, work)));
    if (!wants('faults')) return;
    const tls = { key: known.key, cert: known.ca };
    for (const each of vsphereFaults({ ...lab, before, tls, onlyFaults: faults, report }))
      await runner.run(each);
  } finally {
    await view?.close();
    await vcsim?.stop();
    await rm(work, { recursive: true, force: true });
  }
}

const report = new LabReport();
await main(report);
process.exit(report.end());
