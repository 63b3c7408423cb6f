import { uuidFor, VmNotFound } from '@microbosh/cpi';
import type { CallContext, Cpi, CpiExtensions } from '@microbosh/cpi';
import type { JsonObject } from '@microbosh/errors';
import type { NetworksSpec } from '@microbosh/spec';

export interface LifecyclePlace {
  readonly imagePath: string;
  /** A stemcell that boots; the one that the lifecycle makes may be anything. */
  readonly bootStemcell?: string;
  readonly vmCloudProperties: JsonObject;
  readonly networks: NetworksSpec;
  /** Whether calls carry tokens, and look for what an earlier one has made. */
  readonly hasTokens: boolean;
}

/** Told of each call: the method, and what runs it. */
type Around = <T>(method: string, call: () => Promise<T>) => Promise<T>;

const tokenOf = (kind: string): string => `lifecycle-${kind}`;

/** Ids that follow from the tokens of the calls. */
export const lifecycleIds: ReadonlySet<string> = new Set(
  ['stemcell', 'vm', 'disk', 'snapshot'].map((kind) => uuidFor(tokenOf(kind))),
);

/** Every method that sends something, in an order in which each finds what it needs; nothing is left at the end. */
export async function lifecycle(
  cpi: Cpi & CpiExtensions,
  place: LifecyclePlace,
  around: Around,
): Promise<void> {
  const context = (token?: string): CallContext => ({
    directorUuid: 'lifecycle',
    requestId: 'cpi-1',
    stemcellApiVersion: 3,
    ...(token === undefined || !place.hasTokens ? {} : { token: tokenOf(token) }),
  });
  const { imagePath, networks, vmCloudProperties: properties } = place;
  const needs = { vmCloudProperties: properties, networks, disk: { sizeMiB: 1024, cloudProperties: {} } };
  await around('check_needs', async () => cpi.checkNeeds?.(context(), needs));
  await around('calculate_vm_cloud_properties', () =>
    cpi.calculateVmCloudProperties(context(), { cpu: 1, ram: 512, ephemeral_disk_size: 1024 }),
  );
  const stemcell = await around('create_stemcell', () =>
    cpi.createStemcell(context('stemcell'), imagePath, {
      name: 'lifecycle',
      version: '1',
      disk_format: 'raw',
    }),
  );
  const image = place.bootStemcell ?? stemcell;
  const { cid: vm } = await around('create_vm', () =>
    cpi.createVm(context('vm'), 'agent-1', image, properties, networks, [], {}),
  );
  await around('set_vm_metadata', () => cpi.setVmMetadata(context(), vm, { job: 'j', index: '0' }));
  await around('has_vm', () => cpi.hasVm(context(), vm));
  const disk = await around('create_disk', () => cpi.createDisk(context('disk'), 1024, {}, vm));
  await around('attach_disk', () => cpi.attachDisk(context(), vm, disk));
  await around('get_disks', () => cpi.getDisks(context(), vm));
  await around('set_disk_metadata', () => cpi.setDiskMetadata(context(), disk, { a: 'b' }));
  await around('detach_disk', () => cpi.detachDisk(context(), vm, disk));
  const snapshot = await around('snapshot_disk', () =>
    cpi.snapshotDisk(context('snapshot'), disk, { deployment: 'd', job: 'j', index: '0' }),
  );
  await around('delete_snapshot', () => cpi.deleteSnapshot(context(), snapshot));
  await around('resize_disk', () => cpi.resizeDisk(context(), disk, 2048));
  await around('reboot_vm', () => cpi.rebootVm(context(), vm));
  await around('delete_vm', () => cpi.deleteVm(context(), vm));
  await around('has_vm, gone', () => cpi.hasVm(context(), vm));
  await around('attach_disk, to nothing', async () => {
    await cpi.attachDisk(context(), vm, disk).catch((error: unknown) => {
      if (!(error instanceof VmNotFound)) throw error;
    });
  });
  await around('has_disk', () => cpi.hasDisk(context(), disk));
  await around('delete_disk', () => cpi.deleteDisk(context(), disk));
  await around('has_disk, gone', () => cpi.hasDisk(context(), disk));
  await around('delete_stemcell', () => cpi.deleteStemcell(context(), stemcell));
}
