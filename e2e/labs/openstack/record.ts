import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  exchangeOf,
  lifecycle,
  lifecycleIds,
  openstackUnderTest,
  recordedOrigin,
  withoutPlace,
  withoutRepeats,
} from '@microbosh/cpi-openstack/testing';
import type { RecordedCall } from '@microbosh/cpi-openstack/testing';
import type { NetworksSpec } from '@microbosh/spec';
import { root, succeed } from '../../support/commands.ts';
import type { LabReport } from '../../support/lab-report.ts';
import { FaultProxy } from '../fault-proxy/fault-proxy.ts';
import type { OpenstackLab } from './contract.ts';

const file = join(root, 'libs/cpi-openstack/testdata/recorded-zed.json');

/**
 * Every method once, through a proxy that keeps what the services are asked and answer. Tells how many requests each method
 * took; with `write`, what was kept goes to the test data of the CPI, without secrets and ids.
 */
export async function recordLifecycle(lab: OpenstackLab, report: LabReport, write: boolean): Promise<void> {
  const { cloud, work, properties } = lab;
  const services = cloud.origins();
  const proxy = await FaultProxy.start([...services.values()]);
  const floating = await cloud.allocateFloatingIp();
  const calls: RecordedCall[] = [];
  let exchanges: RecordedCall['exchanges'][number][] = [];
  proxy.onExchange = ({ upstream, ...seen }) => {
    for (const [service, origin] of services) {
      if (origin === upstream) exchanges.push(exchangeOf(service, seen));
    }
  };
  const { cpi } = openstackUnderTest(proxy.addressOf(cloud.setting('OS_AUTH_URL')), {
    ...properties,
    auth_url: proxy.addressOf(cloud.setting('OS_AUTH_URL')),
  });
  const networks: NetworksSpec = {
    default: {
      type: 'manual',
      ip: '10.77.0.30',
      netmask: '255.255.255.0',
      gateway: '10.77.0.1',
      cloud_properties: { net_id: cloud.setting('LAB_NETWORK_ID') },
    },
    public: { type: 'vip', ip: floating.address },
  };
  const vmCloudProperties = { instance_type: cloud.setting('LAB_FLAVOR'), availability_zone: 'nova' };
  const bootStemcell = `${cloud.setting('LAB_IMAGE_ID')} light`;
  const image = await smallImage(work);
  try {
    await lifecycle(
      cpi,
      { imagePath: image, bootStemcell, vmCloudProperties, networks, hasTokens: true },
      async (call, run) => {
        exchanges = [];
        const result = await run();
        calls.push({ call, exchanges: withoutRepeats(exchanges) });
        const sent = exchanges.filter(({ service }) => service !== 'identity').length;
        report.figure(call, `${sent} requests`);
        return result;
      },
    );
    if (!write) return;
    const origins = new Map(
      [...services].map(([service, origin]) => [origin, recordedOrigin(service)] as const),
    );
    const cleaned = withoutPlace(calls, { kept: lifecycleIds, origins });
    const place = {
      bootStemcell: bootStemcell.replace(cloud.setting('LAB_IMAGE_ID'), cleaned.idOf),
      networkId: cleaned.idOf(cloud.setting('LAB_NETWORK_ID')),
      floatingIp: floating.address,
      vmCloudProperties,
      keyName: properties['default_key_name'],
      securityGroups: properties['default_security_groups'],
    };
    const recording = { services: 'OpenStack Zed, Debian 12', place, calls: cleaned.calls };
    await mkdir(join(file, '..'), { recursive: true });
    await writeFile(file, `${JSON.stringify(recording, null, 1)}\n`);
  } finally {
    await cpi.dispose();
    await proxy.stop();
    await cloud.releaseFloatingIp(floating.id);
  }
}

async function smallImage(work: string): Promise<string> {
  const folder = join(work, 'recorded');
  await mkdir(folder);
  await writeFile(join(folder, 'root.img'), 'no system at all');
  const path = join(folder, 'image');
  await succeed(['tar', '-czf', path, '-C', folder, 'root.img']);
  return path;
}
