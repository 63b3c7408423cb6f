import { execFile, execFileSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ProcessCpi } from '../libs/cpi/src/index.ts';
import type { CallContext } from '../libs/cpi/src/index.ts';
import type { NetworksSpec } from '../libs/spec/src/index.ts';
import {
  FakeOpenstack,
  fakeCredentials,
  lifecycle,
  openstackUnderTest,
} from '../libs/cpi-openstack/src/testing/index.ts';
import { medianMs, timeMs } from './result.ts';
import type { BenchResult, Figure } from './result.ts';

const imageMiB = 400;
const run_ = promisify(execFile);
const context: CallContext = { directorUuid: 'bench', requestId: 'r', stemcellApiVersion: 3 };

/**
 * What the original sends per method, by its reference: without Keystone, two looks at each state that is waited for (the
 * first sees it in passing), one manual network, a free floating IP.
 */
const original: Readonly<Record<string, number>> = {
  create_stemcell: 5,
  create_vm: 11,
  set_vm_metadata: 2,
  has_vm: 1,
  create_disk: 4,
  attach_disk: 7,
  set_disk_metadata: 2,
  snapshot_disk: 5,
  delete_snapshot: 4,
  detach_disk: 6,
  resize_disk: 4,
  reboot_vm: 4,
  delete_vm: 6,
  has_disk: 1,
  delete_disk: 4,
  delete_stemcell: 2,
};

/** HTTP requests per method, upload beside `curl -T`, and a call in process beside one of the executable. */
export async function run(): Promise<BenchResult> {
  const work = mkdtempSync(join(tmpdir(), 'bench-openstack-'));
  const cloud = await FakeOpenstack.start();
  try {
    const figures = [
      ...(await requests(cloud, work)),
      ...(await upload(cloud, work)),
      ...(await overhead(cloud, work)),
    ];
    return { name: 'openstack', figures };
  } finally {
    await cloud.stop();
    rmSync(work, { recursive: true, force: true });
  }
}

function image(work: string, name: string, mebibytes: number): string {
  const file = join(work, 'root.img');
  writeFileSync(file, '');
  const block = Buffer.alloc(1 << 20);
  for (let written = 0; written < mebibytes; written += 1) appendFileSync(file, randomFillSync(block));
  execFileSync('tar', ['-czf', join(work, name), '-C', work, 'root.img']);
  return join(work, name);
}

async function requests(cloud: FakeOpenstack, work: string): Promise<Figure[]> {
  const { cpi, calls } = openstackUnderTest(cloud.authUrl);
  const figures: Figure[] = [];
  const networks: NetworksSpec = {
    default: { type: 'manual', ip: '10.77.0.9', cloud_properties: { net_id: cloud.networkId } },
    public: { type: 'vip', ip: '203.0.113.10' },
  };
  const place = {
    imagePath: image(work, 'small', 1),
    vmCloudProperties: { instance_type: 'm1.small' },
    networks,
    hasTokens: false,
  };
  await lifecycle(cpi, place, async (method, call) => {
    const before = calls.length;
    const result = await call();
    const sent = calls.slice(before).filter((line) => !line.includes('/auth/tokens')).length;
    const beside = original[method];
    if (beside !== undefined) {
      const label = `${method}: HTTP requests (the original ${beside})`;
      figures.push({ label, value: sent, unit: '' });
    }
    return result;
  });
  await cpi.dispose();
  return figures;
}

/** Both into the same server, which counts the bytes and throws them away. */
async function upload(cloud: FakeOpenstack, work: string): Promise<Figure[]> {
  const archive = image(work, 'large', imageMiB);
  const { cpi } = openstackUnderTest(cloud.authUrl, { state_timeout: 300 });
  const [token = ''] = [...cloud.tokens];
  const created = await fetch(`${cloud.origin}/image/v2/images`, {
    method: 'POST',
    headers: { 'x-auth-token': token },
    body: JSON.stringify({ name: 'curl', disk_format: 'raw' }),
  });
  const { id } = (await created.json()) as { id: string };
  const curl = await timeMs(() =>
    run_('curl', [
      ...['-sS', '--fail', '--noproxy', '*', '-T', join(work, 'root.img'), '-H', `X-Auth-Token: ${token}`],
      ...['-H', 'Content-Type: application/octet-stream', `${cloud.origin}/image/v2/images/${id}/file`],
    ]),
  );
  const before = process.memoryUsage().rss;
  const whole = await timeMs(() => cpi.createStemcell(context, archive, {}));
  const memory = (process.memoryUsage().rss - before) / 2 ** 20;
  const unpack = await timeMs(() =>
    run_('sh', ['-c', `tar -xzOf "$1" > "$2"`, 'sh', archive, join(work, 'unpacked.img')]),
  );
  await cpi.dispose();
  return [
    { label: `curl -T of the same ${imageMiB} MiB`, value: imageMiB / (curl / 1000), unit: 'MiB/s' },
    { label: 'create_stemcell with unpacking', value: imageMiB / (whole / 1000), unit: 'MiB/s' },
    { label: 'create_stemcell beside tar -xz, then curl -T', value: whole / (unpack + curl), unit: 'x' },
    {
      label: 'memory that it took more',
      value: Math.max(0, memory),
      unit: 'MiB',
      aim: 'far below the image',
    },
  ];
}

async function overhead(cloud: FakeOpenstack, work: string): Promise<Figure[]> {
  const config = join(work, 'cpi.json');
  const openstack = { auth_url: cloud.authUrl, ...fakeCredentials };
  writeFileSync(config, JSON.stringify({ cloud: { plugin: 'openstack', properties: { openstack } } }));
  const executable = join(import.meta.dirname, '../bin/cpi-openstack');
  const outside = new ProcessCpi({ executable, args: [config] });
  const { cpi } = openstackUnderTest(cloud.authUrl);
  await outside.hasVm(context, 'none');
  await cpi.hasVm(context, 'none');
  const process_ = await medianMs(7, () => outside.hasVm(context, 'none'));
  const inside = await medianMs(7, () => cpi.hasVm(context, 'none'));
  await cpi.dispose();
  return [
    { label: 'has_vm in process', value: inside, unit: 'ms' },
    { label: 'has_vm as an executable (start, login, call)', value: process_, unit: 'ms' },
  ];
}
