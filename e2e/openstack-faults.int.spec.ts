import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CallContext } from '@microbosh/cpi';
import { FakeOpenstack, openstackUnderTest } from '@microbosh/cpi-openstack/testing';
import { messageOf } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';
import type { NetworksSpec } from '@microbosh/spec';
import { FaultProxy } from './labs/fault-proxy/fault-proxy.ts';
import type { Fault } from './labs/fault-proxy/fault-proxy.ts';

/**
 * Every request of every method meets every fault, once and for good. Whatever the call then says, the deployer can find
 * what is there by the call's token and delete it: nothing is leaked.
 */

const answer = (status: number): Fault => ({
  kind: 'answer',
  status,
  body: JSON.stringify({ fault: { code: status, message: `injected ${status}` } }),
});
const faults: Readonly<Record<string, Fault>> = {
  '401': answer(401),
  '404': answer(404),
  '409': answer(409),
  '429': answer(429),
  '500': answer(500),
  '503': answer(503),
  'no answer': { kind: 'hang' },
  'cut before': { kind: 'cut-before' },
  'cut after success': { kind: 'cut-after' },
};

type Cpi = ReturnType<typeof openstackUnderTest>['cpi'];

/** cids that a deployer has on record. */
interface Records {
  stemcell?: string;
  vm?: string;
  disk?: string;
  snapshot?: string;
}

interface Scenario {
  readonly name: string;
  /** What is there before the method is called. */
  readonly needs: readonly ('stemcell' | 'vm' | 'disk' | 'attached')[];
  readonly call: (cpi: Cpi, records: Records) => Promise<void>;
}

let directory: string;
let image: string;
let cloud: FakeOpenstack;
let proxy: FaultProxy;
let runs = 0;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'microbosh-openstack-faults-'));
  image = join(directory, 'image');
  await writeFile(join(directory, 'root.img'), randomBytes(4096));
  await new NodeCommandRunner().run(['tar', '-czf', image, '-C', directory, 'root.img']);
  cloud = await FakeOpenstack.start();
  proxy = await FaultProxy.start([cloud.origin]);
});
afterAll(async () => {
  await proxy.stop();
  await cloud.stop();
  await rm(directory, { recursive: true, force: true });
});

function context(token?: string): CallContext {
  return {
    directorUuid: 'd',
    requestId: 'r',
    stemcellApiVersion: 3,
    ...(token === undefined ? {} : { token: `${runs}-${token}` }),
  };
}

const networks = (): NetworksSpec => ({
  default: {
    type: 'manual',
    ip: '10.77.0.10',
    netmask: '255.255.255.0',
    gateway: '10.77.0.1',
    cloud_properties: { net_id: cloud.networkId },
  },
  public: { type: 'vip', ip: '203.0.113.10' },
});

const make = {
  stemcell: async (cpi: Cpi, records: Records) => {
    records.stemcell = await cpi.createStemcell(context('stemcell'), image, { disk_format: 'raw' });
  },
  vm: async (cpi: Cpi, records: Records) => {
    const properties = { instance_type: 'm1.small' };
    const { stemcell = '' } = records;
    records.vm = (await cpi.createVm(context('vm'), 'agent', stemcell, properties, networks(), [], {})).cid;
  },
  disk: async (cpi: Cpi, records: Records) => {
    records.disk = await cpi.createDisk(context('disk'), 1024, {}, records.vm ?? null);
  },
  attached: async (cpi: Cpi, { vm = '', disk = '' }: Records) =>
    void (await cpi.attachDisk(context(), vm, disk)),
};

const scenarios: readonly Scenario[] = [
  { name: 'create_stemcell', needs: [], call: make.stemcell },
  { name: 'create_vm', needs: ['stemcell'], call: make.vm },
  { name: 'create_disk', needs: ['stemcell', 'vm'], call: make.disk },
  { name: 'attach_disk', needs: ['stemcell', 'vm', 'disk'], call: make.attached },
  {
    name: 'detach_disk',
    needs: ['stemcell', 'vm', 'disk', 'attached'],
    call: (cpi, { vm = '', disk = '' }) => cpi.detachDisk(context(), vm, disk),
  },
  {
    name: 'resize_disk',
    needs: ['disk'],
    call: (cpi, { disk = '' }) => cpi.resizeDisk(context(), disk, 2048),
  },
  {
    name: 'snapshot_disk',
    needs: ['disk'],
    call: async (cpi, records) => {
      records.snapshot = await cpi.snapshotDisk(context('snapshot'), records.disk ?? '', { job: 'j' });
    },
  },
  {
    name: 'set_vm_metadata',
    needs: ['stemcell', 'vm'],
    call: (cpi, { vm = '' }) => cpi.setVmMetadata(context(), vm, { deployment: 'd' }),
  },
  {
    name: 'delete_vm',
    needs: ['stemcell', 'vm', 'disk', 'attached'],
    call: (cpi, { vm = '' }) => cpi.deleteVm(context(), vm),
  },
  { name: 'delete_disk', needs: ['disk'], call: (cpi, { disk = '' }) => cpi.deleteDisk(context(), disk) },
  {
    name: 'delete_stemcell',
    needs: ['stemcell'],
    call: (cpi, { stemcell = '' }) => cpi.deleteStemcell(context(), stemcell),
  },
];

