import type {
  CallContext,
  CloudCheck,
  Cpi,
  CpiConfig,
  CpiExtensions,
  CpiFactory,
  CreatedVm,
  DeployNeeds,
} from '@microbosh/cpi';
import { InvalidCall } from '@microbosh/cpi';
import type { Json, JsonObject } from '@microbosh/errors';
import { RegistryClient } from '@microbosh/registry-client';
import type { NetworksSpec } from '@microbosh/spec';
import { checkNeeds } from './check-needs.ts';
import type { OpenstackCloud } from './cloud.ts';
import * as disks from './disks.ts';
import { OpenstackClient } from './openstack-client.ts';
import { openstackConfig } from './openstack-config.ts';
import * as stemcells from './stemcells.ts';
import * as vms from './vms.ts';

/** The CPI of OpenStack (Keystone v3, Nova, Neutron, Glance, Cinder), after the original's contract. */
export class OpenstackCpi implements Cpi, CpiExtensions {
  readonly #cloud: OpenstackCloud;

  constructor(cloud: OpenstackCloud) {
    this.#cloud = cloud;
  }

  async info(): Promise<{ api_version: number; stemcell_formats: string[] }> {
    return { api_version: 2, stemcell_formats: ['openstack-raw', 'openstack-qcow2', 'openstack-light'] };
  }

  createStemcell(context: CallContext, imagePath: string, properties: JsonObject | null): Promise<string> {
    return stemcells.createStemcell(this.#cloud, context, imagePath, properties);
  }

  deleteStemcell(context: CallContext, stemcellCid: string): Promise<void> {
    return stemcells.deleteStemcell(this.#cloud, context, stemcellCid);
  }

  createVm(
    context: CallContext,
    agentId: string,
    stemcellCid: string,
    cloudProperties: JsonObject,
    networks: NetworksSpec,
    diskCids: readonly string[],
    env: JsonObject,
  ): Promise<CreatedVm> {
    return vms.createVm(this.#cloud, context, {
      agentId,
      stemcellCid,
      cloudProperties,
      networks,
      diskCids,
      env,
    });
  }

  deleteVm(context: CallContext, vmCid: string): Promise<void> {
    return vms.deleteVm(this.#cloud, context, vmCid);
  }

  hasVm(context: CallContext, vmCid: string): Promise<boolean> {
    return vms.hasVm(this.#cloud, context, vmCid);
  }

  rebootVm(context: CallContext, vmCid: string): Promise<void> {
    return vms.rebootVm(this.#cloud, context, vmCid);
  }

  setVmMetadata(
    context: CallContext,
    vmCid: string,
    metadata: Readonly<Record<string, string>>,
  ): Promise<void> {
    return vms.setVmMetadata(this.#cloud, context, vmCid, metadata);
  }

  createDisk(
    context: CallContext,
    sizeMiB: number,
    properties: JsonObject,
    vmCid: string | null,
  ): Promise<string> {
    return disks.createDisk(this.#cloud, context, sizeMiB, properties, vmCid);
  }

  deleteDisk(context: CallContext, diskCid: string): Promise<void> {
    return disks.deleteDisk(this.#cloud, context, diskCid);
  }

  hasDisk(context: CallContext, diskCid: string): Promise<boolean> {
    return disks.hasDisk(this.#cloud, context, diskCid);
  }

  attachDisk(context: CallContext, vmCid: string, diskCid: string): Promise<Json> {
    return disks.attachDisk(this.#cloud, context, vmCid, diskCid);
  }

  detachDisk(context: CallContext, vmCid: string, diskCid: string): Promise<void> {
    return disks.detachDisk(this.#cloud, context, vmCid, diskCid);
  }

  getDisks(context: CallContext, vmCid: string): Promise<readonly string[]> {
    return disks.getDisks(this.#cloud, context, vmCid);
  }

  setDiskMetadata(
    context: CallContext,
    diskCid: string,
    metadata: Readonly<Record<string, string>>,
  ): Promise<void> {
    return disks.setDiskMetadata(this.#cloud, context, diskCid, metadata);
  }

  resizeDisk(context: CallContext, diskCid: string, newSizeMiB: number): Promise<void> {
    return disks.resizeDisk(this.#cloud, context, diskCid, newSizeMiB);
  }

  snapshotDisk(
    context: CallContext,
    diskCid: string,
    metadata: Readonly<Record<string, string>>,
  ): Promise<string> {
    return disks.snapshotDisk(this.#cloud, context, diskCid, metadata);
  }

  deleteSnapshot(context: CallContext, snapshotCid: string): Promise<void> {
    return disks.deleteSnapshot(this.#cloud, context, snapshotCid);
  }

  calculateVmCloudProperties(
    context: CallContext,
    requirements: { readonly cpu: number; readonly ram: number; readonly ephemeral_disk_size: number },
  ): Promise<JsonObject> {
    return vms.calculateVmCloudProperties(this.#cloud, context, requirements);
  }

  findByToken(
    context: CallContext,
    kind: 'stemcell' | 'vm' | 'disk',
    token: string,
  ): Promise<string | undefined> {
    const find = { stemcell: stemcells.imageOfToken, vm: vms.serverOfToken, disk: disks.volumeOfToken }[kind];
    return find(this.#cloud, token, context.signal);
  }

  checkNeeds(context: CallContext, needs: DeployNeeds): Promise<readonly CloudCheck[]> {
    return checkNeeds(this.#cloud, context, needs);
  }

  consoleLog(context: CallContext, vmCid: string): Promise<string | undefined> {
    return vms.consoleLog(this.#cloud, context, vmCid);
  }

  /** Connections that are kept would keep the process. */
  async dispose(): Promise<void> {
    await this.#cloud.client.close();
  }
}

/** Reads the configuration; talks to the cloud only when a method is called. */
export const createOpenstackCpi: CpiFactory = (config: CpiConfig) => {
  const { registry, agent } = config.cloud.properties;
  if (config.cloud.properties['openstack'] === undefined) {
    throw new InvalidCall("Invalid OpenStack cloud properties: 'openstack' is missing");
  }
  const parsed = openstackConfig(config);
  return new OpenstackCpi({
    config: parsed,
    client: new OpenstackClient(parsed),
    agent,
    registry:
      registry === undefined
        ? undefined
        : {
            client: new RegistryClient(registry),
            ...(registry.ca === undefined ? {} : { ca: registry.ca }),
          },
  });
};
