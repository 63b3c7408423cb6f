import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { NotImplemented } from '@microbosh/cpi';
import type { CallContext, Cpi, CpiExtensions } from '@microbosh/cpi';
import { messageOf } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import type { NetworksSpec } from '@microbosh/spec';
import type { LabReport } from '../../support/lab-report.ts';
import { FaultProxy } from '../fault-proxy/fault-proxy.ts';
import type { Fault, FaultProxyTls } from '../fault-proxy/fault-proxy.ts';
import type { CloudInventory, LabCase } from './lab-cases.ts';

/**
 * Every request of every method meets every fault, once and for good. Whatever the call then says, two things hold: the same
 * call does its work when the cloud is well again, and what the call has made is found again by its token and deleted, so that
 * nothing is leaked.
 */

export type LabCpi = Cpi & Required<Pick<CpiExtensions, 'findByToken' | 'findByMetadata'>>;

export interface OpenedCpi {
  readonly cpi: LabCpi;
  readonly close: () => Promise<void>;
}

export interface FaultLab {
  readonly cloud: CloudInventory;
  /** What was there at the beginning. */
  readonly before: ReadonlySet<string>;
  /** Where the cloud is: the proxy stands in front of it. */
  readonly origin: string;
  readonly tls?: FaultProxyTls;
  readonly faults: Readonly<Record<string, Fault>>;
  /** The CPI at the cloud, or at what stands in front of it. */
  readonly open: (address: string, readTimeoutSeconds?: number) => OpenedCpi;
  readonly imagePath: string;
  readonly stemcellProperties: JsonObject;
  readonly vmProperties: JsonObject;
  readonly networks: NetworksSpec;
  /** Methods for which this cloud has nothing to ask. */
  readonly silent?: readonly string[];
  /** What comes and goes with a VM; what is left of it is looked for when the VM is gone. */
  readonly isOf?: (thing: string, vmCid: string) => boolean;
  /** Looks at what the peer has seen. */
  readonly afterwards?: () => Promise<void>;
  /** Tells how many calls were harmed. */
  readonly report: LabReport;
  /** Not all of the faults, for a quick look. */
  readonly onlyFaults?: readonly string[] | undefined;
}

/** cids that a deployer has on record. */
interface Records {
  stemcell?: string;
  vm?: string;
  disk?: string;
  snapshot?: string;
}

type Resource = 'stemcell' | 'vm' | 'disk' | 'attachment' | 'snapshot';

interface Scenario {
  readonly method: string;
  /** Made once for all runs; they outlive them. */
  readonly fixture: readonly Resource[];
  /** Made anew for each run. */
  readonly fresh: readonly Resource[];
  readonly call: (cpi: LabCpi, records: Records) => Promise<unknown>;
  /** What a call that came to its end has brought about. */
  readonly holds?: (cpi: LabCpi, records: Records) => Promise<unknown>;
}

let runs = 0;

function context(token?: string): CallContext {
  const named = token === undefined ? {} : { token };
  return { directorUuid: 'lab', requestId: 'cpi-1', stemcellApiVersion: 3, ...named };
}

const metadata = { deployment: 'fault-matrix', director: 'lab' };

class Matrix {
  readonly #lab: FaultLab;
  /** Tokens of what the scenario's fixture and its current run have made. */
  #fixtureToken = '';
  #runToken = '';
  #opened: OpenedCpi | undefined;

  constructor(lab: FaultLab) {
    this.#lab = lab;
  }

