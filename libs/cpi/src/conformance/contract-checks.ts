import { randomUUID } from 'node:crypto';
import { isJsonObject, type Json, type JsonObject } from '@microbosh/errors';
import type { NetworksSpec } from '@microbosh/spec';
import type { CallContext, Cpi } from '../contract.ts';
import {
  CloudError,
  CpiError,
  DiskNotAttached,
  DiskNotFound,
  NotImplemented,
  NotSupported,
  StemcellNotFound,
  VmNotFound,
} from '../errors.ts';

/** What the suite deploys. Everything it makes is deleted again by its last checks. */
export interface ConformanceInput {
  readonly imagePath: string;
  readonly stemcellCloudProperties: JsonObject | null;
  readonly vmCloudProperties: JsonObject;
  readonly networks: NetworksSpec;
  readonly diskCloudProperties: JsonObject;
  readonly diskSizeMiB: number;
  /** Whether the CPI knows `context.microbosh.token`. */
  readonly knowsTokens: boolean;
  /** cids of the CPI's form that name nothing. */
  readonly absent: { readonly vm: string; readonly disk: string; readonly stemcell: string };
}

export interface ConformanceCheck {
  /** A rule of the contract. */
  readonly name: string;
  run(): Promise<void>;
}

class Violation extends Error {}

function must(condition: boolean, sentence: string): asserts condition {
  if (!condition) throw new Violation(sentence);
}

/**
 * The contract of the CPI API as a list of checks, to be run in order: each relies on what earlier ones have made. The
 * last ones delete everything, and so do `cleanUp` after a failure.
 */
