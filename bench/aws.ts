import { renameSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, join } from 'node:path';
import { AwsView } from '../e2e/labs/aws/aws-view.ts';
import { vmProperties } from '../e2e/labs/aws/cases.ts';
import { motoDeviations } from '../e2e/labs/aws/moto-deviations.ts';
import { installMoto, Moto } from '../e2e/labs/aws/moto.ts';
import { FaultProxy } from '../e2e/labs/fault-proxy/fault-proxy.ts';
import { awsUnderTest } from '../libs/cpi-aws/src/testing/index.ts';
import { benchCloud, plainTar } from './clouds/cloud-bench.ts';
import type { OriginalCounts } from './clouds/cloud-bench.ts';
import type { BenchResult } from './result.ts';

/**
 * What the original sends per method, by its reference: two looks at each state, one manual network, one security group by
 * name, no elastic IP. Its stemcell is copied on a VM of the cloud: the bytes are no requests.
 */
const original: OriginalCounts = {
  create_stemcell: 20,
  create_vm: 16,
  set_vm_metadata: 4,
  has_vm: 1,
  create_disk: 4,
  attach_disk: 4,
  get_disks: 1,
  set_disk_metadata: 1,
  detach_disk: 5,
  resize_disk: 4,
  reboot_vm: 1,
  delete_vm: 3,
  has_disk: 1,
  delete_disk: 3,
  delete_stemcell: 5,
};

const directory = process.env['LAB_DIR'] ?? '/var/tmp/microbosh-labs';

async function rawImage(folder: string, disk: string): Promise<string> {
  const file = join(folder, 'root.img');
  renameSync(disk, file);
  try {
    return await plainTar(folder, `image-of-${basename(disk)}`, ['root.img']);
  } finally {
    renameSync(file, disk);
  }
}

/** Against moto, with blocks of snapshots taken and thrown away in front of it: moto would keep them in memory. */
export async function run(): Promise<BenchResult> {
  return benchCloud('aws', async (work) => {
    const moto = await Moto.start(await installMoto(directory), work);
    const front = await FaultProxy.start([moto.endpoint]);
    const always = Number.POSITIVE_INFINITY;
    const taken = { kind: 'answer', status: 201, body: '{}' } as const;
    const discarded = { method: 'PUT', path: /^\/snapshots\/[^/]+\/blocks\//, times: always, fault: taken };
    front.inject(...motoDeviations(), discarded);
    // For curl, which sends all in one: the proxy takes blocks only.
    const sink = createServer((incoming, outgoing) => incoming.resume().on('end', () => outgoing.end()));
    await new Promise<void>((resolve) => sink.listen(0, '127.0.0.1', resolve));
    const { port } = sink.address() as AddressInfo;
    const endpoint = front.addressOf(moto.endpoint);
    const place = await new AwsView(endpoint).seed();
    const aws = {
      ...{ access_key_id: 'lab', secret_access_key: 'lab-secret', region: 'us-east-1' },
      ...{ ec2_endpoint: endpoint, elb_endpoint: endpoint, ebs_endpoint: endpoint },
    };
    const network = {
      type: 'manual' as const,
      ip: place.freeIp,
      cloud_properties: { subnet: place.subnetId },
    };
    const sent = () => front.seen.length;
    return {
      cloud: {
        ...{ name: 'aws', cpi: awsUnderTest(endpoint), original, sent, image: rawImage, canResize: true },
        ...{ properties: { aws }, stemcellProperties: { disk: 4096 }, vmProperties: vmProperties(place) },
        networks: { default: network },
        curlArguments: async (file) => ['-T', file, `http://127.0.0.1:${port}/`],
      },
      close: async () => {
        sink.close();
        await front.stop();
        await moto.stop();
      },
    };
  });
}
