import { NotSupported } from '@microbosh/cpi';
import type { CallContext, Cpi, CpiConfig, CpiFactory, CreatedVm } from '@microbosh/cpi';
import type { Json, JsonObject } from '@microbosh/errors';
import { RegistryClient } from '@microbosh/registry-client';
import type { NetworksSpec } from '@microbosh/spec';
import { AwsClients } from './aws-clients.ts';
import { awsProperties } from './aws-config.ts';
import type { AwsCloud } from './cloud.ts';
import * as disks from './disks.ts';
import { smallestInstanceType } from './instance-sizes.ts';
import * as stemcells from './stemcells.ts';
import * as vms from './vms.ts';

/** The CPI of AWS (EC2, EBS, ELB), after the original's contract. */
export class AwsCpi implements Cpi {
  readonly #cloud: AwsCloud;

  constructor(cloud: AwsCloud) {
    this.#cloud = cloud;
  }

  async info(): Promise<{ api_version: number; stemcell_formats: string[] }> {
    return { api_version: 2, stemcell_formats: ['aws-raw', 'aws-light'] };
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
    _context: CallContext,
    diskCid: string,
    metadata: Readonly<Record<string, string>>,
  ): Promise<void> {
    return disks.setDiskMetadata(this.#cloud, diskCid, metadata);
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

  deleteSnapshot(_context: CallContext, snapshotCid: string): Promise<void> {
    return disks.deleteSnapshot(this.#cloud, snapshotCid);
  }

  async calculateVmCloudProperties(
    _context: CallContext,
    requirements: { readonly cpu: number; readonly ram: number; readonly ephemeral_disk_size: number },
  ): Promise<JsonObject> {
    const type = smallestInstanceType(requirements.cpu, requirements.ram);
    if (type === undefined) {
      throw new NotSupported(
        `Unable to meet requested VM requirements: ${requirements.cpu} CPU, ${requirements.ram} MB RAM`,
      );
    }
    return { instance_type: type, ephemeral_disk: { size: requirements.ephemeral_disk_size } };
  }
}

/** Reads the configuration; talks to the cloud only when a method is called. */
export const createAwsCpi: CpiFactory = (config: CpiConfig) => {
  const { registry, agent } = config.cloud.properties;
  const properties = awsProperties(config);
  return new AwsCpi({
    properties,
    clients: new AwsClients(properties),
    agent,
    registry:
      registry === undefined
        ? undefined
        : { client: new RegistryClient(registry), ...(registry.ca === undefined ? {} : { ca: registry.ca }) },
    pollMs: 1000,
  });
};