export function contractChecks(cpi: Cpi, input: ConformanceInput): readonly ConformanceCheck[] {
  const made = { stemcell: '', vm: '', disk: '', snapshot: '' };
  const run = randomUUID();
  let calls = 0;
  const context = (token?: string): CallContext => {
    calls += 1;
    return {
      directorUuid: `conformance-${run}`,
      requestId: `cpi-${100_000 + calls}`,
      stemcellApiVersion: 3,
      ...(token !== undefined && { token: `${run}-${token}` }),
    };
  };
  const createStemcell = () =>
    cpi.createStemcell(context('stemcell'), input.imagePath, input.stemcellCloudProperties);
  const createVm = () =>
    cpi.createVm(context('vm'), randomUUID(), made.stemcell, input.vmCloudProperties, input.networks, [], {
      bosh: { tags: { purpose: 'conformance' } },
    });
  const createDisk = () =>
    cpi.createDisk(context('disk'), input.diskSizeMiB, input.diskCloudProperties, made.vm);
  const absentOrDone = async (call: Promise<unknown>, ...allowed: (new (...args: never[]) => CpiError)[]) => {
    try {
      await call;
    } catch (error) {
      if (!allowed.some((type) => error instanceof type)) throw error;
    }
  };

  return [
    {
      name: 'info reports stemcell formats and an api_version without needing the infrastructure',
      run: async () => {
        const info = await cpi.info(context());
        must(info.stemcell_formats.length > 0, 'stemcell_formats is empty');
        must(info.api_version >= 2, `api_version is ${info.api_version}; callers of today need 2`);
      },
    },
    {
      name: 'create_stemcell answers a cid',
      run: async () => {
        made.stemcell = await createStemcell();
        must(made.stemcell !== '', 'the cid is empty');
      },
    },
    {
      name: 'create_vm answers the cid and the networks',
      run: async () => {
        const vm = await createVm();
        made.vm = vm.cid;
        must(vm.cid !== '', 'the cid is empty');
        for (const name of Object.keys(input.networks)) {
          if (vm.networks !== undefined)
            must(name in vm.networks, `network '${name}' is missing in the answer`);
        }
      },
    },
    {
      name: 'has_vm is true for a VM and false for none',
      run: async () => {
        must(await cpi.hasVm(context(), made.vm), `has_vm of '${made.vm}' is false`);
        must(!(await cpi.hasVm(context(), input.absent.vm)), 'has_vm of an absent VM is true');
      },
    },
    {
      name: 'set_vm_metadata takes any keys, again and again',
      run: async () => {
        const metadata = { deployment: 'conformance', name: 'conformance/0', 'with space': 'ä' };
        await optional(cpi.setVmMetadata(context(), made.vm, metadata));
        await optional(cpi.setVmMetadata(context(), made.vm, metadata));
      },
    },
    {
      name: 'create_disk answers a cid, also without a VM',
      run: async () => {
        made.disk = await createDisk();
        must(made.disk !== '', 'the cid is empty');
        const other = await cpi.createDisk(
          context('other-disk'),
          input.diskSizeMiB,
          input.diskCloudProperties,
          null,
        );
        must(other !== made.disk, 'two disks have one cid');
        await cpi.deleteDisk(context(), other);
      },
    },
    {
      name: 'has_disk is true for a disk and false for none',
      run: async () => {
        await optional(
          cpi
            .hasDisk(context(), made.disk)
            .then((found) => must(found, `has_disk of '${made.disk}' is false`)),
        );
        await optional(
          cpi
            .hasDisk(context(), input.absent.disk)
            .then((found) => must(!found, 'has_disk of an absent disk is true')),
        );
      },
    },
    {
      name: 'attach_disk answers a hint that the agent understands, and the same one when it is called again',
      run: async () => {
        const hint = await cpi.attachDisk(context(), made.vm, made.disk);
        must(isHint(hint), `${JSON.stringify(hint)} is no disk hint`);
        const again = await cpi.attachDisk(context(), made.vm, made.disk);
        must(JSON.stringify(again) === JSON.stringify(hint), `the second hint is ${JSON.stringify(again)}`);
      },
    },
    {
      name: 'get_disks lists exactly the attached persistent disks',
      run: async () => {
        await optional(
          cpi
            .getDisks(context(), made.vm)
            .then((disks) =>
              must(disks.length === 1 && disks[0] === made.disk, `it lists ${disks.join(', ')}`),
            ),
        );
      },
    },
    {
      name: 'set_disk_metadata takes any keys',
      run: () => optional(cpi.setDiskMetadata(context(), made.disk, { instance_index: '0', a: 'b' })),
    },
    {
      name: 'delete_disk refuses a disk that is attached',
      run: async () => {
        const refused = await cpi.deleteDisk(context(), made.disk).then(
          () => false,
          () => true,
        );
        must(refused, 'an attached disk was deleted');
        await optional(cpi.hasDisk(context(), made.disk).then((found) => must(found, 'the disk is gone')));
      },
    },
    {
      name: 'reboot_vm keeps the VM and its disks',
      run: async () => {
        await optional(cpi.rebootVm(context(), made.vm));
        must(await cpi.hasVm(context(), made.vm), 'the VM is gone');
        await optional(
          cpi
            .getDisks(context(), made.vm)
            .then((disks) => must(disks.includes(made.disk), 'the disk is gone')),
        );
      },
    },
    {
      name: 'detach_disk frees the disk, and a second one succeeds or says DiskNotAttached',
      run: async () => {
        await cpi.detachDisk(context(), made.vm, made.disk);
        await absentOrDone(cpi.detachDisk(context(), made.vm, made.disk), DiskNotAttached);
        await optional(
          cpi.getDisks(context(), made.vm).then((disks) => must(disks.length === 0, 'it is still listed')),
        );
      },
    },
    {
      name: 'resize_disk grows a detached disk, keeps one of the same size, and does not shrink',
      run: async () => {
        await optional(cpi.resizeDisk(context(), made.disk, input.diskSizeMiB * 2));
        await optional(cpi.resizeDisk(context(), made.disk, input.diskSizeMiB * 2));
        const shrunk = await cpi.resizeDisk(context(), made.disk, input.diskSizeMiB).then(
          () => true,
          () => false,
        );
        must(!shrunk, 'a disk was made smaller');
      },
    },
    {
      name: 'snapshot_disk answers a cid, and delete_snapshot removes it and tolerates its absence',
      run: async () => {
        await optional(
          (async () => {
            made.snapshot = await cpi.snapshotDisk(context('snapshot'), made.disk, {
              deployment: 'conformance',
            });
            must(made.snapshot !== '', 'the cid is empty');
            await cpi.deleteSnapshot(context(), made.snapshot);
            await absentOrDone(cpi.deleteSnapshot(context(), made.snapshot), DiskNotFound);
            made.snapshot = '';
          })(),
        );
      },
    },
    {
      name: 'calculate_vm_cloud_properties answers properties that fit',
      run: () =>
        optional(
          cpi
            .calculateVmCloudProperties(context(), { cpu: 1, ram: 512, ephemeral_disk_size: 512 })
            .then((properties) => must(isJsonObject(properties), 'the answer is not an object')),
        ),
    },
    ...(input.knowsTokens
      ? [
          {
            name: 'a create call with the token of an earlier one answers what that one has made',
            run: async () => {
              must((await createStemcell()) === made.stemcell, 'a second stemcell was made');
              must((await createVm()).cid === made.vm, 'a second VM was made');
              must((await createDisk()) === made.disk, 'a second disk was made');
            },
          },
        ]
      : []),
    {
      name: 'delete_vm leaves an attached disk intact and free, and tolerates the absence of the VM',
      run: async () => {
        await cpi.attachDisk(context(), made.vm, made.disk);
        await cpi.deleteVm(context(), made.vm);
        must(!(await cpi.hasVm(context(), made.vm)), 'has_vm is still true');
        await absentOrDone(cpi.deleteVm(context(), made.vm), VmNotFound);
        await absentOrDone(cpi.deleteVm(context(), input.absent.vm), VmNotFound);
        await optional(cpi.hasDisk(context(), made.disk).then((found) => must(found, 'the disk went too')));
        made.vm = '';
      },
    },
    {
      name: 'calls that name an absent VM or disk fail with a CPI error',
      run: async () => {
        await mustFail(cpi.attachDisk(context(), input.absent.vm, made.disk), VmNotFound, CloudError);
        await mustFail(cpi.rebootVm(context(), input.absent.vm), VmNotFound, CloudError, NotImplemented);
        await mustFail(
          cpi.resizeDisk(context(), input.absent.disk, 4096),
          ...[DiskNotFound, CloudError, NotImplemented, NotSupported],
        );
      },
    },
    {
      name: 'delete_disk removes a free disk and tolerates its absence',
      run: async () => {
        await cpi.deleteDisk(context(), made.disk);
        await absentOrDone(cpi.deleteDisk(context(), made.disk), DiskNotFound);
        await absentOrDone(cpi.deleteDisk(context(), input.absent.disk), DiskNotFound);
        made.disk = '';
      },
    },
    {
      name: 'delete_stemcell removes it and tolerates its absence',
      run: async () => {
        await cpi.deleteStemcell(context(), made.stemcell);
        await absentOrDone(cpi.deleteStemcell(context(), made.stemcell), StemcellNotFound);
        await absentOrDone(cpi.deleteStemcell(context(), input.absent.stemcell), StemcellNotFound);
        made.stemcell = '';
      },
    },
  ];

  async function optional(call: Promise<unknown>): Promise<void> {
    await absentOrDone(call, NotImplemented, NotSupported);
  }

  async function mustFail(
    call: Promise<unknown>,
    ...allowed: (new (...args: never[]) => CpiError)[]
  ): Promise<void> {
    try {
      await call;
    } catch (error) {
      must(
        allowed.some((type) => error instanceof type),
        `the error is ${error instanceof CpiError ? error.type : String(error)}`,
      );
      return;
    }
    throw new Violation('the call succeeded');
  }
}

/** The forms of a disk hint: a non-empty text, or an object of texts (`iscsi_settings` one level deeper). */
function isHint(hint: Json): boolean {
  if (typeof hint === 'string') return hint !== '';
  if (!isJsonObject(hint)) return false;
  const values = Object.values(hint).flatMap((value) =>
    isJsonObject(value) ? Object.values(value) : [value],
  );
  return values.length > 0 && values.every((value) => typeof value === 'string');
}
