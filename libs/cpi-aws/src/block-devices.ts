import type { BlockDeviceMapping, EbsBlockDevice } from '@aws-sdk/client-ec2';
import { CloudError } from '@microbosh/cpi';
import { isJsonObject } from '@microbosh/errors';
import type { Json, JsonObject } from '@microbosh/errors';

/** What DescribeInstanceTypes says of the disks of a type. */
export interface TypeStorage {
  /** EBS volumes appear as NVMe devices. */
  readonly ebsIsNvme: boolean;
  readonly instanceStoreIsNvme: boolean;
  /** GiB of each instance store disk. */
  readonly instanceStoreGiB: readonly number[];
}

export interface ImageDevices {
  readonly rootDeviceName: string;
  readonly virtualization: string;
  /** Device names of the image's own mappings. */
  readonly mapped: readonly string[];
  /** GiB of the image's root volume, when the image says so. */
  readonly rootGiB: number | undefined;
}

export interface BlockDevices {
  readonly mappings: readonly BlockDeviceMapping[];
  /** `disks` of the agent's settings, without `persistent`. */
  readonly agent: {
    readonly system: string;
    readonly ephemeral?: string;
    readonly raw_ephemeral?: readonly { readonly path: string }[];
  };
}

function objectOf(value: Json | undefined): JsonObject {
  return isJsonObject(value) ? value : {};
}

function numberOf(value: Json | undefined): number | undefined {
  return typeof value === 'number' ? value : undefined;
}

