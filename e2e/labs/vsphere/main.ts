/**
 * Proves the vSphere CPI against the simulator of govmomi: the contract, as a library and as the executable, cases of
 * vSphere, and the matrix of faults. That nothing is left is read from the simulator's own API and its datastores' folders.
 *
 *   npm run lab:vsphere [-- --contract]
 *
 * The simulator is built with Go through its module proxy (kept in /var/tmp/microbosh-labs, or LAB_DIR). Where that is not
 * possible the cases are named and counted as skipped. --contract leaves the matrix of faults out.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { contractChecks, ProcessCpi, processChecks } from '@microbosh/cpi';
import type { ConformanceInput } from '@microbosh/cpi';
import { vsphereUnderTest } from '@microbosh/cpi-vsphere/testing';
import { messageOf } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';
import { ovfDescriptor } from '@microbosh/stemcell-builder';
import { LabReport, methodOf } from '../../support/lab-report.ts';
import { networks, vmProperties, vsphereCases } from './cases.ts';
import { faultCases } from './faults.ts';
import { buildVcsim, Vcsim } from './vcsim.ts';
import { VsphereView } from './vsphere-view.ts';

const root = dirname(dirname(dirname(import.meta.dirname)));
const { values } = parseArgs({ options: { contract: { type: 'boolean', default: false } } });
const directory = process.env['LAB_DIR'] ?? '/var/tmp/microbosh-labs';
const absent = {
  vm: 'vm-00000000-0000-4000-8000-000000000000',
  disk: 'disk-00000000-0000-4000-8000-000000000000',
  stemcell: 'sc-00000000-0000-4000-8000-000000000000',
};

/** A stemcell's `image`: the descriptor that `build-stemcell` writes, and something in place of the disk. */
async function writeImage(work: string): Promise<string> {
  const disk = Buffer.alloc(3 << 20, 'KDMV');
  await writeFile(join(work, 'image-disk1.vmdk'), disk);
  const described = { file: 'image-disk1.vmdk', fileSizeBytes: disk.length, capacityBytes: 3 * 2 ** 30 };
  await writeFile(join(work, 'image.ovf'), ovfDescriptor('stemcell', described));
  const path = join(work, 'image');
  const files = ['image.ovf', 'image-disk1.vmdk'];
  await new NodeCommandRunner().run(['tar', '-czf', path, '-C', work, ...files]);
  return path;
}

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

/** What is left is told once, not again with every later case. */
async function nothingSince(view: VsphereView, before: Set<string>): Promise<void> {
  const left = (await view.everything()).filter((thing) => !before.has(thing));
  for (const thing of left) before.add(thing);
  if (left.length > 0) throw new Error(`left over: ${left.join(', ')}`);
}

async function main(report: LabReport): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'microbosh-lab-vsphere-'));
  let vcsim: Vcsim | undefined;
  let view: VsphereView | undefined;
  try {
    const image = await writeImage(work);
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
    const run = async (method: string, name: string, body: () => Promise<unknown>): Promise<void> => {
      if (vcsim === undefined) report.skip(method, name);
      else await report.case(method, name, body);
    };
    const vcenter = vcenterOf(known);
    const { library, list } = await suites(vcenter, image, work);
    for (const { name, checks } of list) {
      for (const check of checks)
        await run(methodOf(check.name), `${name}: ${check.name}`, () => check.run());
      await run('any', `${name}: nothing is left, by the simulator's own API and files`, () =>
        nothingSince(inside, before),
      );
    }
    await library.cpi.dispose();
    for (const { method, name, body } of vsphereCases({ vcenter, image, view: inside })) {
      await run(method, name, async () => {
        await body();
        await nothingSince(inside, before);
      });
    }
    if (values.contract) return;
    for (const { method, name, body } of faultCases({
      vcenter,
      image,
      view: inside,
      before,
      tls: { key: known.key, cert: known.ca },
    })) {
      await run(method, name, body);
    }
  } finally {
    await view?.close();
    await vcsim?.stop();
    await rm(work, { recursive: true, force: true });
  }
}

const report = new LabReport();
await main(report);
process.exit(report.end());
