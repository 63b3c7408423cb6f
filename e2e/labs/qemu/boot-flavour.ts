import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'undici';
import { withQmp } from '@microbosh/cpi-qemu';
import { isJsonObject } from '@microbosh/errors';
import type { Json, JsonObject } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';
import { isIaas, type Iaas } from '@microbosh/stemcell-builder';
import { devicesOf } from './devices.ts';
import { imageOf } from './stemcell-image.ts';
import { serveMetadata, writeMedium, writeRelay } from './settings-medium.ts';

const runner = new NodeCommandRunner();
const timeoutMs = 400_000;
const ownMac = '52:54:00:6d:62:01';
const dispatcher = new Agent({ connect: { rejectUnauthorized: false }, connectTimeout: 15_000 });

type Machine = Exclude<Iaas, 'local'>;

/** Where every machine but that of AWS is: in the user network of QEMU. */
export const guestNetwork = {
  type: 'manual',
  ip: '10.0.2.15',
  netmask: '255.255.255.0',
  gateway: '10.0.2.2',
  dns: ['10.0.2.3'],
  default: ['dns', 'gateway'],
} as const;

interface Keys {
  /** Of the agent's endpoint, PEM. */
  readonly certificate: string;
  readonly privateKey: string;
  /** With which vcap may log in. */
  readonly sshKey: string;
  readonly sshKeyFile: string;
}

async function makeKeys(work: string): Promise<Keys> {
  const [key, certificate, sshKeyFile] = ['key.pem', 'certificate.pem', 'ssh'].map((name) =>
    join(work, name),
  ) as [string, string, string];
  await runner.run([
    ...(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2'] as const),
    ...['-subj', '/CN=agent', '-keyout', key, '-out', certificate],
  ]);
  await runner.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'lab', '-f', sshKeyFile]);
  await chmod(sshKeyFile, 0o600);
  return {
    certificate: await readFile(certificate, 'utf8'),
    privateKey: await readFile(key, 'utf8'),
    sshKey: (await readFile(`${sshKeyFile}.pub`, 'utf8')).trim(),
    sshKeyFile,
  };
}

/** What the machine is told, and what tells it: user data, or the image of a CD-ROM or a config drive. */
export interface Delivery {
  readonly settings: JsonObject;
  readonly content: Buffer;
}

/** Settings of this file, on a medium that is no CPI's. */
async function ownDelivery(iaas: Machine, env: JsonObject, work: string): Promise<Delivery> {
  const ownSettings = settings(iaas, env);
  const text = JSON.stringify(ownSettings);
  if (iaas === 'aws') return { settings: ownSettings, content: Buffer.from(text) };
  const medium = join(work, 'own-medium.iso');
  if (iaas === 'vsphere' || iaas === 'vcloud') await writeMedium(medium, 'env', { env: text });
  else {
    await writeMedium(medium, 'config-2', {
      'ec2/latest/meta-data.json': '{"instance-id":"lab"}',
      'ec2/latest/user-data': text,
    });
  }
  return { settings: ownSettings, content: await readFile(medium) };
}

function settings(iaas: Machine, env: JsonObject): JsonObject {
  return {
    agent_id: `lab-${iaas}`,
    vm: { name: `lab-${iaas}` },
    mbus: 'https://lab:secret@0.0.0.0:6868',
    networks:
      iaas === 'aws' ? { default: { type: 'dynamic' } } : { default: { ...guestNetwork, mac: ownMac } },
    disks: { system: '0', ephemeral: devicesOf(iaas).ephemeral?.hint ?? null, persistent: {} },
    ntp: [],
    blobstore: { provider: 'local', options: { blobstore_path: '/var/vcap/data/blobs' } },
    env,
  };
}

/** The network card of the settings. */
function macOf(networks: Json | undefined): string {
  const [network] = isJsonObject(networks) ? Object.values(networks) : [];
  const mac = isJsonObject(network) ? network['mac'] : undefined;
  return typeof mac === 'string' ? mac : ownMac;
}

export interface BootReport {
  readonly iaas: Iaas;
  /** How often the file system of the data disk was mounted since it was made; undefined: there is none. */
  readonly dataMounts: number | undefined;
  /** How often the agent said that it is mounted: more than `dataMounts`, then it was made again. */
  readonly dataMountsTold: number;
  /** Status of the agent's answer to a request without credentials; undefined: it did not answer. */
  readonly status: number | undefined;
  readonly seconds: number;
  readonly console: string;
  /** Seconds of processor time that QEMU had used when a line of the console came: on a busy machine the better clock. */
  cpuSecondsAt(line: string): number | undefined;
}

/** Runs a script in the machine as root, through its SSH server. */
export type RunInside = (script: string) => Promise<string>;

/** A machine whose agent has answered. */
export interface Guest {
  readonly run: RunInside;
  /** Where the agent's port is on this machine. */
  readonly agentPort: number;
  /** That the settings' env gives the agent. Its name is `agent`. */
  readonly certificate: string;
}

export interface BootOptions {
  /** Delivers settings with this env. Default: settings of this lab. */
  readonly deliver?: (env: JsonObject) => Promise<Delivery>;
  /** The machine is reset, as by a power cut, when it has run for that long since its start or its last reset. */
  readonly cutsAfterSeconds?: readonly number[];
  /** Called when the agent has answered. */
  readonly visit?: (guest: Guest) => Promise<void>;
}

