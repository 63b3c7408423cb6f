import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { contractChecks, ProcessCpi, processChecks } from '@microbosh/cpi';
import type { ConformanceCheck, ConformanceInput } from '@microbosh/cpi';
import { createOpenstackCpi } from '@microbosh/cpi-openstack';
import type { JsonObject } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';
import { root } from '../../support/commands.ts';
import type { CloudView } from './cloud-view.ts';

export interface OpenstackLab {
  readonly cloud: CloudView;
  readonly work: string;
  /** `cloud.properties.openstack`. */
  readonly properties: JsonObject;
}

interface Suite {
  readonly name: string;
  readonly checks: readonly ConformanceCheck[];
}

const absent = '00000000-0000-4000-8000-000000000000';

/** The contract of the CPI API, by the library and by the executable. */
export async function contractSuites(lab: OpenstackLab): Promise<readonly Suite[]> {
  const { cloud, work, properties } = lab;
  const config = {
    cloud: { plugin: 'openstack', properties: { openstack: properties, agent: { ntp: [] } } },
  };
  const configFile = join(work, 'cpi.json');
  await writeFile(configFile, JSON.stringify(config), { mode: 0o600 });
  const executable = join(root, 'bin/cpi-openstack');
  const process = new ProcessCpi({
    executable,
    args: [configFile],
    sendsToken: true,
    env: { no_proxy: '*' },
    timeoutMs: 400_000,
  });
  const input: ConformanceInput = {
    imagePath: await guestImage(cloud, work),
    stemcellCloudProperties: {
      name: 'contract',
      version: '1',
      disk_format: 'raw',
      container_format: 'bare',
    },
    vmCloudProperties: { instance_type: cloud.setting('LAB_FLAVOR'), availability_zone: 'nova' },
    networks: {
      default: {
        type: 'manual',
        ip: '10.77.0.40',
        netmask: '255.255.255.0',
        gateway: '10.77.0.1',
        default: ['dns', 'gateway'],
        cloud_properties: { net_id: cloud.setting('LAB_NETWORK_ID') },
      },
    },
    diskCloudProperties: {},
    diskSizeMiB: 1024,
    knowsTokens: true,
    absent: { vm: absent, disk: absent, stemcell: absent },
  };
  return [
    { name: 'library', checks: contractChecks(createOpenstackCpi(config), input) },
    {
      name: 'executable',
      checks: [
        ...processChecks({ argv: [executable, configFile], absentVmCid: absent }),
        ...contractChecks(process, input),
      ],
    },
  ];
}

/** As a stemcell's `image`. A guest with a kernel: without one, no device is ever given back. */
async function guestImage(cloud: CloudView, work: string): Promise<string> {
  const runner = new NodeCommandRunner();
  const path = join(work, 'image');
  await runner.run(['ln', '-s', cloud.setting('LAB_GUEST_FILE'), join(work, 'root.img')]);
  await runner.run(['tar', '-czhf', path, '-C', work, 'root.img'], { timeoutMs: 300_000 });
  return path;
}
