import { ok } from 'node:assert/strict';
import type { CallContext } from '@microbosh/cpi';
import { awsUnderTest } from '@microbosh/cpi-aws/testing';
import { messageOf } from '@microbosh/errors';
import { FaultProxy } from '../fault-proxy/fault-proxy.ts';
import type { Fault } from '../fault-proxy/fault-proxy.ts';
import type { AwsLab, LabCase } from './cases.ts';
import { dynamicNetwork, vmProperties } from './cases.ts';

/**
 * Every request of every method meets every fault, once and for good. Whatever the call then says, the deployer can find
 * what is there by the call's token and delete it: nothing is leaked.
 */

type Cpi = ReturnType<typeof awsUnderTest>;

const answer = (status: number, code: string): Fault => ({
  kind: 'answer',
  status,
  headers: { 'content-type': 'text/xml' },
  body: `<?xml version="1.0"?><Response><Errors><Error><Code>${code}</Code><Message>injected</Message></Error></Errors><RequestID>r</RequestID></Response>`,
});

const faults: Readonly<Record<string, Fault>> = {
  AuthFailure: answer(401, 'AuthFailure'),
  UnauthorizedOperation: answer(403, 'UnauthorizedOperation'),
  RequestLimitExceeded: answer(503, 'RequestLimitExceeded'),
  InternalError: answer(500, 'InternalError'),
  InsufficientInstanceCapacity: answer(500, 'InsufficientInstanceCapacity'),
  IncorrectState: answer(400, 'IncorrectState'),
  'no answer': { kind: 'hang' },
  'cut before': { kind: 'cut-before' },
  'cut after success': { kind: 'cut-after' },
};

/** cids that a deployer has on record. */
interface Records {
  stemcell?: string;
  vm?: string;
  disk?: string;
  snapshot?: string;
}

interface Scenario {
  readonly method: string;
  readonly needs: readonly (keyof ReturnType<typeof calls>)[];
  readonly call: (cpi: Cpi, records: Records) => Promise<unknown>;
}

let runs = 0;

function context(token?: string): CallContext {
  const named = token === undefined ? {} : { token: `fault-${runs}-${token}` };
  return { directorUuid: 'lab', requestId: 'cpi-1', stemcellApiVersion: 3, ...named };
}

function calls({ place, image }: AwsLab) {
  return {
    stemcell: async (cpi: Cpi, records: Records) => {
      records.stemcell = await cpi.createStemcell(context('stemcell'), image.path, { disk: 1024 });
    },
    vm: async (cpi: Cpi, records: Records) => {
      const networks = { ...dynamicNetwork(place), public: { type: 'vip' as const, ip: place.elasticIp } };
      const stemcell = records.stemcell ?? `${place.amiId} light`;
      const made = await cpi.createVm(
        context('vm'),
        'agent',
        stemcell,
        vmProperties(place),
        networks,
        [],
        {},
      );
      records.vm = made.cid;
    },
    disk: async (cpi: Cpi, records: Records) => {
      records.disk = await cpi.createDisk(context('disk'), 1024, {}, records.vm ?? null);
    },
    attached: (cpi: Cpi, { vm = '', disk = '' }: Records) => cpi.attachDisk(context(), vm, disk),
  };
}

function scenarios(make: ReturnType<typeof calls>): readonly Scenario[] {
  return [
    { method: 'create_stemcell', needs: [], call: make.stemcell },
    { method: 'create_vm', needs: [], call: make.vm },
    { method: 'create_disk', needs: [], call: make.disk },
    { method: 'attach_disk', needs: ['vm', 'disk'], call: make.attached },
    {
      method: 'detach_disk',
      needs: ['vm', 'disk', 'attached'],
      call: (cpi, { vm = '', disk = '' }) => cpi.detachDisk(context(), vm, disk),
    },
    {
      method: 'snapshot_disk',
      needs: ['disk'],
      call: async (cpi, records) => {
        records.snapshot = await cpi.snapshotDisk(context('snapshot'), records.disk ?? '', { job: 'j' });
      },
    },
    {
      method: 'resize_disk',
      needs: ['disk'],
      call: (cpi, { disk = '' }) => cpi.resizeDisk(context(), disk, 2048),
    },
    {
      method: 'set_vm_metadata',
      needs: ['vm'],
      call: (cpi, { vm = '' }) => cpi.setVmMetadata(context(), vm, { deployment: 'd' }),
    },
    {
      method: 'delete_vm',
      needs: ['vm', 'disk', 'attached'],
      call: (cpi, { vm = '' }) => cpi.deleteVm(context(), vm),
    },
    {
      method: 'delete_disk',
      needs: ['disk'],
      call: (cpi, { disk = '' }) => cpi.deleteDisk(context(), disk),
    },
    {
      method: 'delete_stemcell',
      needs: ['stemcell'],
      call: (cpi, { stemcell = '' }) => cpi.deleteStemcell(context(), stemcell),
    },
  ];
}

