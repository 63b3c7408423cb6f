import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'undici';
import { withQmp } from '@microbosh/cpi-qemu';
import { NodeCommandRunner } from '@microbosh/host';
import { isIaas, type Iaas } from '@microbosh/stemcell-builder';
import { devicesOf } from './devices.ts';
import { imageOf } from './stemcell-image.ts';
import { serveMetadata, writeMedium } from './settings-medium.ts';

const runner = new NodeCommandRunner();
const timeoutMs = 400_000;
const mac = '52:54:00:6d:62:01';
const dispatcher = new Agent({ connect: { rejectUnauthorized: false }, connectTimeout: 15_000 });

function settings(iaas: Iaas, ephemeral: string | undefined): Record<string, unknown> {
  return {
    agent_id: `lab-${iaas}`,
    vm: { name: `lab-${iaas}` },
    mbus: 'https://lab:secret@0.0.0.0:6868',
    networks:
      iaas === 'aws'
        ? { default: { type: 'dynamic' } }
        : {
            default: {
              type: 'manual',
              ip: '10.0.2.15',
              netmask: '255.255.255.0',
              gateway: '10.0.2.2',
              dns: ['10.0.2.3'],
              default: ['dns', 'gateway'],
              mac,
            },
          },
    disks: { system: '0', ephemeral: ephemeral ?? null, persistent: {} },
    ntp: [],
    blobstore: { provider: 'local', options: { blobstore_path: '/var/vcap/data/blobs' } },
    env: { bosh: { password: '*' } },
  };
}

export interface BootReport {
  readonly iaas: Iaas;
  /** How often the file system of the data disk was mounted; undefined: there is none. */
  readonly dataMounts: number | undefined;
  /** Status of the agent's answer to a request without credentials; undefined: it did not answer. */
  readonly status: number | undefined;
  readonly seconds: number;
  readonly console: string;
}

/**
 * Boots a stemcell with the devices of its IaaS until its agent answers over HTTPS. `cutsAfterSeconds`: the machine is reset,
 * as by a power cut, when it has run for that long since its start or its last reset.
 */
export async function bootStemcell(
  stemcell: string,
  cutsAfterSeconds: readonly number[] = [],
): Promise<BootReport> {
  const iaas = /microbosh-stemcell-[^-]+-([a-z]+)-/.exec(stemcell)?.[1] ?? '';
  if (!isIaas(iaas) || iaas === 'local') throw new Error(`${stemcell}: not a stemcell for a machine`);
  const work = await mkdtemp(join(tmpdir(), 'mb-flavour-'));
  const devices = devicesOf(iaas);
  const userData = JSON.stringify(settings(iaas, devices.ephemeral?.hint));
  const metadata = await serveMetadata(userData);
  try {
    const image = await imageOf(stemcell, work);
    const medium = join(work, 'medium.iso');
    if (iaas === 'vsphere' || iaas === 'vcloud') await writeMedium(medium, 'env', { env: userData });
    else {
      await writeMedium(medium, 'config-2', {
        'ec2/latest/meta-data.json': '{"instance-id":"lab"}',
        'ec2/latest/user-data': userData,
      });
    }
    await runner.run(['qemu-img', 'resize', '-q', image, '8G']);
    const ephemeral = join(work, 'ephemeral.qcow2');
    await runner.run(['qemu-img', 'create', '-q', '-f', 'qcow2', ephemeral, '4G']);
    const port = 20_000 + Math.floor(Math.random() * 20_000);
    const metadataAddress = metadata.address();
    const metadataPort = typeof metadataAddress === 'object' ? metadataAddress?.port : undefined;
    const network =
      iaas === 'aws'
        ? `user,id=net0,net=169.254.169.0/24,host=169.254.169.2,dhcpstart=169.254.169.15,hostfwd=tcp:127.0.0.1:${port}-169.254.169.15:6868,guestfwd=tcp:169.254.169.254:80-tcp:127.0.0.1:${metadataPort}`
        : `user,id=net0,hostfwd=tcp:127.0.0.1:${port}-10.0.2.15:6868`;
    const consoleLog = join(work, 'console.log');
    const control = join(work, 'qmp.sock');
    let startedAt = Date.now();
    const qemu = spawn(
      'qemu-system-x86_64',
      [
        ...['-nodefaults', '-no-user-config', '-display', 'none', '-machine', devices.machine],
        ...['-accel', 'tcg,thread=multi,tb-size=128', '-cpu', 'max', '-smp', '1', '-m', '768'],
        ...['-chardev', `file,id=console,path=${consoleLog}`, '-serial', 'chardev:console'],
        ...['-qmp', `unix:${control},server=on,wait=off`],
        ...['-blockdev', `driver=qcow2,node-name=root,file.driver=file,file.filename=${image}`],
        ...devices.disk,
        ...(devices.ephemeral?.disk ?? []).map((argument) => argument.replace('$EPHEMERAL', ephemeral)),
        ...devices.medium.map((argument) => argument.replace('$MEDIUM', medium)),
        ...['-netdev', network, '-device', `${devices.nic},netdev=net0,mac=${mac}`],
      ],
      // The user network complains about every packet that comes before the machine listens.
      { stdio: 'ignore' },
    );
    try {
      for (const seconds of cutsAfterSeconds) {
        await sleep(seconds * 1000);
        await withQmp(control, {}, (qmp) => qmp.execute('system_reset'));
        startedAt = Date.now();
      }
      const status = await answerOf(port, () => qemu.exitCode === null);
      const seconds = (Date.now() - startedAt) / 1000;
      await stop(qemu);
      return {
        iaas,
        status,
        seconds,
        dataMounts: await mountsOf(devices.ephemeral === undefined ? image : ephemeral, work),
        console: await readFile(consoleLog, 'utf8').catch(() => ''),
      };
    } finally {
      await stop(qemu);
    }
  } finally {
    metadata.close();
    await rm(work, { recursive: true, force: true });
  }
}

async function stop(qemu: ChildProcess): Promise<void> {
  if (qemu.exitCode !== null || qemu.signalCode !== null) return;
  const ended = once(qemu, 'exit');
  qemu.kill('SIGKILL');
  await ended;
}

/** Of the file system in the last partition: a new one begins to count at zero. */
async function mountsOf(image: string, work: string): Promise<number | undefined> {
  const raw = join(work, 'data.raw');
  await runner.run(['qemu-img', 'convert', '-O', 'raw', image, raw], { timeoutMs });
  const { stdout: table } = await runner.run(['sfdisk', '--dump', raw]);
  const start = [...table.matchAll(/start= *(\d+)/g)].map((match) => Number(match[1])).at(-1);
  const { stdout: header } = await runner.run(['dumpe2fs', '-h', `${raw}?offset=${(start ?? 0) * 512}`], {
    okExitCodes: [0, 1],
  });
  const count = /^Mount count: +(\d+)$/m.exec(header)?.[1];
  return count === undefined ? undefined : Number(count);
}

/** Status of the agent's answer to a request without credentials; undefined when it does not answer in time. */
async function answerOf(port: number, isAlive: () => boolean): Promise<number | undefined> {
  const deadline = Date.now() + timeoutMs;
  while (Date.now() < deadline && isAlive()) {
    try {
      const { statusCode, body } = await request(`https://127.0.0.1:${port}/agent`, {
        method: 'POST',
        dispatcher,
        headersTimeout: 20_000,
      });
      await body.dump();
      return statusCode;
    } catch {
      await sleep(250);
    }
  }
  return undefined;
}
