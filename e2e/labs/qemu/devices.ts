import type { Iaas } from '@microbosh/stemcell-builder';

export interface Devices {
  readonly machine: string;
  readonly disk: readonly string[];
  /** `disks.ephemeral` of the settings, where the IaaS always gives a disk of its own for data. `$EPHEMERAL`: its file. */
  readonly ephemeral?: { readonly hint: string; readonly disk: readonly string[] };
  readonly nic: string;
  /** Medium that brings the settings. */
  readonly medium: readonly string[];
}

/** The devices that a VM of this IaaS has, as far as QEMU has models of them. `$MEDIUM` stands for the medium's file. */
export function devicesOf(iaas: Exclude<Iaas, 'local'>): Devices {
  switch (iaas) {
    case 'qemu':
    case 'openstack':
      return {
        machine: 'q35',
        disk: ['-device', 'virtio-blk-pci,drive=root,serial=root'],
        nic: 'virtio-net-pci',
        medium: [
          '-blockdev',
          'driver=raw,node-name=medium,read-only=on,file.driver=file,file.filename=$MEDIUM',
          '-device',
          'virtio-blk-pci,drive=medium,serial=config',
        ],
      };
    case 'aws':
      return { machine: 'q35', disk: ['-device', 'nvme,drive=root,serial=vol0'], nic: 'e1000e', medium: [] };
    case 'vsphere':
    case 'vcloud':
      return {
        machine: 'pc',
        disk: ['-device', 'pvscsi,id=scsi0', '-device', 'scsi-hd,drive=root,bus=scsi0.0,scsi-id=0'],
        ephemeral: {
          hint: '1',
          disk: [
            ...['-blockdev', 'driver=qcow2,node-name=ephemeral,file.driver=file,file.filename=$EPHEMERAL'],
            ...['-device', 'scsi-hd,drive=ephemeral,bus=scsi0.0,scsi-id=1'],
          ],
        },
        nic: 'vmxnet3',
        medium: ['-drive', 'if=ide,index=2,media=cdrom,format=raw,file=$MEDIUM'],
      };
  }
}
