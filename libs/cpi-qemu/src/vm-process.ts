import { open, rm, stat, truncate } from 'node:fs/promises';
import { errorCode, isJsonObject } from '@microbosh/errors';
import { CommandFailed, type CommandRunner } from '@microbosh/host';
import { chooseAccelerator, qemuProgram } from './accelerator.ts';
import type { Bridges } from './bridges.ts';
import { deviceId, qemuArguments, type NicArguments } from './qemu-arguments.ts';
import type { QemuConfig } from './qemu-config.ts';
import { QemuHostUnfit, QemuNotStarted, QmpUnreachable } from './qemu-errors.ts';
import { findQemu, killQemu, waitForQemuEnd } from './qemu-process.ts';
import { withQmp, type QmpClient, type QmpOptions } from './qmp-client.ts';
import type { Records, VmRecord } from './records.ts';

const consoleTailBytes = 64 * 1024;
const consoleLimitBytes = 4 << 20;

/** The running side of a VM: its QEMU, found again by pid file and control socket whichever process started it. */
export class VmProcess {
  readonly #runner: CommandRunner;
  readonly #config: QemuConfig;
  readonly #records: Records;
  readonly #bridges: Bridges;
  /** Found out once. */
  #accelerator: 'kvm' | 'tcg' | undefined;

  constructor(runner: CommandRunner, config: QemuConfig, records: Records, bridges: Bridges) {
    this.#runner = runner;
    this.#config = config;
    this.#records = records;
    this.#bridges = bridges;
  }

  async isRunning(vmCid: string): Promise<boolean> {
    return (await findQemu(this.#path(vmCid, 'qemu.pid'), vmCid)) !== undefined;
  }

  /** Starts QEMU with the disks that the record names. Returns when the machine is set up and its CPU runs. */
  async start(vm: VmRecord, signal?: AbortSignal): Promise<void> {
    const path = (name: string) => this.#path(vm.cid, name);
    // What a killed QEMU left; a regular end removes both.
    await rm(path('qmp.sock'), { force: true });
    await rm(path('qemu.pid'), { force: true });
    await this.#limitConsole(vm.cid);
    const options = signal ? { signal } : {};
    await this.ensureNetworks(vm);
    this.#accelerator ??= await chooseAccelerator(this.#runner, this.#config.accelerator);
    const accelerator = this.#accelerator;
    const argv: [string, ...string[]] = [
      qemuProgram,
      ...qemuArguments({
        name: vm.cid,
        accelerator,
        cpus: vm.properties.cpus,
        memoryMiB: vm.properties.memoryMiB,
        rootFile: path('root.qcow2'),
        ...(vm.properties.ephemeralDiskMiB > 0 && {
          ephemeral: { file: path('ephemeral.qcow2'), serial: ephemeralSerial(vm.cid) },
        }),
        configDriveFile: path('config.iso'),
        nics: vm.nics.map((nic, index) => nicOf(vm, nic, index)),
        disks: vm.disks.map((disk) => ({
          ...disk,
          file: this.#records.disks.pathOf(disk.cid, 'disk.qcow2'),
        })),
        consoleFile: path('console.log'),
        pidFile: path('qemu.pid'),
        qmpSocket: path('qmp.sock'),
      }),
    ];
    try {
      await this.#runner.run(vm.networkMode === 'bridge' ? this.#bridges.inside(argv) : argv, {
        ...options,
        timeoutMs: 120_000,
      });
    } catch (error) {
      if (!(error instanceof CommandFailed)) throw error;
      if (error.exitCode === null && /ENOENT/.test(error.message)) {
        throw new QemuHostUnfit('QEMU is not installed', {
          cause: error,
          advice: 'apt-get install --no-install-recommends qemu-system-x86 qemu-utils xorriso',
        });
      }
      throw new QemuNotStarted(
        `QEMU does not start for VM '${vm.cid}': ${error.stderr.trim() || error.message}`,
        {
          cause: error,
        },
      );
    }
  }

  async ensureNetworks(vm: VmRecord): Promise<void> {
    if (vm.networkMode !== 'bridge') return;
    for (const nic of vm.nics) {
      await this.#bridges.ensure(nic.bridge);
      await this.#bridges.ensureTap(nic.tap, nic.bridge);
    }
  }

