/** Number of disks that can be attached at the same time: each needs a slot of its own. */
export const diskSlots = 8;

export interface NicArguments {
  readonly mac: string;
  readonly backend:
    | { readonly kind: 'tap'; readonly interfaceName: string }
    | {
        readonly kind: 'user';
        /** `10.0.0.0/24` */
        readonly subnet: string;
        /** The address at which the VM finds this machine's loopback. */
        readonly host: string;
        readonly guest: string;
        readonly dns: string;
        readonly forwards: readonly PortForward[];
      };
}

export interface PortForward {
  readonly hostAddress: string;
  readonly hostPort: number;
  readonly guestPort: number;
}

export interface AttachedDisk {
  readonly cid: string;
  readonly slot: number;
  readonly file: string;
}

export interface MachineArguments {
  readonly name: string;
  readonly accelerator: 'kvm' | 'tcg';
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly rootFile: string;
  readonly ephemeral?: { readonly file: string; readonly serial: string };
  readonly configDriveFile: string;
  readonly nics: readonly NicArguments[];
  readonly disks: readonly AttachedDisk[];
  readonly consoleFile: string;
  readonly pidFile: string;
  readonly qmpSocket: string;
}

/**
 * The command line of QEMU. No secret stands in it. QEMU's option syntax separates by commas, which paths double.
 */
export function qemuArguments(machine: MachineArguments): string[] {
  const accelerator =
    machine.accelerator === 'kvm'
      ? 'kvm' // The default lets the translation cache grow to the guest's size.
      : 'tcg,thread=multi,tb-size=128';
  return [
    ...['-name', `${machine.name},process=${machine.name.slice(0, 15)}`],
    ...['-nodefaults', '-no-user-config', '-display', 'none'],
    ...['-sandbox', 'on,obsolete=deny,resourcecontrol=deny'],
    ...['-machine', 'q35', '-accel', accelerator],
    ...['-cpu', machine.accelerator === 'kvm' ? 'host' : 'max'],
    ...['-smp', String(machine.cpus), '-m', String(machine.memoryMiB), '-rtc', 'base=utc'],
    ...['-daemonize', '-pidfile', machine.pidFile],
    ...[
      '-chardev',
      `file,id=console,append=on,path=${escape(machine.consoleFile)}`,
      '-serial',
      'chardev:console',
    ],
    ...['-chardev', `socket,id=qmp,server=on,wait=off,path=${escape(machine.qmpSocket)}`],
    ...['-mon', 'chardev=qmp,mode=control'],
    ...Array.from({ length: diskSlots }, (_, slot) => [
      '-device',
      `pcie-root-port,id=slot${slot},chassis=${slot + 1},bus=pcie.0,multifunction=on,addr=0x10.${slot}`,
    ]).flat(),
    ...drive('root', machine.rootFile, 'qcow2', 'serial=root,bootindex=1'),
    ...(machine.ephemeral
      ? drive('ephemeral', machine.ephemeral.file, 'qcow2', `serial=${machine.ephemeral.serial}`)
      : []),
    '-blockdev',
    `driver=raw,node-name=config,read-only=on,file.driver=file,file.filename=${escape(machine.configDriveFile)}`,
    '-device',
    'virtio-blk-pci,drive=config,serial=config',
    '-device',
    'virtio-rng-pci',
    ...machine.nics.flatMap((nic, index) => nicArguments(nic, index)),
    ...machine.disks.flatMap((disk) =>
      drive(disk.cid, disk.file, 'qcow2', `serial=${disk.cid},id=${deviceId(disk.cid)},bus=slot${disk.slot}`),
    ),
  ];
}

/** Name of the device of an attached disk, for device_add and device_del. */
export function deviceId(diskCid: string): string {
  return `dev-${diskCid}`;
}

function drive(node: string, file: string, driver: string, device: string): string[] {
  return [
    '-blockdev',
    `driver=${driver},node-name=${node},discard=unmap,file.driver=file,file.filename=${escape(file)}`,
    '-device',
    `virtio-blk-pci,drive=${node},${device}`,
  ];
}

function nicArguments(nic: NicArguments, index: number): string[] {
  const { backend } = nic;
  const netdev =
    backend.kind === 'tap'
      ? `tap,id=net${index},ifname=${backend.interfaceName},script=no,downscript=no`
      : [
          `user,id=net${index},net=${backend.subnet},host=${backend.host},dns=${backend.dns},dhcpstart=${backend.guest}`,
          ...backend.forwards.map(
            (forward) =>
              `hostfwd=tcp:${forward.hostAddress}:${forward.hostPort}-${backend.guest}:${forward.guestPort}`,
          ),
        ].join(',');
  return ['-netdev', netdev, '-device', `virtio-net-pci,netdev=net${index},mac=${nic.mac}`];
}

function escape(path: string): string {
  return path.replaceAll(',', ',,');
}
