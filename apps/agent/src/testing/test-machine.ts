import { NodeCommandRunner } from '@microbosh/host';
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { JsonObject } from '@microbosh/errors';

const runner = new NodeCommandRunner();
const driver = join(import.meta.dirname, 'host-driver.ts');
const checkout = resolve(import.meta.dirname, '../../../..');
/** Where the machine sees this checkout, which may lie in a /tmp that the agent covers. */
const checkoutInside = '/run/checkout';

/** Path inside a machine of a file of this checkout. */
export function insideMachine(path: string): string {
  return path.startsWith(`${checkout}/`) ? `${checkoutInside}${path.slice(checkout.length)}` : path;
}

export interface DriverResult {
  readonly ok: boolean;
  readonly code?: string;
  readonly message?: string;
  readonly value?: unknown;
  readonly boundaries: number;
  readonly elapsedMs: number;
}

/**
 * A machine of namespaces with real loop devices: its /etc, /dev, /run, /home and /var/vcap are its own, its root
 * state survives `powerOff`, and nothing it does touches the host.
 */
export class TestMachine {
  readonly directory: string;
  readonly #loops = new Map<string, { image: string; device: string }>();
  #init: ChildProcess | undefined;
  #pid = 0;

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async create(): Promise<TestMachine> {
    const machine = new TestMachine(await mkdtemp(join(tmpdir(), 'microbosh-machine-')));
    for (const name of ['vcap/bosh', 'etc-upper', 'etc-work']) {
      mkdirSync(join(machine.directory, name), { recursive: true });
    }
    writeFileSync(
      join(machine.directory, 'vcap/bosh/agent.json'),
      JSON.stringify({
        Platform: { Linux: { Container: true } },
        Infrastructure: {
          Settings: { Sources: [{ Type: 'File', SettingsPath: '/var/vcap/bosh/user-data.json' }] },
        },
      }),
    );
    return machine;
  }

  configure(settings: JsonObject): void {
    writeFileSync(join(this.directory, 'vcap/bosh/user-data.json'), JSON.stringify(settings));
  }

  /** Attaches a sparse image as a disk; the machine sees it from its next boot on. */
  async attach(cid: string, sizeMiB: number): Promise<string> {
    const image = join(this.directory, `${cid}.img`);
    await runner.run(['truncate', '-s', `${sizeMiB}M`, image]);
    const device = (await runner.run(['losetup', '--find', '--show', image])).stdout.trim();
    this.#loops.set(cid, { image, device });
    return device;
  }

  async detach(cid: string): Promise<void> {
    const loop = this.#loops.get(cid);
    if (!loop) return;
    await runner.run(['partx', '--delete', loop.device], { okExitCodes: [0, 1] });
    await runner.run(['losetup', '--detach', loop.device]);
    this.#loops.delete(cid);
  }

  /** Puts the image of a detached disk on a loop device again. */
  async reattach(cid: string): Promise<void> {
    await this.attach(cid, await this.#sizeMiB(cid));
  }

  async #sizeMiB(cid: string): Promise<number> {
    const answer = await runner.run(['stat', '-c', '%s', join(this.directory, `${cid}.img`)]);
    return Number(answer.stdout) / 2 ** 20;
  }

