import { bindCpi, InvalidCall, registryAccess } from '@microbosh/cpi';
import type { CpiConfig, CpiFactory } from '@microbosh/cpi';
import { checkNeeds } from './check-needs.ts';
import type { OpenstackCloud } from './cloud.ts';
import * as disks from './disks.ts';
import { OpenstackClient } from './openstack-client.ts';
import { openstackConfig } from './openstack-config.ts';
import * as stemcells from './stemcells.ts';
import * as vms from './vms.ts';

const stemcellFormats = ['openstack-raw', 'openstack-qcow2', 'openstack-light'];

/** The CPI of OpenStack (Keystone v3, Nova, Neutron, Glance, Cinder), after the original's contract. */
export function openstackCpi(cloud: OpenstackCloud) {
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
      const find = { stemcell: stemcells.imageOfToken, vm: vms.serverOfToken, disk: disks.volumeOfToken }[
        kind
      ];
      return find(cloud, token, context.signal);
    },
    checkNeeds,
    consoleLog: vms.consoleLog,
    // Connections that are kept would keep the process.
    dispose: () => cloud.client.close(),
  });
}

/** Reads the configuration; talks to the cloud only when a method is called. */
export const createOpenstackCpi: CpiFactory = (config: CpiConfig) => {
  if (config.cloud.properties['openstack'] === undefined) {
    throw new InvalidCall("Invalid OpenStack cloud properties: 'openstack' is missing");
  }
  const parsed = openstackConfig(config);
  return openstackCpi({
    config: parsed,
    client: new OpenstackClient(parsed),
    agent: config.cloud.properties.agent,
    registry: registryAccess(config),
  });
};
