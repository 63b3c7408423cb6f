import { spawn } from 'node:child_process';
import { open, readFile, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { VmCreationFailed } from '@microbosh/cpi';
import type { CommandResult, CommandRunner } from '@microbosh/host';
import type { Bridges } from './bridges.ts';
import type { ControlGroups, ResourceLimits } from './control-groups.ts';
import type { LoopDevice } from './loop-devices.ts';
import type { InterfacePlan } from './network-plan.ts';
import { identifyProcess, killVmProcesses, signalProcess, vmMarker, waitForExit } from './processes.ts';
import type { ProcessIdentity } from './processes.ts';
import { handoverScript, setupScript } from './vm-scripts.ts';

export interface AttachedDevice {
  readonly device: LoopDevice;
  /** Name below /dev/disk/by-id. */
  readonly link: string;
}

export interface VmStart {
  readonly cid: string;
  readonly directory: string;
  readonly kind: 'host-rootfs' | 'rootfs';
  /** What lies below the VM's own changes: the machine's /usr, or the root file system of the stemcell. */
  readonly lower: string;
  /** False: the root directory is a copy of a full stemcell, because its file system cannot be an overlay's upper one. */
  readonly overlaid: boolean;
  /** The Node.js that a host-rootfs VM's agent runs on. */
  readonly runtime: string;
  readonly hostname: string;
  readonly interfaces: readonly InterfacePlan[];
  readonly limits: ResourceLimits;
  readonly devices: readonly AttachedDevice[];
  readonly signal: AbortSignal | undefined;
}

const maxConsoleBytes = 4 << 20;

/** Where the VM's own changes are kept: below /usr of a host-rootfs, anywhere in a rootfs. */
export function overlayPaths(directory: string, kind: VmStart['kind']): { upper: string; work: string } {
  const prefix = kind === 'host-rootfs' ? 'usr-' : '';
  return { upper: join(directory, `${prefix}upper`), work: join(directory, `${prefix}work`) };
}

export function consolePath(directory: string): string {
  return join(directory, 'console.log');
}

/** The namespaces of a VM: started, stopped, and changed while it runs. */
export class VmProcesses {
  readonly #runner: CommandRunner;
  readonly #bridges: Bridges;
  readonly #controlGroups: ControlGroups;

  constructor(runner: CommandRunner, bridges: Bridges, controlGroups: ControlGroups) {
    this.#runner = runner;
    this.#bridges = bridges;
    this.#controlGroups = controlGroups;
  }

  /** Returns the VM's PID 1, which outlives this process. Ends what an earlier attempt has left first. */
  async start(vm: VmStart): Promise<ProcessIdentity> {
    await this.stop(vm.directory, vm.cid, vm.interfaces, 0);
    vm.signal?.throwIfAborted();
    for (const { bridge } of vm.interfaces) await this.#bridges.ensure(bridge);

    const log = consolePath(vm.directory);
    if ((await sizeOf(log)) > maxConsoleBytes) await truncate(log, 0);
    const console = await open(log, 'a', 0o600);
    const { upper, work } = overlayPaths(vm.directory, vm.kind);
    const child = spawn(
      // A control group refuses a process with the real-time priority that the operator's shell may have.
      'chrt',
      [
        ...['--other', '0', 'unshare'],
        ...['--mount', '--pid', '--net', '--uts', '--ipc', '--fork', '--propagation', 'private'],
        ...['bash', '--norc', '--noprofile', '-c', setupScript, 'microbosh-vm'],
      ],
      {
        cwd: '/',
        detached: true,
        stdio: ['pipe', console.fd, console.fd],
        env: {
          PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
          [vmMarker]: vm.directory,
          VM_ROOT: join(vm.directory, 'root'),
          VM_LOWER: vm.lower,
          VM_UPPER: vm.overlaid ? upper : '',
          VM_WORK: work,
          VM_CONSOLE: log,
          VM_HANDOVER: handoverScript,
          VM_RUNTIME: vm.runtime,
          VM_HOSTNAME: vm.hostname,
          VM_KIND: vm.kind,
          VM_NODES: vm.devices
            .map(
              ({ device, link }) =>
                `${device.path.slice('/dev/'.length)} ${device.major} ${device.minor} ${link}`,
            )
            .join('\n'),
        },
      },
    );
    child.on('error', () => undefined);
    child.stdin?.on('error', () => undefined);
    child.unref();
    try {
      const init = await this.#initOf(child.pid, vm.signal);
      await this.#controlGroups.place(vm.cid, init.pid, vm.limits);
      for (const card of vm.interfaces) await this.#plug(card, init.pid);
      await this.#inNetwork(init.pid, ['link', 'set', 'lo', 'up']);
      // What this process starts the VM with; without it the set-up script gives up.
      child.stdin?.end('go\n');
      await this.#untilHandedOver(init, vm);
      return init;
    } catch (error) {
      await this.stop(vm.directory, vm.cid, vm.interfaces, 0);
      vm.signal?.throwIfAborted();
      throw new VmCreationFailed(
        `VM '${vm.cid}' did not start: ${error instanceof Error ? error.message : String(error)}\n${await this.consoleTail(vm.directory)}`,
        { cause: error },
      );
    } finally {
      await console.close();
    }
  }

  /** Ends the VM: SIGTERM to its PID 1 with `graceMs` to follow, then SIGKILL; takes its network cards away. */
  async stop(
    directory: string,
    cid: string,
    interfaces: readonly InterfacePlan[],
    graceMs: number,
    init?: ProcessIdentity,
  ): Promise<void> {
    if (init !== undefined && graceMs > 0) {
      // systemd powers off on SIGRTMIN+4, and takes SIGTERM for the wish to start itself again.
      signalProcess(init.pid, (await isSystemd(init.pid)) ? 38 : 'SIGTERM');
      await waitForExit(init, graceMs);
    }
    await killVmProcesses(directory);
    for (const card of interfaces) await this.#bridges.unplug(card);
    await this.#controlGroups.remove(cid);
  }

  /** Makes a device visible in the running VM. */
  async addDevice(init: ProcessIdentity, { device, link }: AttachedDevice): Promise<void> {
    const script =
      'set -e; mkdir -p /dev/disk/by-id; rm -f "$1" "/dev/disk/by-id/$4"; mknod -m 0600 "$1" b "$2" "$3"; ln -s "../../${1#/dev/}" "/dev/disk/by-id/$4"';
    await this.#inside(init.pid, [
      ...['sh', '-c', script, 'sh', device.path, String(device.major), String(device.minor), link],
    ]);
  }

  async removeDevice(init: ProcessIdentity, { device, link }: AttachedDevice): Promise<void> {
    await this.#inside(init.pid, [
      'sh',
      '-c',
      'rm -f "$1" "$1"p* "/dev/disk/by-id/$2"',
      'sh',
      device.path,
      link,
    ]);
  }

  async consoleTail(directory: string, bytes = 8192): Promise<string> {
    try {
      const content = await readFile(consolePath(directory));
      return content.subarray(Math.max(0, content.length - bytes)).toString('utf8');
    } catch {
      return '';
    }
  }

  /** What systemd and its units have said since the boot; '' where systemd is not PID 1. */
  async journalTail(init: ProcessIdentity): Promise<string> {
    if (!(await isSystemd(init.pid))) return '';
    const show = ['journalctl', '--boot', '--no-pager', '--lines=200', '--output=short-monotonic'] as const;
    const { stdout } = await this.#inside(init.pid, show);
    return stdout;
  }

  async #plug(card: InterfacePlan, pid: number): Promise<void> {
    await this.#bridges.plug(card, pid);
    await this.#inNetwork(pid, ['address', 'replace', `${card.ip}/${card.prefix}`, 'dev', card.guestName]);
    await this.#inNetwork(pid, ['link', 'set', card.guestName, 'up']);
    if (card.defaultGateway !== undefined) {
      await this.#inNetwork(pid, ['route', 'replace', 'default', 'via', card.defaultGateway]);
    }
  }

  async #inNetwork(pid: number, args: readonly string[]): Promise<void> {
    await this.#runner.run(['nsenter', '--target', String(pid), '--net', 'ip', ...args], {
      timeoutMs: 20_000,
    });
  }

  async #inside(pid: number, argv: readonly string[]): Promise<CommandResult> {
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };
    const target = ['nsenter', '--target', String(pid), '--mount', '--pid'] as const;
    return this.#runner.run([...target, ...argv], { timeoutMs: 20_000, env });
  }

  /** The one child of unshare. */
  async #initOf(unsharePid: number | undefined, signal: AbortSignal | undefined): Promise<ProcessIdentity> {
    if (unsharePid === undefined) throw new Error("the program 'unshare' cannot be started");
    const deadline = Date.now() + 10_000;
    for (;;) {
      signal?.throwIfAborted();
      const children = await readFile(`/proc/${unsharePid}/task/${unsharePid}/children`, 'utf8').catch(
        () => '',
      );
      const pid = Number(children.trim().split(' ')[0] ?? '');
      const identity = pid > 0 ? await identifyProcess(pid) : undefined;
      if (identity !== undefined) return identity;
      if (Date.now() > deadline) throw new Error('its namespaces were not made in time');
      await sleep(5);
    }
  }

  /** Waits until the set-up script has become the VM's init. */
  async #untilHandedOver(init: ProcessIdentity, vm: VmStart): Promise<void> {
    const deadline = Date.now() + 30_000;
    for (;;) {
      vm.signal?.throwIfAborted();
      if ((await identifyProcess(init.pid)) === undefined) throw new Error('its set-up failed');
      const command = await readFile(`/proc/${init.pid}/cmdline`, 'latin1').catch(() => '');
      if (!command.includes('microbosh-vm') && !command.startsWith('setpriv')) return;
      if (Date.now() > deadline) throw new Error('its set-up did not end in time');
      await sleep(5);
    }
  }
}

async function isSystemd(pid: number): Promise<boolean> {
  return (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')).trim() === 'systemd';
}

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  );
}
