import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { withQmp } from '@microbosh/cpi-qemu';
import { succeed } from './commands.ts';
import type { Example } from './example.ts';

/** What `env.bosh` gives the user vcap. */
export const hash = '$6$salt$hash';
export const key = 'ssh-ed25519 AAAA journey';

/** A machine of QEMU, seen from this one. */
export class QemuView {
  readonly #example: Example;
  /** Length of the console's text at the last cut. */
  #seen = 0;

  constructor(example: Example) {
    this.#example = example;
  }

  /** Turns a copy of the example into one for machines of QEMU. */
  static async prepare(example: Example, stemcell: string, release: string): Promise<QemuView> {
    await example.edit((text) =>
      text
        .replace(/file:.*local-host-rootfs\.tgz/, `file://${stemcell}`)
        .replace(/file:.*microbosh-registry\.tgz/, `file://${release}`)
        .replace(
          /plugin: local\n {2}properties:\n {4}local:/,
          `plugin: qemu\n  properties:\n    agent:\n      ntp: [${example.subnet}.1]\n    qemu:`,
        )
        .replace('dns: []', `dns: [${example.subnet}.1]`)
        .replace("password: '*'", `password: '${hash}'\n      authorized_keys: ['${key}']`)
        .replace('ephemeral_disk: 1024', 'memory: 1024\n    root_disk: 6144')
        .replace('timeout: 60', 'timeout: 300'),
    );
    example.limitMs = 14 * 60_000;
    example.requestMs = 60_000;
    return new QemuView(example);
  }

  get #vms(): string {
    return join(this.#example.localRoot, 'vms');
  }

  /** Of the one VM that has been made. */
  async cid(): Promise<string> {
    const [cid, ...others] = await readdir(this.#vms);
    if (cid === undefined || others.length > 0) throw new Error(`${others.length} VMs too many, or none`);
    return cid;
  }

  async pid(): Promise<number> {
    return Number(await readFile(join(this.#vms, await this.cid(), 'qemu.pid'), 'utf8'));
  }

  /** As when the power fails and comes back; `moment` is what the console says then since the last cut, or seconds. */
  async cutPower(moment: RegExp | number): Promise<void> {
    const seen = this.#seen;
    const deadline = Date.now() + 5 * 60_000;
    if (typeof moment === 'number') await sleep(moment * 1000);
    else
      while (!moment.test((await this.console()).slice(seen))) {
        if (Date.now() > deadline) throw new Error(`the console does not say ${String(moment)}`);
        await sleep(50);
      }
    this.#seen = (await this.console()).length;
    await withQmp(join(this.#vms, await this.cid(), 'qmp.sock'), {}, (qmp) => qmp.execute('system_reset'));
  }

  /** Runs a script in the machine as root, through its SSH server. */
  async run(script: string): Promise<string> {
    const { stdout } = await succeed(
      this.#example.command('ssh', '-q', '--', 'sudo', 'sh', '-c', `'${script.replaceAll("'", `'\\''`)}'`),
      { env: this.#example.env, timeoutMs: 240_000 },
    );
    return stdout.trim();
  }

  async console(): Promise<string> {
    return readFile(join(this.#vms, await this.cid(), 'console.log'), 'utf8');
  }
}