/** Absence is what a deletion is for. */
async function gone(deletion: Promise<void>): Promise<void> {
  await deletion.catch((error: { readonly code?: string }) => {
    if (!/_NOT_FOUND$/.test(error.code ?? '')) throw error;
  });
}

/** What the next run of a deployer does: settles open intents by their tokens, then deletes all that it knows. */
async function deleteEverything(cpi: Cpi, records: Records, method: string): Promise<void> {
  const token = (kind: string) => `fault-${runs}-${kind}`;
  const vm = records.vm ?? (await cpi.findByToken(context(), 'vm', token('vm')));
  const disk = records.disk ?? (await cpi.findByToken(context(), 'disk', token('disk')));
  const stemcell = records.stemcell ?? (await cpi.findByToken(context(), 'stemcell', token('stemcell')));
  if (method === 'snapshot_disk') {
    const snapshot = await cpi.snapshotDisk(context('snapshot'), disk ?? '', { job: 'j' });
    await cpi.deleteSnapshot(context(), snapshot);
  }
  if (vm !== undefined) await gone(cpi.deleteVm(context(), vm));
  if (disk !== undefined) await gone(cpi.deleteDisk(context(), disk));
  if (stemcell !== undefined) await gone(cpi.deleteStemcell(context(), stemcell));
}

export function faultCases(lab: AwsLab & { readonly before: ReadonlySet<string> }): readonly LabCase[] {
  const make = calls(lab);
  const healthy = () => awsUnderTest(lab.endpoint);

  async function prepared({ needs }: Scenario): Promise<Records> {
    runs += 1;
    const records: Records = {};
    const cpi = healthy();
    for (const need of needs) await make[need](cpi, records);
    return records;
  }

  async function outcomeOf(
    proxy: FaultProxy,
    scenario: Scenario,
    index: number,
    fault: Fault,
    times: number,
  ) {
    const records = await prepared(scenario);
    proxy.inject({ path: /./, after: index, times, fault });
    const harmed = awsUnderTest(proxy.addressOf(lab.endpoint), { connection_options: { read_timeout: 0.3 } });
    await scenario.call(harmed, records).catch(() => undefined);
    proxy.clear();
    // Every other time the deployer tries again with the same token first.
    if ((index + times) % 2 === 0) await gone(scenario.call(healthy(), records).then(() => undefined));
    await deleteEverything(healthy(), records, scenario.method);
  }

  async function matrix(scenario: Scenario): Promise<void> {
    const proxy = await FaultProxy.start([lab.endpoint]);
    try {
      const records = await prepared(scenario);
      proxy.seen.length = 0;
      await scenario.call(awsUnderTest(proxy.addressOf(lab.endpoint)), records);
      const count = proxy.seen.length;
      await deleteEverything(healthy(), records, scenario.method);
      ok(count > 0, 'the method sends nothing');
      const leaks: string[] = [];
      const known = new Set(lab.before);
      for (const [name, fault] of Object.entries(faults)) {
        for (let index = 0; index < count; index += 1) {
          for (const times of name === 'no answer' ? [1] : [1, 1000]) {
            await outcomeOf(proxy, scenario, index, fault, times).catch((error: unknown) =>
              leaks.push(`${name} ×${times} at request ${index}: ${messageOf(error)}`),
            );
          }
        }
        const left = (await lab.view.everything()).filter((thing) => !known.has(thing));
        for (const thing of left) known.add(thing);
        if (left.length > 0) leaks.push(`${name}: left over: ${left.join(', ')}`);
      }
      ok(leaks.length === 0, leaks.join('\n'));
    } finally {
      await proxy.stop();
    }
  }

  return scenarios(make).map((scenario) => ({
    method: scenario.method,
    name: 'every fault at every request, once and for good: nothing is left that is not found again',
    body: () => matrix(scenario),
  }));
}
