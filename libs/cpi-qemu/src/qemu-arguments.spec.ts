import { describe, expect, it } from 'vitest';
import { qemuArguments, type MachineArguments } from './qemu-arguments.ts';

const machine: MachineArguments = {
  name: 'vm-0123456789abcdef0',
  accelerator: 'tcg',
  cpus: 1,
  memoryMiB: 512,
  rootFile: '/q/vms/vm-0/root.qcow2',
  configDriveFile: '/q/vms/vm-0/config.iso',
  nics: [{ mac: '52:54:00:00:00:01', backend: { kind: 'tap', interfaceName: 'mq0' } }],
  disks: [{ cid: 'disk-0123456789abcde', slot: 3, file: '/q/disks/d/disk.qcow2' }],
  consoleFile: '/q/vms/vm-0/console.log',
  pidFile: '/q/vms/vm-0/qemu.pid',
  qmpSocket: '/q/vms/vm-0/qmp.sock',
};

function valuesOf(argv: readonly string[], option: string): string[] {
  return argv.flatMap((argument, index) => (argument === option ? [argv[index + 1] ?? ''] : []));
}

describe('qemuArguments', () => {
  it('gives an attached disk its serial number and its slot', () => {
    const devices = valuesOf(qemuArguments(machine), '-device');

    expect(devices).toContain(
      'virtio-blk-pci,drive=disk-0123456789abcde,serial=disk-0123456789abcde,id=dev-disk-0123456789abcde,bus=slot3',
    );
    expect(devices.filter((device) => device.startsWith('pcie-root-port'))).toHaveLength(8);
  });

  it('has no ephemeral disk unless there is one', () => {
    const without = qemuArguments(machine).join(' ');
    const with_ = qemuArguments({ ...machine, ephemeral: { file: '/e', serial: 'eph-1' } }).join(' ');

    expect(without).not.toContain('ephemeral');
    expect(with_).toContain('virtio-blk-pci,drive=ephemeral,serial=eph-1');
  });

  it('bounds the translation cache of the emulation', () => {
    expect(valuesOf(qemuArguments(machine), '-accel')).toEqual(['tcg,thread=multi,tb-size=128']);
    expect(valuesOf(qemuArguments({ ...machine, accelerator: 'kvm' }), '-cpu')).toEqual(['host']);
  });

  it('keeps a comma in a path from becoming an option', () => {
    const argv = qemuArguments({ ...machine, rootFile: '/a,b/root.qcow2' });

    expect(valuesOf(argv, '-blockdev')[0]).toContain('file.filename=/a,,b/root.qcow2');
  });

  it('forwards ports to the address of the guest', () => {
    const argv = qemuArguments({
      ...machine,
      nics: [
        {
          mac: '52:54:00:00:00:01',
          backend: {
            kind: 'user',
            subnet: '10.9.0.0/24',
            host: '10.9.0.1',
            guest: '10.9.0.10',
            dns: '10.9.0.254',
            forwards: [{ hostAddress: '127.0.0.1', hostPort: 16868, guestPort: 6868 }],
          },
        },
      ],
    });

    expect(valuesOf(argv, '-netdev')).toEqual([
      'user,id=net0,net=10.9.0.0/24,host=10.9.0.1,dns=10.9.0.254,dhcpstart=10.9.0.10,hostfwd=tcp:127.0.0.1:16868-10.9.0.10:6868',
    ]);
  });
});
