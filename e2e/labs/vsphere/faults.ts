import { ok } from 'node:assert/strict';
import type { CallContext } from '@microbosh/cpi';
import { vsphereUnderTest } from '@microbosh/cpi-vsphere/testing';
import { messageOf } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import { FaultProxy } from '../fault-proxy/fault-proxy.ts';
import type { Fault, FaultProxyTls } from '../fault-proxy/fault-proxy.ts';
import { networks, vmProperties } from './cases.ts';
import type { LabCase, VsphereLab } from './cases.ts';

/**
 * Every request of every method meets every fault, once and for good. Whatever the call then says, the deployer can find
 * what is there by the call's token and delete it: nothing is leaked.
 */

type Cpi = ReturnType<typeof vsphereUnderTest>['cpi'];

const soapFault = (name: string): Fault => ({
  kind: 'answer',
  status: 500,
  headers: { 'content-type': 'text/xml' },
  body: `<?xml version="1.0"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body><soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>injected</faultstring><detail><${name}Fault xmlns="urn:vim25" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="${name}"/></detail></soapenv:Fault></soapenv:Body></soapenv:Envelope>`,
});

const faults: Readonly<Record<string, Fault>> = {
  NotAuthenticated: soapFault('NotAuthenticated'),
  NoPermission: soapFault('NoPermission'),
  TaskInProgress: soapFault('TaskInProgress'),
  SystemError: soapFault('SystemError'),
  '503': { kind: 'answer', status: 503, body: 'no healthy upstream' },
  'no answer': { kind: 'hang' },
  'cut before': { kind: 'cut-before' },
  'cut after success': { kind: 'cut-after' },
  'a task that fails': {
    kind: 'rewrite',
    change: (body) =>
      body.replace(
        />success<\/val>/,
        '>error</val></propSet><propSet><name>info.error</name><val XMLSchema-instance:type="LocalizedMethodFault" xmlns:XMLSchema-instance="http://www.w3.org/2001/XMLSchema-instance"><fault XMLSchema-instance:type="HostConfigFault"/><localizedMessage>injected</localizedMessage></val>',
      ),
  },
};

/** cids that a deployer has on record. */
interface Records {
  stemcell?: string;
  vm?: string;
  disk?: string;
}

let runs = 0;

function context(token?: string): CallContext {
  const named = token === undefined ? {} : { token: `fault-${runs}-${token}` };
  return { directorUuid: 'lab', requestId: 'cpi-1', stemcellApiVersion: 3, ...named };
}

function calls(image: string) {
  return {
    stemcell: async (cpi: Cpi, records: Records) => {
      records.stemcell = await cpi.createStemcell(context('stemcell'), image, {});
    },
    vm: async (cpi: Cpi, records: Records) => {
      const { stemcell = '' } = records;
      const made = await cpi.createVm(context('vm'), 'agent', stemcell, vmProperties, networks, [], {});
      records.vm = made.cid;
    },
    disk: async (cpi: Cpi, records: Records) => {
      records.disk = await cpi.createDisk(context('disk'), 1024, {}, records.vm ?? null);
    },
    attached: async (cpi: Cpi, { vm = '', disk = '' }: Records) => {
      await cpi.attachDisk(context(), vm, disk);
    },
  };
}

interface Scenario {
  readonly method: string;
  readonly needs: readonly (keyof ReturnType<typeof calls>)[];
  readonly call: (cpi: Cpi, records: Records) => Promise<void>;
}

