import { bindCpi } from '@microbosh/cpi';
import type { CpiConfig, CpiFactory } from '@microbosh/cpi';
import type { VsphereCloud } from './cloud.ts';
import * as disks from './disks.ts';
import * as stemcells from './stemcells.ts';
import { VimClient } from './vim-client.ts';
import * as vms from './vms.ts';
import { vsphereConfig } from './vsphere-config.ts';

/** The CPI of VMware vSphere (vim25), after the original's contract. */
export function vsphereCpi(cloud: VsphereCloud) {
  return bindCpi(cloud, {
    info: async () => ({ api_version: 2, stemcell_formats: ['vsphere-ovf', 'vsphere-ova'] }),
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
    calculateVmCloudProperties: vms.calculateVmCloudProperties,
    findByToken: (_, context, kind, token) => {
      const find = { stemcell: stemcells.stemcellOfToken, vm: vms.vmOfToken, disk: disks.diskOfToken }[kind];
      return find(cloud, token, context.signal);
    },
    findByMetadata: vms.findByMetadata,
    dispose: () => cloud.client.close(),
  });
}

/** Reads the configuration; talks to vCenter only when a method is called. */
export const createVsphereCpi: CpiFactory = (config: CpiConfig) => {
  const parsed = vsphereConfig(config);
  return vsphereCpi({ config: parsed, client: new VimClient(parsed), agent: config.cloud.properties.agent });
};