  /** Presses the power button and waits; true when the machine has shut down by itself. */
  async shutDown(vmCid: string, timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
    if (!(await this.isRunning(vmCid))) return true;
    await this.control(vmCid, signal, (qmp) => qmp.execute('system_powerdown'));
    return waitForQemuEnd(this.#path(vmCid, 'qemu.pid'), vmCid, timeoutMs, signal);
  }

  /** Ends the machine at once, as if its cable had been pulled; what it wrote to its disks is flushed. */
  async powerOff(vmCid: string, signal?: AbortSignal): Promise<void> {
    if (!(await this.isRunning(vmCid))) return;
    try {
      await this.control(vmCid, signal, (qmp) => qmp.execute('quit'), { connectTimeoutMs: 3000 });
      await waitForQemuEnd(this.#path(vmCid, 'qemu.pid'), vmCid, 10_000, signal);
    } catch (error) {
      // A QEMU that does not answer any more is killed.
      if (!(error instanceof QmpUnreachable)) throw error;
    }
    await killQemu(this.#path(vmCid, 'qemu.pid'), vmCid);
    if (await this.isRunning(vmCid)) {
      throw new QemuNotStarted(`QEMU of VM '${vmCid}' does not end, not even when it is killed`, {
        advice: `Look at /proc/<pid>/stack of the process in ${this.#path(vmCid, 'qemu.pid')}.`,
      });
    }
  }

  control<T>(
    vmCid: string,
    signal: AbortSignal | undefined,
    work: (qmp: QmpClient) => Promise<T>,
    options: QmpOptions = {},
  ): Promise<T> {
    return withQmp(this.#path(vmCid, 'qmp.sock'), { ...options, ...(signal && { signal }) }, work);
  }

  /** A disk that is attached already stays as it is. */
  async plug(vm: VmRecord, diskCid: string, slot: number, signal?: AbortSignal): Promise<void> {
    await this.control(vm.cid, signal, async (qmp) => {
      if (await isPlugged(qmp, diskCid)) return;
      if (!(await hasNode(qmp, diskCid))) {
        await qmp.execute('blockdev-add', {
          'node-name': diskCid,
          driver: 'qcow2',
          discard: 'unmap',
          file: { driver: 'file', filename: this.#records.disks.pathOf(diskCid, 'disk.qcow2') },
        });
      }
      await qmp.execute('device_add', {
        driver: 'virtio-blk-pci',
        id: deviceId(diskCid),
        drive: diskCid,
        serial: diskCid,
        bus: `slot${slot}`,
      });
    });
  }

  /** The guest has to let go of the slot, which takes a moment, and for ever while its kernel is not up yet. */
  async unplug(vmCid: string, diskCid: string, signal?: AbortSignal): Promise<void> {
    await this.control(vmCid, signal, async (qmp) => {
      if (await isPlugged(qmp, diskCid)) {
        for (let attempt = 1; ; attempt += 1) {
          await qmp.execute('device_del', { id: deviceId(diskCid) });
          try {
            await qmp.waitForEvent(
              ({ event, data }) => event === 'DEVICE_DELETED' && data['device'] === deviceId(diskCid),
              30_000,
            );
            break;
          } catch (error) {
            if (!(await isPlugged(qmp, diskCid))) break;
            if (attempt === 3) throw error;
          }
        }
      }
      if (await hasNode(qmp, diskCid)) await qmp.execute('blockdev-del', { 'node-name': diskCid });
    });
  }

  async consoleTail(vmCid: string): Promise<string | undefined> {
    try {
      const file = await open(this.#path(vmCid, 'console.log'), 'r');
      try {
        const { size } = await file.stat();
        const start = Math.max(0, size - consoleTailBytes);
        const buffer = Buffer.alloc(size - start);
        const { bytesRead } = await file.read(buffer, 0, buffer.length, start);
        return buffer.subarray(0, bytesRead).toString('utf8');
      } finally {
        await file.close();
      }
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** QEMU appends for ever. */
  async #limitConsole(vmCid: string): Promise<void> {
    const path = this.#path(vmCid, 'console.log');
    try {
      if ((await stat(path)).size > consoleLimitBytes) await truncate(path, 0);
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error;
    }
  }

  #path(vmCid: string, name: string): string {
    return this.#records.vms.pathOf(vmCid, name);
  }
}

/** Serial number of the ephemeral disk. */
export function ephemeralSerial(vmCid: string): string {
  return `eph-${vmCid.slice(3)}`.slice(0, 20);
}

export function devicePath(serial: string): string {
  return `/dev/disk/by-id/virtio-${serial}`;
}

function nicOf(vm: VmRecord, nic: VmRecord['nics'][number], index: number): NicArguments {
  if (vm.networkMode === 'bridge') return { mac: nic.mac, backend: { kind: 'tap', interfaceName: nic.tap } };
  return {
    mac: nic.mac,
    backend: {
      kind: 'user',
      subnet: nic.bridge.subnet,
      host: nic.bridge.address,
      guest: nic.ip,
      dns: userDns(nic.bridge.subnet),
      // Ports are forwarded to the first network.
      forwards: index === 0 ? vm.properties.ports : [],
    },
  };
}

/** QEMU wants an address for its own resolver that is neither the host's nor the guest's: the last one of the subnet. */
function userDns(subnet: string): string {
  const [base = '', prefix = '24'] = subnet.split('/');
  const value =
    base.split('.').reduce((sum, part) => sum * 256 + Number(part), 0) + 2 ** (32 - Number(prefix)) - 2;
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');
}

async function isPlugged(qmp: QmpClient, diskCid: string): Promise<boolean> {
  const devices = await qmp.execute('qom-list', { path: '/machine/peripheral' });
  return (
    Array.isArray(devices) &&
    devices.some((entry) => isJsonObject(entry) && entry['name'] === deviceId(diskCid))
  );
}

async function hasNode(qmp: QmpClient, nodeName: string): Promise<boolean> {
  const nodes = await qmp.execute('query-named-block-nodes', { flat: true });
  return (
    Array.isArray(nodes) && nodes.some((entry) => isJsonObject(entry) && entry['node-name'] === nodeName)
  );
}