function scenarios(make: ReturnType<typeof calls>): readonly Scenario[] {
  return [
    { method: 'create_stemcell', needs: [], call: make.stemcell },
    { method: 'create_vm', needs: ['stemcell'], call: make.vm },
    { method: 'create_disk', needs: [], call: make.disk },
    { method: 'attach_disk', needs: ['stemcell', 'vm', 'disk'], call: make.attached },
    {
      method: 'detach_disk',
      needs: ['stemcell', 'vm', 'disk', 'attached'],
      call: (cpi, { vm = '', disk = '' }) => cpi.detachDisk(context(), vm, disk),
    },
    {
      method: 'resize_disk',
      needs: ['disk'],
      call: (cpi, { disk = '' }) => cpi.resizeDisk(context(), disk, 2048),
    },
    {
      method: 'delete_vm',
      needs: ['stemcell', 'vm', 'disk', 'attached'],
      call: (cpi, { vm = '' }) => cpi.deleteVm(context(), vm),
    },
    { method: 'delete_disk', needs: ['disk'], call: (cpi, { disk = '' }) => cpi.deleteDisk(context(), disk) },
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
    if (!/_NOT_(FOUND|ATTACHED)$/.test(error.code ?? '')) throw error;
  });
}

/** What the next run of a deployer does: settles open intents by their tokens, then deletes all that it knows. */
async function deleteEverything(cpi: Cpi, records: Records): Promise<void> {
  const token = (kind: string) => `fault-${runs}-${kind}`;
  const vm = records.vm ?? (await cpi.findByToken(context(), 'vm', token('vm')));
  const disk = records.disk ?? (await cpi.findByToken(context(), 'disk', token('disk')));
  const stemcell = records.stemcell ?? (await cpi.findByToken(context(), 'stemcell', token('stemcell')));
  if (vm !== undefined) await gone(cpi.deleteVm(context(), vm));
  if (disk !== undefined) await gone(cpi.deleteDisk(context(), disk));
  if (stemcell !== undefined) await gone(cpi.deleteStemcell(context(), stemcell));
}

export function faultCases(
  lab: VsphereLab & { readonly before: ReadonlySet<string>; readonly tls: FaultProxyTls },
): readonly LabCase[] {
  const make = calls(lab.image);
  const { host: address } = lab.vcenter;
  const origin = `https://${typeof address === 'string' ? address : ''}`;

  async function healthy<T>(use: (cpi: Cpi) => Promise<T>): Promise<T> {
    const { cpi } = vsphereUnderTest(lab.vcenter);
    try {
      return await use(cpi);
    } finally {
      await cpi.dispose();
    }
  }

  async function prepared({ needs }: Scenario): Promise<Records> {
    runs += 1;
    const records: Records = {};
    await healthy(async (cpi) => {
      for (const need of needs) await make[need](cpi, records);
    });
    return records;
  }

  function behind(proxy: FaultProxy, readTimeoutSeconds: number): Cpi {
    const host = new URL(proxy.addressOf(origin)).host;
    const options = lab.vcenter['connection_options'] as JsonObject;
    const connection_options = { ...options, read_timeout: readTimeoutSeconds };
    return vsphereUnderTest({ ...lab.vcenter, host, connection_options }).cpi;
  }

  async function harm(proxy: FaultProxy, scenario: Scenario, index: number, fault: Fault, times: number) {
    const records = await prepared(scenario);
    proxy.inject({ path: /./, after: index, times, fault });
    const cpi = behind(proxy, fault.kind === 'hang' ? 0.3 : 30);
    await scenario.call(cpi, records).catch(() => undefined);
    proxy.clear();
    await cpi.dispose();
    await healthy(async (again) => {
      // Every other time the deployer tries again with the same token first.
      if ((index + times) % 2 === 0) await gone(scenario.call(again, records));
      await deleteEverything(again, records);
    });
  }

  async function matrix(scenario: Scenario): Promise<void> {
    const proxy = await FaultProxy.start([origin], lab.tls);
    try {
      const records = await prepared(scenario);
      proxy.seen.length = 0;
      const unharmed = behind(proxy, 30);
      await scenario.call(unharmed, records);
      const count = proxy.seen.length;
      await unharmed.dispose();
      await healthy((cpi) => deleteEverything(cpi, records));
      ok(count > 0, 'the method sends nothing');
      const leaks: string[] = [];
      const known = new Set(lab.before);
      for (const [name, fault] of Object.entries(faults)) {
        for (let index = 0; index < count; index += 1) {
          for (const times of name === 'no answer' ? [1] : [1, 1000]) {
            await harm(proxy, scenario, index, fault, times).catch((error: unknown) =>
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
