import { bindCpi } from '@microbosh/cpi';
import type { CpiConfig, CpiFactory } from '@microbosh/cpi';
import type { VcloudCloud } from './cloud.ts';
import * as disks from './disks.ts';
import * as stemcells from './stemcells.ts';
import { VcdClient } from './vcd-client.ts';
import { vcloudConfig } from './vcloud-config.ts';
import * as vms from './vms.ts';

/** Those of stemcells for vCloud, and those of stemcells for vSphere, whose images are the same. */
const stemcellFormats = ['vcloud-ova', 'vcloud-ovf', 'vsphere-ova', 'vsphere-ovf'];

/** The CPI of VMware vCloud Director, after the original's contract. */
export function vcloudCpi(cloud: VcloudCloud) {
  return bindCpi(cloud, {
    info: async () => ({ api_version: 2, stemcell_formats: stemcellFormats }),
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

/** Reads the configuration; talks to vCloud Director only when a method is called. */
export const createVcloudCpi: CpiFactory = (config: CpiConfig) => {
  const parsed = vcloudConfig(config);
  return vcloudCpi({ config: parsed, client: new VcdClient(parsed), agent: config.cloud.properties.agent });
};
