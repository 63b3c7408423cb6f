import { bindCpi, NotSupported, registryAccess } from '@microbosh/cpi';
import type { CpiConfig, CpiFactory } from '@microbosh/cpi';
import { AwsClients } from './aws-clients.ts';
import { awsProperties } from './aws-config.ts';
import type { AwsCloud } from './cloud.ts';
import * as disks from './disks.ts';
import { findByMetadata } from './find-by-metadata.ts';
import { smallestInstanceType } from './instance-sizes.ts';
import * as stemcells from './stemcells.ts';
import * as vms from './vms.ts';

/** The CPI of AWS (EC2, EBS, ELB), after the original's contract. */
export function awsCpi(cloud: AwsCloud) {
  return bindCpi(cloud, {
    info: async () => ({ api_version: 2, stemcell_formats: ['aws-raw', 'aws-light'] }),
    createStemcell: stemcells.createStemcell,
    deleteStemcell: stemcells.deleteStemcell,
    createVm: vms.createVm,
    deleteVm: vms.deleteVm,
    hasVm: vms.hasVm,
    rebootVm: vms.rebootVm,
    setVmMetadata: vms.setVmMetadata,
    createDisk: disks.createDisk,
    deleteDisk: disks.deleteDisk,
    hasDisk: disks.hasDisk,
    attachDisk: disks.attachDisk,
    detachDisk: disks.detachDisk,
    getDisks: disks.getDisks,
    setDiskMetadata: disks.setDiskMetadata,
    resizeDisk: disks.resizeDisk,
    snapshotDisk: disks.snapshotDisk,
    deleteSnapshot: disks.deleteSnapshot,
    calculateVmCloudProperties: async (_, _context, { cpu, ram, ephemeral_disk_size: size }) => {
      const type = smallestInstanceType(cpu, ram);
      if (type !== undefined) return { instance_type: type, ephemeral_disk: { size } };
      throw new NotSupported(`Unable to meet requested VM requirements: ${cpu} CPU, ${ram} MB RAM`);
    },
    findByToken: (_, context, kind, token) => {
      const find = { stemcell: stemcells.imageOfToken, vm: vms.vmOfToken, disk: disks.diskOfToken }[kind];
      return find(cloud, token, context.signal);
    },
    findByMetadata,
    dispose: async () => cloud.clients.destroy(),
  });
}

/** Reads the configuration; talks to the cloud only when a method is called. */
export const createAwsCpi: CpiFactory = (config: CpiConfig) => {
  const properties = awsProperties(config);
  return awsCpi({
    properties,
    clients: new AwsClients(properties),
    agent: config.cloud.properties.agent,
    registry: registryAccess(config),
    pollMs: 1000,
  });
};