/** Straight to the cloud, without faults. */
const healthy = () => openstackUnderTest(cloud.authUrl).cpi;

/** A new process of the CPI behind the proxy, which gives up on an answer soon. */
const harmed = () =>
  openstackUnderTest(proxy.addressOf(cloud.authUrl), {
    connection_options: { read_timeout: 0.06 },
    state_timeout: 0.3,
  }).cpi;

async function prepare(scenario: Scenario): Promise<Records> {
  const records: Records = {};
  const cpi = healthy();
  for (const need of scenario.needs) await make[need](cpi, records);
  await cpi.dispose();
  return records;
}

/** What the next run of a deployer does: settles open intents by their tokens, then deletes all that it knows. */
async function deleteEverything(records: Records, hasSnapshot: boolean): Promise<void> {
  const cpi = healthy();
  const vm = records.vm ?? (await cpi.findByToken(context(), 'vm', `${runs}-vm`));
  const disk = records.disk ?? (await cpi.findByToken(context(), 'disk', `${runs}-disk`));
  const stemcell = records.stemcell ?? (await cpi.findByToken(context(), 'stemcell', `${runs}-stemcell`));
  if (hasSnapshot) {
    const snapshot = await cpi.snapshotDisk(context('snapshot'), disk ?? '', { job: 'j' });
    await cpi.deleteSnapshot(context(), snapshot);
  }
  if (vm !== undefined) await cpi.deleteVm(context(), vm);
  if (disk !== undefined) await cpi.deleteDisk(context(), disk);
  if (stemcell !== undefined) await cpi.deleteStemcell(context(), stemcell);
  await cpi.dispose();
}

interface Prepared {
  readonly scenario: Scenario;
  readonly records: Records;
  /** Brings the cloud back to where the method is called. */
  readonly restore: () => void;
}

/** The requests of a call that nothing harms, in order. */
async function requestsOf({ scenario, records }: Prepared): Promise<readonly string[]> {
  proxy.seen.length = 0;
  const cpi = harmed();
  await scenario.call(cpi, { ...records });
  await cpi.dispose();
  return proxy.seen.map(({ method, path }) => `${method} ${path}`);
}

/** What is left, and why the call failed if it was not to. */
async function outcomeOf(
  prepared: Prepared,
  index: number,
  fault: Fault,
  times: number,
  mustSucceed: boolean,
): Promise<readonly string[]> {
  const { scenario, restore } = prepared;
  const records = { ...prepared.records };
  restore();
  proxy.inject({ path: /./, after: index, times, fault });
  const cpi = harmed();
  let failure: unknown;
  await scenario.call(cpi, records).catch((error: unknown) => (failure = error));
  await cpi.dispose();
  proxy.clear();
  // Every other time the deployer tries again with the same token first.
  if ((index + times) % 2 === 0) {
    const again = healthy();
    await scenario.call(again, records);
    await again.dispose();
  }
  await deleteEverything(records, scenario.name === 'snapshot_disk');
  const left = cloud.leftovers();
  return failure === undefined || !mustSucceed ? left : [`failed: ${messageOf(failure)}`, ...left];
}

describe('OpenStack that fails', () => {
  it.each(scenarios)('at any request of $name leaves nothing that is not found again', async (scenario) => {
    runs += 1;
    const prepared = { scenario, records: await prepare(scenario), restore: cloud.copy() };
    const requests = await requestsOf(prepared);
    expect(requests.length).toBeGreaterThan(0);
    const leaks: string[] = [];
    let cases = 0;
    for (const [name, fault] of Object.entries(faults)) {
      for (const [index, request] of requests.entries()) {
        // The same to a request that changes nothing as 503, and as a lost answer.
        if (request.startsWith('GET ') && ['429', '500', 'cut before'].includes(name)) continue;
        // A service that never answers is given up by the first request of the next attempt, too.
        for (const times of name === 'no answer' || request.startsWith('GET ') ? [1] : [1, 1000]) {
          cases += 1;
          // What may be repeated is, and a service that refuses the repetition is at it already.
          const mustSucceed = times === 1 && name === 'cut after success' && /^(?:GET|DELETE) /.test(request);
          const left = await outcomeOf(prepared, index, fault, times, mustSucceed).catch((error: unknown) => [
            String(error),
          ]);
          if (left.length > 0) leaks.push(`${name} ×${times} at ${request}: ${left.join(', ')}`);
        }
      }
    }
    prepared.restore();
    await deleteEverything(prepared.records, scenario.name === 'snapshot_disk');
    expect(leaks).toEqual([]);
    expect(cases).toBeGreaterThanOrEqual(requests.length * (Object.keys(faults).length - 3));
  });
});