/** Boots a stemcell with the devices of its IaaS until its agent answers over HTTPS. */
export async function bootStemcell(
  stemcell: string,
  { cutsAfterSeconds = [], deliver, visit }: BootOptions = {},
): Promise<BootReport> {
  const iaas = /microbosh-stemcell-[^-]+-([a-z]+)-/.exec(stemcell)?.[1] ?? '';
  if (!isIaas(iaas) || iaas === 'local') throw new Error(`${stemcell}: not a stemcell for a machine`);
  const work = await mkdtemp(join(tmpdir(), 'mb-flavour-'));
  let metadata: Server | undefined;
  try {
    const devices = devicesOf(iaas);
    const keys = await makeKeys(work);
    const cert = { certificate: keys.certificate, private_key: keys.privateKey };
    const env = { bosh: { password: '*', authorized_keys: [keys.sshKey], mbus: { cert } } };
    const delivery = await (deliver?.(env) ?? ownDelivery(iaas, env, work));
    metadata = await serveMetadata(delivery.content);
    const medium = join(work, 'medium.iso');
    await writeFile(medium, delivery.content);
    const image = await imageOf(stemcell, work);
    await runner.run(['qemu-img', 'resize', '-q', image, '8G']);
    const ephemeral = join(work, 'ephemeral.qcow2');
    await runner.run(['qemu-img', 'create', '-q', '-f', 'qcow2', ephemeral, '4G']);
    const port = 20_000 + Math.floor(Math.random() * 20_000);
    const sshPort = port + 1;
    const forwards = (address: string) =>
      `hostfwd=tcp:127.0.0.1:${port}-${address}:6868,hostfwd=tcp:127.0.0.1:${sshPort}-${address}:22`;
    const relay = join(work, 'relay');
    await writeRelay(relay, metadata);
    const network =
      iaas === 'aws'
        ? `user,id=net0,net=169.254.169.0/24,host=169.254.169.2,dhcpstart=169.254.169.15,${forwards('169.254.169.15')},guestfwd=tcp:169.254.169.254:80-cmd:${relay}`
        : `user,id=net0,${forwards('10.0.2.15')}`;
    const consoleLog = join(work, 'console.log');
    const control = join(work, 'qmp.sock');
    let startedAt = Date.now();
    const cpuSeconds = new Map<string, number>();
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
        ...[
          '-netdev',
          network,
          '-device',
          `${devices.nic},netdev=net0,mac=${macOf(delivery.settings['networks'])}`,
        ],
      ],
      // The user network complains about every packet that comes before the machine listens.
      { stdio: 'ignore' },
    );
    const watching = watchConsole(consoleLog, qemu, cpuSeconds);
    try {
      for (const seconds of cutsAfterSeconds) {
        await sleep(seconds * 1000);
        await withQmp(control, {}, (qmp) => qmp.execute('system_reset'));
        startedAt = Date.now();
      }
      const status = await answerOf(port, () => qemu.exitCode === null);
      const seconds = (Date.now() - startedAt) / 1000;
      if (status !== undefined) {
        const run = (script: string) => runInside(script, sshPort, keys.sshKeyFile);
        await visit?.({ run, agentPort: port, certificate: keys.certificate });
      }
      await stop(qemu);
      const said = await readFile(consoleLog, 'utf8').catch(() => '');
      return {
        iaas,
        status,
        seconds,
        dataMounts: await mountsOf(devices.ephemeral === undefined ? image : ephemeral, work),
        dataMountsTold: said.match(/"step":"data disk",.*"Bootstrap step finished/g)?.length ?? 0,
        console: said,
        cpuSecondsAt: (line) => cpuSeconds.get(line),
      };
    } finally {
      await stop(qemu);
      await watching;
    }
  } finally {
    metadata?.close();
    await rm(work, { recursive: true, force: true });
  }
}

/** Notes the processor time of QEMU at each new line, until it ends. */
async function watchConsole(log: string, qemu: ChildProcess, noted: Map<string, number>): Promise<void> {
  let seen = 0;
  while (qemu.exitCode === null && qemu.signalCode === null) {
    const lines = (await readFile(log, 'utf8').catch(() => '')).split('\n').slice(0, -1);
    if (lines.length > seen) {
      const stat = await readFile(`/proc/${qemu.pid}/stat`, 'utf8').catch(() => '');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      // In hundredths: what it used itself, in user mode and in the kernel.
      const used = (Number(fields[11]) + Number(fields[12])) / 100;
      for (const line of lines.slice(seen)) noted.set(line, used);
      seen = lines.length;
    }
    await sleep(20);
  }
}

async function runInside(script: string, port: number, keyFile: string): Promise<string> {
  const { stdout } = await runner.run(
    [
      ...(['ssh', '-q', '-i', keyFile, '-p', String(port), '-o', 'BatchMode=yes'] as const),
      ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'ConnectTimeout=60'],
      ...['vcap@127.0.0.1', 'sudo sh -s'],
    ],
    { stdin: script, timeoutMs },
  );
  return stdout;
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