  async boot(): Promise<void> {
    const nodes = [...this.#loops].map(
      ([cid, { device }]) =>
        `mknod ${device} b 7 ${device.replace('/dev/loop', '')}; ln -s ${device} /dev/disk/by-id/microbosh-${cid}`,
    );
    const d = this.directory;
    const script = [
      'set -e',
      'mount --make-rprivate /',
      `mount -t overlay overlay -o lowerdir=/etc,upperdir=${d}/etc-upper,workdir=${d}/etc-work /etc`,
      `mkdir -p /var/vcap && mount --bind ${d}/vcap /var/vcap`,
      'mount -t tmpfs tmpfs /home; mount -t tmpfs tmpfs /run; mkdir /run/lock',
      `mkdir ${checkoutInside} && mount --bind '${checkout}' ${checkoutInside}`,
      'mount -t tmpfs -o mode=755 tmpfs /dev; mkdir -p /dev/shm /dev/disk/by-id; mount -t tmpfs tmpfs /dev/shm',
      'for n in "null 1 3" "zero 1 5" "random 1 8" "urandom 1 9" "tty 5 0"; do set -- $n; mknod -m 666 /dev/$1 c $2 $3; done',
      ...nodes,
      'grep -q ^vcap: /etc/group || echo vcap:x:21000: >> /etc/group',
      'grep -q ^vcap: /etc/passwd || echo vcap:x:21000:21000::/home/vcap:/bin/sh >> /etc/passwd',
      'grep -q ^vcap: /etc/shadow || echo "vcap:!:19000:0:99999:7:::" >> /etc/shadow',
      'mkdir -p /home/vcap',
      'mkdir -p /usr/local/share/ca-certificates; mount -t tmpfs tmpfs /usr/local/share/ca-certificates',
      'ip link set lo up',
      'ip link add eth0 type dummy && ip addr add 10.77.0.2/24 dev eth0 && ip link set eth0 up',
      'echo ready',
      'exec sleep 600',
    ].join('\n');
    const init = spawn(
      'unshare',
      [
        '--mount',
        '--net',
        '--uts',
        '--ipc',
        '--pid',
        '--fork',
        '--kill-child',
        '--mount-proc',
        'bash',
        '-c',
        script,
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    this.#init = init;
    await new Promise<void>((resolve, reject) => {
      let errors = '';
      init.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
      init.stdout.on('data', (chunk: Buffer) => chunk.toString().includes('ready') && resolve());
      init.on('exit', () => reject(new Error(`the machine did not boot: ${errors}`)));
    });
    const children = await runner.run(['pgrep', '-P', String(init.pid)]);
    this.#pid = Number(children.stdout.trim().split('\n')[0]);
  }

  /** Like pulling the plug: everything in it ends at once. */
  async powerOff(): Promise<void> {
    const init = this.#init;
    if (!init || init.exitCode !== null || init.signalCode !== null) return;
    const gone = new Promise((resolve) => init.once('exit', resolve));
    process.kill(this.#pid, 'SIGKILL');
    await gone;
    this.#init = undefined;
  }

  /** A command inside. */
  async run(command: string): Promise<string> {
    const answer = await runner.run([...this.#enter(), 'bash', '-c', command], { timeoutMs: 60_000 });
    return answer.stdout;
  }

  /** An operation of the agent inside; undefined when it was killed at `killAt`. */
  async agent(operation: readonly string[], killAt?: number): Promise<DriverResult | undefined> {
    const answer = await runner
      .run([...this.#enter(), insideMachine(process.execPath), insideMachine(driver), ...operation], {
        timeoutMs: 60_000,
        okExitCodes: [0, 137],
        env: {
          PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
          ...(killAt === undefined ? {} : { KILL_AT: String(killAt) }),
          ...(process.env['KILLS'] === undefined ? {} : { KILLS: process.env['KILLS'] }),
        },
      })
      .catch((error: unknown) => {
        if (killAt !== undefined) return { stdout: '' };
        throw error;
      });
    const line = answer.stdout.trim().split('\n').at(-1) ?? '';
    return line === '' ? undefined : (JSON.parse(line) as DriverResult);
  }

  async dispose(): Promise<void> {
    await this.powerOff();
    for (const cid of [...this.#loops.keys()]) await this.detach(cid);
    rmSync(this.directory, { recursive: true, force: true });
  }

  #enter(): [string, ...string[]] {
    return ['nsenter', '--target', String(this.#pid), '--mount', '--net', '--uts', '--ipc', '--pid', '--'];
  }
}
