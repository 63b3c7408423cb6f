import type { JsonObject } from '@microbosh/errors';

export const iaasNames = ['qemu', 'openstack', 'aws', 'vsphere', 'vcloud', 'local'] as const;
export type Iaas = (typeof iaasNames)[number];

/** How the image is wrapped into the file `image` of the stemcell. */
export type ImageKind = 'qcow2' | 'qcow2-tgz' | 'raw-tgz' | 'ovf-tgz' | 'rootfs-tgz';

/** Everything in which the stemcell of one IaaS differs from that of another. */
export interface Flavour {
  readonly iaas: Iaas;
  readonly hypervisor: string;
  /** Absent: the VM runs on the kernel of its host. */
  readonly kernelPackage?: 'linux-image-cloud-amd64' | 'linux-image-amd64';
  /** Loaded by the initramfs, in this order: what stands between the kernel and its root file system. */
  readonly initramfsModules: readonly string[];
  readonly extraPackages: readonly string[];
  /** Folder with files of its own, beside `overlay`. */
  readonly overlay?: 'overlay-aws';
  readonly image: ImageKind;
  readonly stemcellFormats: readonly string[];
  /** `cloud_properties` of stemcell.MF, beside name, version and infrastructure. */
  readonly cloudProperties: JsonObject;
  /** `/var/vcap/bosh/agent.json`. */
  readonly agentConfig: JsonObject;
}

const virtioModules = ['virtio_pci', 'virtio_blk', 'virtio_scsi', 'sd_mod'];
const vmwareModules = ['vmw_pvscsi', 'mptspi', 'ata_piix', 'ahci', 'sd_mod', 'ext4'];

function agentConfig(
  linux: JsonObject,
  sources: readonly JsonObject[],
  useServerName: boolean,
  useRegistry: boolean,
): JsonObject {
  return {
    Platform: { Linux: { PartitionerType: 'parted', ServiceManager: 'systemd', ...linux } },
    Infrastructure: {
      Settings: { Sources: sources, UseServerName: useServerName, UseRegistry: useRegistry },
    },
  };
}

const virtio = { DevicePathResolutionType: 'virtio', CreatePartitionIfNoEphemeralDisk: true };
const configDrive = {
  Type: 'ConfigDrive',
  DiskPaths: ['/dev/disk/by-label/CONFIG-2', '/dev/disk/by-label/config-2'],
  MetaDataPath: 'ec2/latest/meta-data.json',
  UserDataPath: 'ec2/latest/user-data',
};
const metadataService = {
  Type: 'HTTP',
  URI: 'http://169.254.169.254',
  UserDataPath: '/latest/user-data',
  InstanceIDPath: '/latest/meta-data/instance-id',
  SSHKeysPath: '/latest/meta-data/public-keys/0/openssh-key',
};

const openstackCloudProperties = {
  architecture: 'x86_64',
  hypervisor: 'kvm',
  container_format: 'bare',
  disk_format: 'qcow2',
  os_type: 'linux',
  os_distro: 'debian',
  auto_disk_config: true,
  root_device_name: '/dev/vda1',
};

function vmware(iaas: 'vsphere' | 'vcloud'): Flavour {
  return {
    iaas,
    hypervisor: 'esxi',
    kernelPackage: 'linux-image-amd64',
    initramfsModules: vmwareModules,
    extraPackages: ['open-vm-tools', 'eject'],
    image: 'ovf-tgz',
    stemcellFormats: ['vsphere-ova', 'vsphere-ovf'],
    cloudProperties: { architecture: 'x86_64', hypervisor: 'esxi', root_device_name: '/dev/sda1' },
    agentConfig: agentConfig(
      { DevicePathResolutionType: 'scsi' },
      [{ Type: 'CDROM', FileName: 'env' }],
      false,
      false,
    ),
  };
}

const flavours: Readonly<Record<Iaas, Flavour>> = {
  qemu: {
    iaas: 'qemu',
    hypervisor: 'kvm',
    kernelPackage: 'linux-image-cloud-amd64',
    initramfsModules: virtioModules,
    extraPackages: [],
    image: 'qcow2',
    stemcellFormats: ['qemu-qcow2'],
    cloudProperties: { architecture: 'x86_64', disk_format: 'qcow2', root_device_name: '/dev/vda1' },
    agentConfig: agentConfig(virtio, [configDrive], true, true),
  },
  openstack: {
    iaas: 'openstack',
    hypervisor: 'kvm',
    kernelPackage: 'linux-image-cloud-amd64',
    initramfsModules: virtioModules,
    extraPackages: [],
    image: 'qcow2-tgz',
    stemcellFormats: ['openstack-qcow2'],
    cloudProperties: openstackCloudProperties,
    agentConfig: agentConfig(
      virtio,
      [
        { Type: 'File', SettingsPath: '/var/vcap/bosh/agent-bootstrap-env.json' },
        configDrive,
        metadataService,
      ],
      true,
      true,
    ),
  },
  aws: {
    iaas: 'aws',
    hypervisor: 'xen-hvm',
    // The cloud kernel lacks the network cards of older instance types (e1000e among them).
    kernelPackage: 'linux-image-amd64',
    initramfsModules: ['virtio_pci', 'virtio_blk', 'nvme', 'xen_blkfront', 'ext4'],
    // EBS volumes tell their names by the NVMe protocol only.
    extraPackages: ['nvme-cli'],
    overlay: 'overlay-aws',
    image: 'raw-tgz',
    stemcellFormats: ['aws-raw'],
    cloudProperties: { architecture: 'x86_64', root_device_name: '/dev/sda1' },
    agentConfig: agentConfig(virtio, [{ ...metadataService, TokenPath: '/latest/api/token' }], false, true),
  },
  vsphere: vmware('vsphere'),
  vcloud: vmware('vcloud'),
  local: {
    iaas: 'local',
    hypervisor: 'namespaces',
    initramfsModules: [],
    extraPackages: [],
    image: 'rootfs-tgz',
    stemcellFormats: ['local-rootfs-tar'],
    cloudProperties: { kind: 'rootfs' },
    agentConfig: agentConfig(
      { Container: true, PartitionerType: 'sfdisk' },
      [{ Type: 'File', UserDataPath: '/var/vcap/bosh/user-data.json' }],
      true,
      true,
    ),
  },
};

export function flavourOf(iaas: Iaas): Flavour {
  return flavours[iaas];
}

export function isIaas(text: string): text is Iaas {
  return (iaasNames as readonly string[]).includes(text);
}