  scenarios(): readonly Scenario[] {
    const { make } = this;
    const absent = async (found: Promise<boolean>) => ok(!(await found), 'it is still there');
    const present = async (found: Promise<boolean>) => ok(await found, 'it is not there');
    const vm: readonly Resource[] = ['stemcell', 'vm'];
    return [
      {
        ...{ method: 'create_stemcell', fixture: [], fresh: [] },
        call: (cpi, records) => make.stemcell(cpi, records, this.#runToken),
      },
      {
        ...{ method: 'delete_stemcell', fixture: [], fresh: ['stemcell'] },
        call: (cpi, { stemcell = '' }) => gone(cpi.deleteStemcell(context(), stemcell)),
      },
      {
        ...{ method: 'create_vm', fixture: ['stemcell'], fresh: [] },
        call: (cpi, records) => make.vm(cpi, records, this.#runToken),
        holds: (cpi, { vm: cid = '' }) => present(cpi.hasVm(context(), cid)),
      },
      {
        ...{ method: 'delete_vm', fixture: ['stemcell'], fresh: ['vm', 'disk', 'attachment'] },
        call: (cpi, { vm: cid = '' }) => gone(cpi.deleteVm(context(), cid)),
        holds: (cpi, { vm: cid = '' }) => absent(cpi.hasVm(context(), cid)),
      },
      {
        ...{ method: 'has_vm', fixture: vm, fresh: [] },
        call: (cpi, { vm: cid = '' }) => cpi.hasVm(context(), cid),
        holds: (cpi, { vm: cid = '' }) => present(cpi.hasVm(context(), cid)),
      },
      {
        ...{ method: 'reboot_vm', fixture: vm, fresh: [] },
        call: (cpi, { vm: cid = '' }) => cpi.rebootVm(context(), cid),
        holds: (cpi, { vm: cid = '' }) => present(cpi.hasVm(context(), cid)),
      },
      {
        ...{ method: 'set_vm_metadata', fixture: vm, fresh: [] },
        call: (cpi, { vm: cid = '' }) => cpi.setVmMetadata(context(), cid, metadata),
        holds: async (cpi, { vm: cid = '' }) => {
          const found = await cpi.findByMetadata(context(), metadata);
          ok(
            found.some((each) => each.cid === cid),
            'the VM is not found by its metadata',
          );
        },
      },
      {
        ...{ method: 'create_disk', fixture: vm, fresh: [] },
        call: (cpi, records) => make.disk(cpi, records, this.#runToken),
        holds: (cpi, { disk = '' }) => present(cpi.hasDisk(context(), disk)),
      },
      {
        ...{ method: 'delete_disk', fixture: [], fresh: ['disk'] },
        call: (cpi, { disk = '' }) => gone(cpi.deleteDisk(context(), disk)),
        holds: (cpi, { disk = '' }) => absent(cpi.hasDisk(context(), disk)),
      },
      {
        ...{ method: 'has_disk', fixture: ['disk'], fresh: [] },
        call: (cpi, { disk = '' }) => cpi.hasDisk(context(), disk),
        holds: (cpi, { disk = '' }) => present(cpi.hasDisk(context(), disk)),
      },
      {
        ...{ method: 'attach_disk', fixture: [...vm, 'disk'], fresh: [] },
        call: (cpi, records) => make.attachment(cpi, records),
        holds: async (cpi, { vm: cid = '', disk = '' }) => {
          deepStrictEqual(await cpi.getDisks(context(), cid), [disk]);
        },
      },
      {
        ...{ method: 'detach_disk', fixture: [...vm, 'disk'], fresh: ['attachment'] },
        call: (cpi, { vm: cid = '', disk = '' }) => gone(cpi.detachDisk(context(), cid, disk)),
        holds: async (cpi, { vm: cid = '' }) => {
          deepStrictEqual(await cpi.getDisks(context(), cid), []);
        },
      },
      {
        ...{ method: 'get_disks', fixture: [...vm, 'disk', 'attachment'], fresh: [] },
        call: (cpi, { vm: cid = '' }) => cpi.getDisks(context(), cid),
      },
      {
        ...{ method: 'set_disk_metadata', fixture: ['disk'], fresh: [] },
        call: (cpi, { disk = '' }) => cpi.setDiskMetadata(context(), disk, metadata),
      },
      {
        ...{ method: 'resize_disk', fixture: [], fresh: ['disk'] },
        call: (cpi, { disk = '' }) => cpi.resizeDisk(context(), disk, 2048),
      },
      {
        ...{ method: 'snapshot_disk', fixture: ['disk'], fresh: [] },
        call: (cpi, records) => make.snapshot(cpi, records, this.#runToken),
      },
      {
        ...{ method: 'delete_snapshot', fixture: ['disk'], fresh: ['snapshot'] },
        call: (cpi, { snapshot = '' }) => gone(cpi.deleteSnapshot(context(), snapshot)),
      },
      {
        ...{ method: 'find_by_token', fixture: [...vm, 'disk'], fresh: [] },
        call: async (cpi, records) => {
          for (const kind of ['stemcell', 'vm', 'disk'] as const) {
            // What the cloud denies for a moment is not taken for somebody else's.
            const found = await cpi.findByToken(context(), kind, `${this.#fixtureToken}-${kind}`);
            ok(found === undefined || found === records[kind], `${kind} ${found ?? ''}`);
          }
        },
      },
      {
        ...{ method: 'find_by_metadata', fixture: vm, fresh: [] },
        call: (cpi) => cpi.findByMetadata(context(), { deployment: 'nobody' }),
      },
    ];
  }

  readonly make = {
    stemcell: async (cpi: LabCpi, records: Records, token: string) => {
      const { imagePath, stemcellProperties } = this.#lab;
      records.stemcell = await cpi.createStemcell(
        context(`${token}-stemcell`),
        imagePath,
        stemcellProperties,
      );
    },
    vm: async (cpi: LabCpi, records: Records, token: string) => {
      const { vmProperties, networks } = this.#lab;
      const { stemcell = '' } = records;
      const named = context(`${token}-vm`);
      records.vm = (await cpi.createVm(named, 'agent', stemcell, vmProperties, networks, [], {})).cid;
    },
    disk: async (cpi: LabCpi, records: Records, token: string) => {
      records.disk = await cpi.createDisk(context(`${token}-disk`), 1024, {}, records.vm ?? null);
    },
    attachment: async (cpi: LabCpi, { vm = '', disk = '' }: Records) => {
      await cpi.attachDisk(context(), vm, disk);
    },
    snapshot: async (cpi: LabCpi, records: Records, token: string) => {
      records.snapshot = await cpi.snapshotDisk(context(`${token}-snapshot`), records.disk ?? '', {
        job: 'j',
      });
    },
  };

  /** Of a scenario: what repeats and settles calls when the cloud is well. */
  get #healthy(): LabCpi {
    this.#opened ??= this.#lab.open(this.#lab.origin);
    return this.#opened.cpi;
  }

  async #prepare(
    cpi: LabCpi,
    resources: readonly Resource[],
    records: Records,
    token: string,
  ): Promise<void> {
    for (const resource of resources) await this.make[resource](cpi, records, token);
  }

  /** What the next run of a deployer does: settles open intents by their tokens, then deletes all that it knows. */
  async #settle(cpi: LabCpi, { method, fixture }: Scenario, records: Records, token: string): Promise<void> {
    const isOurs = (resource: Resource) => !fixture.includes(resource) || token === this.#fixtureToken;
    const find = (kind: 'stemcell' | 'vm' | 'disk') => cpi.findByToken(context(), kind, `${token}-${kind}`);
    if (method === 'snapshot_disk' && token === this.#runToken) await this.make.snapshot(cpi, records, token);
    if (records.snapshot !== undefined) await gone(cpi.deleteSnapshot(context(), records.snapshot));
    if (!isOurs('vm') && !isOurs('disk') && !fixture.includes('attachment')) {
      const { vm = '', disk = '' } = records;
      await gone(cpi.detachDisk(context(), vm, disk));
    }
    if (isOurs('vm')) {
      const vm = records.vm ?? (await find('vm'));
      if (vm !== undefined) await gone(cpi.deleteVm(context(), vm));
    }
    if (isOurs('disk')) {
      const disk = records.disk ?? (await find('disk'));
      if (disk !== undefined) await gone(cpi.deleteDisk(context(), disk));
    }
    if (isOurs('stemcell')) {
      const stemcell = records.stemcell ?? (await find('stemcell'));
      if (stemcell !== undefined) await gone(cpi.deleteStemcell(context(), stemcell));
    }
  }

  async #harm(
    proxy: FaultProxy,
    scenario: Scenario,
    fixed: Records,
    harm: { readonly fault: Fault; readonly index: number; readonly times: number },
  ): Promise<void> {
    const { fault, index, times } = harm;
    runs += 1;
    this.#runToken = `fault-${runs}`;
    const records: Records = { ...fixed };
    await this.#prepare(this.#healthy, scenario.fresh, records, this.#runToken);
    proxy.inject({ path: /./, after: index, times, fault });
    const harmed = this.#lab.open(proxy.addressOf(this.#lab.origin), fault.kind === 'hang' ? 0.3 : 30);
    await scenario.call(harmed.cpi, records).catch(() => undefined);
    proxy.clear();
    await harmed.close();
    const cpi = this.#healthy;
    // Every other time the deployer repeats the call with the same token first.
    if ((index + times) % 2 === 0) {
      await scenario.call(cpi, records);
      await scenario.holds?.(cpi, records);
    }
    await this.#settle(cpi, scenario, records, this.#runToken);
  }

  /** How many requests the call sends when nothing is wrong. */
  async #count(proxy: FaultProxy, scenario: Scenario, fixed: Records): Promise<number> {
    runs += 1;
    this.#runToken = `fault-${runs}`;
    const records: Records = { ...fixed };
    await this.#prepare(this.#healthy, scenario.fresh, records, this.#runToken);
    proxy.seen.length = 0;
    const unharmed = this.#lab.open(proxy.addressOf(this.#lab.origin));
    try {
      await scenario.call(unharmed.cpi, records);
    } finally {
      await unharmed.close();
    }
    const count = proxy.seen.length;
    await scenario.holds?.(this.#healthy, records);
    await this.#settle(this.#healthy, scenario, records, this.#runToken);
    return count;
  }

  async run(scenario: Scenario): Promise<void> {
    const { origin, tls, cloud, before, faults, onlyFaults, isOf, silent, report } = this.#lab;
    const proxy = await FaultProxy.start([origin], tls);
    runs += 1;
    this.#fixtureToken = `fixture-${runs}`;
    const fixed: Records = {};
    try {
      const start = new Set(await cloud.everything());
      await this.#prepare(this.#healthy, scenario.fixture, fixed, this.#fixtureToken);
      const known = new Set([...before, ...(await cloud.everything())]);
      const count = await this.#count(proxy, scenario, fixed);
      strictEqual(
        count > 0,
        silent?.includes(scenario.method) !== true,
        `the method sends ${count} requests`,
      );
      const problems: string[] = [];
      let harmed = 0;
      for (const [name, fault] of Object.entries(faults)) {
        if (onlyFaults?.includes(name) === false) continue;
        for (let index = 0; index < count; index += 1) {
          for (const times of fault.kind === 'hang' ? [1] : [1, 1000]) {
            harmed += 1;
            await this.#harm(proxy, scenario, fixed, { fault, index, times }).catch((error: unknown) => {
              problems.push(`${name} ×${times} at request ${index}: ${messageOf(error)}`);
            });
          }
        }
        const left = (await cloud.everything()).filter(
          (thing) => !known.has(thing) && isOf?.(thing, fixed.vm ?? 'none') !== true,
        );
        for (const thing of left) known.add(thing);
        if (left.length > 0) problems.push(`${name}: left over: ${left.join(', ')}`);
      }
      await this.#settle(this.#healthy, { ...scenario, method: '' }, fixed, this.#fixtureToken);
      const left = (await cloud.everything()).filter((thing) => !start.has(thing));
      if (left.length > 0 && problems.length === 0)
        problems.push(`left over of the fixture: ${left.join(', ')}`);
      await this.#lab.afterwards?.();
      report.figure(`calls of ${scenario.method} harmed, of ${count} requests each`, String(harmed));
      ok(problems.length === 0, problems.join('\n'));
    } catch (error) {
      // A method that a cloud does not have sends nothing, and needs no matrix.
      if (!(error instanceof NotImplemented)) throw error;
      await this.#settle(this.#healthy, { ...scenario, method: '' }, fixed, this.#fixtureToken);
    } finally {
      await this.#opened?.close();
      this.#opened = undefined;
      await proxy.stop();
    }
  }
}

/** Absence is what a deletion is for. */
async function gone(deletion: Promise<void>): Promise<void> {
  await deletion.catch((error: { readonly code?: string }) => {
    if (!/_NOT_(FOUND|ATTACHED)$/.test(error.code ?? '')) throw error;
  });
}

export function faultMatrix(lab: FaultLab): readonly LabCase[] {
  const unknown = lab.onlyFaults?.find((name) => !Object.hasOwn(lab.faults, name));
  if (unknown !== undefined)
    throw new Error(`no fault '${unknown}'; there are: ${Object.keys(lab.faults).join(', ')}`);
  const matrix = new Matrix(lab);
  return matrix.scenarios().map((scenario) => ({
    method: scenario.method,
    name: 'every fault at every request, once and for good: it works again, and nothing is left that is not found',
    body: () => matrix.run(scenario),
  }));
}