function textOf(value: Json | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

export function gibibytes(sizeMiB: number): number {
  return Math.ceil(sizeMiB / 1024);
}

/** Device mappings of RunInstances and what the agent is told of them. Pure. */
export function planBlockDevices(
  cloudProperties: JsonObject,
  defaults: { readonly encrypted: boolean; readonly kmsKeyArn: string | undefined },
  image: ImageDevices,
  storage: TypeStorage,
): BlockDevices {
  const raw = cloudProperties['raw_instance_storage'] === true;
  const ephemeral = objectOf(cloudProperties['ephemeral_disk']);
  const mappings: BlockDeviceMapping[] = [];
  if (raw && storage.instanceStoreGiB.length === 0) {
    throw new CloudError(
      "raw_instance_storage requested for an instance type that doesn't have instance storage",
    );
  }
  const useInstanceStorage = ephemeral['use_instance_storage'] === true;
  const useRootDisk = ephemeral['use_root_disk'] === true;
  if (useInstanceStorage) {
    checkInstanceStorage(ephemeral, defaults.encrypted, raw, storage);
    mappings.push({ DeviceName: '/dev/sdb', VirtualName: 'ephemeral0' });
  } else if (!useRootDisk) {
    mappings.push({ DeviceName: '/dev/sdb', Ebs: ephemeralVolume(ephemeral, defaults, raw, storage) });
  }
  const rawDevices = raw ? rawInstanceStorage(image, storage) : [];
  if (!storage.instanceStoreIsNvme) {
    rawDevices.forEach(({ path }, index) =>
      mappings.push({ DeviceName: path, VirtualName: `ephemeral${index}` }),
    );
  }
  mappings.push({
    DeviceName: rootName(image),
    Ebs: rootVolume(objectOf(cloudProperties['root_disk']), image.rootGiB),
  });
  return {
    mappings,
    agent: {
      system: image.rootDeviceName,
      ...(useRootDisk ? {} : { ephemeral: '/dev/sdb' }),
      ...(raw ? { raw_ephemeral: rawDevices } : {}),
    },
  };
}

function checkInstanceStorage(
  ephemeral: JsonObject,
  encrypted: boolean,
  raw: boolean,
  storage: TypeStorage,
): void {
  if (raw) {
    throw new CloudError('ephemeral_disk.use_instance_storage and raw_instance_storage cannot both be true');
  }
  const set = ['size', 'type', 'iops', 'encrypted'].filter(
    (key) => ephemeral[key] !== undefined && ephemeral[key] !== null,
  );
  if (set.length > 0 || encrypted) {
    throw new CloudError(
      `use_instance_storage cannot be combined with additional ephemeral_disk properties: ${[...set, ...(encrypted ? ['encrypted (global)'] : [])].join(', ')}`,
    );
  }
  if (storage.instanceStoreGiB.length === 0) {
    throw new CloudError(
      "use_instance_storage requested for an instance type that doesn't have instance storage",
    );
  }
}

function ephemeralVolume(
  ephemeral: JsonObject,
  defaults: { readonly encrypted: boolean; readonly kmsKeyArn: string | undefined },
  raw: boolean,
  storage: TypeStorage,
): EbsBlockDevice {
  const size = numberOf(ephemeral['size']);
  const encrypted = typeof ephemeral['encrypted'] === 'boolean' ? ephemeral['encrypted'] : defaults.encrypted;
  const key = textOf(ephemeral['kms_key_arn']) ?? defaults.kmsKeyArn;
  const iops = numberOf(ephemeral['iops']);
  const throughput = numberOf(ephemeral['throughput']);
  return {
    VolumeSize:
      size === undefined ? ((raw ? undefined : storage.instanceStoreGiB[0]) ?? 10) : gibibytes(size),
    VolumeType: (textOf(ephemeral['type']) ?? 'gp3') as EbsBlockDevice['VolumeType'],
    DeleteOnTermination: true,
    ...(iops === undefined ? {} : { Iops: iops }),
    ...(throughput === undefined ? {} : { Throughput: throughput }),
    ...(encrypted ? { Encrypted: true, ...(key === undefined ? {} : { KmsKeyId: key }) } : {}),
  };
}

function rawInstanceStorage(image: ImageDevices, storage: TypeStorage): { path: string }[] {
  return storage.instanceStoreGiB.map((_, index) => {
    if (storage.instanceStoreIsNvme) return { path: `/dev/nvme${index}n1` };
    const letter = String.fromCharCode((image.virtualization === 'hvm' ? 97 : 99) + index);
    return { path: image.virtualization === 'hvm' ? `/dev/xvdb${letter}` : `/dev/sd${letter}` };
  });
}

/** The image's own name for its root device, which may be a prefix (`/dev/sda` for `/dev/sda1`). */
function rootName(image: ImageDevices): string {
  const exact = image.mapped.find((name) => name === image.rootDeviceName);
  const prefix = image.mapped.find((name) => image.rootDeviceName.startsWith(name));
  return exact ?? prefix ?? (image.virtualization === 'hvm' ? '/dev/xvda' : '/dev/sda');
}

function rootVolume(rootDisk: JsonObject, imageGiB: number | undefined): EbsBlockDevice {
  const type = textOf(rootDisk['type']) ?? 'gp3';
  const wanted = numberOf(rootDisk['size']);
  const size = wanted === undefined ? imageGiB : gibibytes(wanted);
  const iops = numberOf(rootDisk['iops']);
  const throughput = numberOf(rootDisk['throughput']);
  return {
    VolumeType: type as EbsBlockDevice['VolumeType'],
    DeleteOnTermination: true,
    ...(size === undefined ? {} : { VolumeSize: size }),
    ...(iops !== undefined && ['io1', 'gp3'].includes(type) ? { Iops: iops } : {}),
    ...(throughput !== undefined && type === 'gp3' ? { Throughput: throughput } : {}),
  };
}

/** `/dev/sdf` … `/dev/sdp`, the first that the instance does not use. */
export function nextVolumeName(taken: readonly string[]): string {
  for (let code = 'f'.charCodeAt(0); code <= 'p'.charCodeAt(0); code += 1) {
    const name = `/dev/sd${String.fromCharCode(code)}`;
    if (!taken.includes(name)) return name;
  }
  throw new CloudError('Instance has too many disks attached');
}

/** Whether `nextVolumeName` gives this name. */
export function isPersistentName(name: string): boolean {
  return /^\/dev\/sd[f-p]$/.test(name);
}

/** How the guest finds an attached volume. */
export function guestPath(volumeId: string, deviceName: string, storage: TypeStorage): string {
  return storage.ebsIsNvme
    ? `/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${volumeId.replace('-', '')}`
    : deviceName;
}
