import { VcloudStub } from '../e2e/labs/vcloud/stub/vcloud-stub.ts';
import { vcloudUnderTest } from '../libs/cpi-vcloud/src/testing/index.ts';
import { benchCloud } from './clouds/cloud-bench.ts';
import type { OriginalCounts } from './clouds/cloud-bench.ts';
import { ovfImage } from './clouds/ovf-image.ts';
import type { BenchResult } from './result.ts';

/**
 * What the original sends per method, by its reference: without the login, two looks at each task, one network, catalogs that
 * are there.
 */
const original: OriginalCounts = {
  create_stemcell: 11,
  create_vm: 39,
  set_vm_metadata: 'has none',
  has_vm: 2,
  create_disk: 7,
  attach_disk: 34,
  get_disks: 'has none',
  set_disk_metadata: 'has none',
  detach_disk: 34,
  resize_disk: 'has none',
  reboot_vm: 5,
  delete_vm: 19,
  has_disk: 'has none',
  delete_disk: 5,
  delete_stemcell: 5,
};

/** Against the stub of the lab, which counts the bytes of an upload and throws them away. */
export async function run(): Promise<BenchResult> {
  return benchCloud('vcloud', async () => {
    const stub = await VcloudStub.start();
    const { state, user, password, origin: url } = stub;
    const vcd = {
      ...{ url, user, password },
      entities: {
        ...{ organization: state.organization.name, virtual_datacenter: state.vdc.name },
        ...{ vapp_catalog: 'stemcells', media_catalog: 'media', control: { wait_delay: 0.05 } },
      },
    };
    const { cpi, client } = vcloudUnderTest(vcd);
    // Catalogs of a datacenter in use are there.
    for (const name of ['stemcells', 'media']) stub.addCatalog(name);
    return {
      cloud: {
        ...{
          name: 'vcloud',
          cpi,
          original,
          sent: () => client.calls.length,
          image: ovfImage,
          canResize: true,
        },
        ...{
          properties: { vcds: [vcd] },
          stemcellProperties: {},
          vmProperties: { cpu: 1, ram: 512, disk: 1024 },
        },
        networks: { default: { type: 'manual', ip: '10.0.0.10', cloud_properties: { name: 'lab-net' } } },
        curlArguments: async (file) => ['-T', file, `${url}/discard`],
      },
      close: async () => {
        await cpi.dispose();
        await stub.stop();
      },
    };
  });
}
