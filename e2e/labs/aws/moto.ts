import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { NodeCommandRunner } from '@microbosh/host';
import { request } from 'undici';

/** The release that the cases were written against. */
export const motoVersion = '5.2.5';

const runner = new NodeCommandRunner();

/** Off by default: without them any image, key pair and instance type is accepted. */
const validation = {
  MOTO_ENABLE_AMI_VALIDATION: 'true',
  MOTO_ENABLE_KEYPAIR_VALIDATION: 'true',
  MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION: 'true',
};

/** A public image of somebody else: what a light stemcell names. moto's own list of images makes every look-up slow. */
const publicImages = [
  {
    ami_id: 'ami-0123456789abcdef0',
    name: 'lab-public',
    description: 'an image for light stemcells',
    owner_id: '099720109477',
    public: true,
    virtualization_type: 'hvm',
    architecture: 'x86_64',
    state: 'available',
    image_type: 'machine',
    hypervisor: 'xen',
    root_device_name: '/dev/sda1',
    root_device_type: 'ebs',
    sriov: 'simple',
    creation_date: '2026-01-01T00:00:00.000Z',
    platform: null,
  },
];

/** moto in a virtual environment, made when it is not there; throws when this machine cannot. */
export async function installMoto(directory: string): Promise<string> {
  const environment = join(directory, `moto-${motoVersion}`);
  const server = join(environment, 'bin/moto_server');
  const question =
    'import importlib.metadata, sys; sys.exit(importlib.metadata.version("moto") != sys.argv[1])';
  const installed = await runner.run([join(environment, 'bin/python'), '-c', question, motoVersion]).then(
    () => true,
    () => false,
  );
  if (installed) return server;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await runner.run(['python3', '-m', 'venv', '--clear', environment], { timeoutMs: 300_000 });
  const packages = `moto[ec2,elb,elbv2,sts,iam,ebs,server]==${motoVersion}`;
  await runner.run([join(environment, 'bin/pip'), 'install', '--quiet', packages], { timeoutMs: 900_000 });
  return server;
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

/** A moto server on loopback. */
export class Moto {
  readonly endpoint: string;
  readonly #process: ChildProcess;

  private constructor(endpoint: string, child: ChildProcess) {
    this.endpoint = endpoint;
    this.#process = child;
  }

  /** `work`: a folder of its own that goes with the lab. */
  static async start(server: string, work: string): Promise<Moto> {
    const port = await freePort();
    const images = join(work, 'public-images.json');
    await writeFile(images, JSON.stringify(publicImages));
    const env = { ...process.env, ...validation, MOTO_AMIS_PATH: images };
    const child = spawn(server, ['-H', '127.0.0.1', '-p', String(port)], { env, stdio: 'ignore' });
    const moto = new Moto(`http://127.0.0.1:${port}`, child);
    for (let attempt = 0; attempt < 240; attempt += 1) {
      if (child.exitCode !== null) break;
      const status = await request(`${moto.endpoint}/moto-api/`).then(
        async ({ statusCode, body }) => {
          await body.dump();
          return statusCode;
        },
        () => 0,
      );
      if (status === 200) return moto;
      await sleep(250);
    }
    child.kill();
    throw new Error('moto_server does not answer');
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null) return;
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill();
    await ended;
  }
}
