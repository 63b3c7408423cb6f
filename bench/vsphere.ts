import { VsphereView } from '../e2e/labs/vsphere/vsphere-view.ts';
import { buildVcsim, Vcsim } from '../e2e/labs/vsphere/vcsim.ts';
import { vsphereUnderTest } from '../libs/cpi-vsphere/src/testing/index.ts';
import { benchCloud } from './clouds/cloud-bench.ts';
import type { OriginalCounts } from './clouds/cloud-bench.ts';
import { ovfImage } from './clouds/ovf-image.ts';
import type { BenchResult } from './result.ts';

/**
 * What the original sends per method at least, by its reference: the calls that it names, without the login, two looks at each
 * task, one look at each object. Its reads are one object at a time; for create_vm the reference says hundreds.
 */
const original: OriginalCounts = {
  create_stemcell: 'at least 16',
  create_vm: 'hundreds',
  set_vm_metadata: 'at least 3',
  has_vm: 'at least 1',
  create_disk: 'at least 5',
  attach_disk: 'at least 11',
  get_disks: 'has none',
  set_disk_metadata: 0,
  detach_disk: 'at least 4',
  resize_disk: 'has none',
  reboot_vm: 'at least 2',
  delete_vm: 'at least 13',
  has_disk: 'at least 3',
  delete_disk: 'at least 6',
  delete_stemcell: 'at least 4',
};

const directory = process.env['LAB_DIR'] ?? '/var/tmp/microbosh-labs';

/** Against the simulator of govmomi, which writes uploads into a folder. */
export async function run(): Promise<BenchResult> {
  return benchCloud('vsphere', async (work) => {
    const vcsim = await Vcsim.start(await buildVcsim(directory), work);
    const { host, password, ca } = vcsim;
    const view = new VsphereView(vcsim, work);
    await view.login();
    const datacenter = {
      ...{ name: 'DC0', datastore_pattern: '^LocalDS_0$', persistent_datastore_pattern: '^LocalDS_1$' },
      clusters: ['DC0_C0'],
    };
    const vcenter = {
      ...{ host, user: 'lab', password, connection_options: { ca_cert: ca } },
      ...{ default_disk_type: 'thin', datacenters: [datacenter] },
    };
    const { cpi, client } = vsphereUnderTest(vcenter);
    return {
      cloud: {
        ...{
          name: 'vsphere',
          cpi,
          original,
          sent: () => client.calls.length,
          image: ovfImage,
          canResize: true,
        },
        ...{ properties: { vcenters: [vcenter] }, stemcellProperties: {} },
        vmProperties: { cpu: 1, ram: 512, disk: 1024 },
        networks: { default: { type: 'manual', ip: '10.0.0.10', cloud_properties: { name: 'VM Network' } } },
        curlArguments: async (file) => [
          ...['-k', '-T', file, '-u', `lab:${password}`],
          `https://${host}/folder/bench-curl?dcPath=DC0&dsName=LocalDS_0`,
        ],
      },
      close: async () => {
        await cpi.dispose();
        await view.close();
        await vcsim.stop();
      },
    };
  });
}
