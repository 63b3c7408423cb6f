import { ok } from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CallContext } from '@microbosh/cpi';
import { openstackUnderTest } from '@microbosh/cpi-openstack/testing';
import type { JsonObject } from '@microbosh/errors';
import { succeed } from '../../support/commands.ts';
import type { LabReport } from '../../support/lab-report.ts';
import { FaultProxy } from '../fault-proxy/fault-proxy.ts';
import type { FaultRule } from '../fault-proxy/fault-proxy.ts';
import type { OpenstackLab } from './contract.ts';

/**
 * Faults before the real services, where a real one decides what has become of the request. The whole matrix is run on the
 * fake (`e2e/openstack-faults.int.spec.ts`). Whatever a call says, the deployer finds what is there by the call's token
 * and deletes it.
 */

type Cpi = ReturnType<typeof openstackUnderTest>['cpi'];
type Kind = 'stemcell' | 'vm' | 'disk';

interface FaultCase {
  readonly method: string;
  readonly name: string;
  readonly rule: FaultRule;
  readonly needs: readonly (Kind | 'attached')[];
  readonly call: Kind | 'attached' | 'delete_vm' | 'detach_disk' | 'delete_disk' | 'delete_stemcell';
  /** Whether the call comes to its end all the same. */
  readonly succeeds: boolean;
}

const answer = (status: number, headers: Record<string, string> = {}): FaultRule['fault'] => ({
  kind: 'answer',
  status,
  headers,
  body: JSON.stringify({ fault: { code: status, message: `injected ${status}` } }),
});
const always = 1000;

const cases: readonly FaultCase[] = [
  {
    method: 'create_stemcell',
    name: 'the answer to POST /images is lost',
    rule: { method: 'POST', path: /\/images$/, fault: { kind: 'cut-after' } },
    needs: [],
    call: 'stemcell',
    succeeds: true,
  },
  {
    method: 'create_stemcell',
    name: 'the answer to the upload is lost',
    rule: { method: 'PUT', path: /\/file$/, fault: { kind: 'cut-after' } },
    needs: [],
    call: 'stemcell',
    succeeds: true,
  },
  {
    method: 'create_stemcell',
    name: 'the upload always ends with 500',
    rule: { method: 'PUT', path: /\/file$/, times: always, fault: answer(500) },
    needs: [],
    call: 'stemcell',
    succeeds: false,
  },
  {
    method: 'create_vm',
    name: 'the answer to POST /ports is lost',
    rule: { method: 'POST', path: /\/ports$/, fault: { kind: 'cut-after' } },
    needs: [],
    call: 'vm',
    succeeds: true,
  },
  {
    method: 'create_vm',
    name: 'the answer to POST /servers is lost',
    rule: { method: 'POST', path: /\/servers$/, fault: { kind: 'cut-after' } },
    needs: [],
    call: 'vm',
    succeeds: true,
  },
  {
    method: 'create_vm',
    name: 'POST /servers always ends with 503',
    rule: { method: 'POST', path: /\/servers$/, times: always, fault: answer(503) },
    needs: [],
    call: 'vm',
    succeeds: false,
  },
  {
    method: 'create_vm',
    name: 'the token ends while the server is waited for',
    rule: { method: 'GET', path: /\/servers\/[0-9a-f-]+$/, after: 1, fault: answer(401) },
    needs: [],
    call: 'vm',
    succeeds: true,
  },
  {
    method: 'create_vm',
    name: 'the floating IP cannot be associated',
    rule: { method: 'PUT', path: /\/floatingips\//, times: always, fault: answer(409) },
    needs: [],
    call: 'vm',
    succeeds: false,
  },
  {
    method: 'create_disk',
    name: 'the answer to POST /volumes is lost',
    rule: { method: 'POST', path: /\/volumes$/, fault: { kind: 'cut-after' } },
    needs: [],
    call: 'disk',
    succeeds: true,
  },
  {
    method: 'create_disk',
    name: 'Cinder asks to wait (429)',
    rule: { method: 'POST', path: /\/volumes$/, fault: answer(429, { 'retry-after': '1' }) },
    needs: [],
    call: 'disk',
    succeeds: true,
  },
  {
    method: 'attach_disk',
    name: 'the answer to the attachment is lost',
    rule: { method: 'POST', path: /os-volume_attachments$/, fault: { kind: 'cut-after' } },
    needs: ['vm', 'disk'],
    call: 'attached',
    succeeds: false,
  },
  {
    method: 'detach_disk',
    name: 'the answer to the detachment is lost',
    rule: { method: 'DELETE', path: /os-volume_attachments\//, fault: { kind: 'cut-after' } },
    needs: ['vm', 'disk', 'attached'],
    call: 'detach_disk',
    succeeds: true,
  },
  {
    method: 'delete_vm',
    name: 'the answer to DELETE /servers is lost',
    rule: { method: 'DELETE', path: /\/servers\/[0-9a-f-]+$/, fault: { kind: 'cut-after' } },
    needs: ['vm'],
    call: 'delete_vm',
    succeeds: true,
  },
  {
    method: 'delete_vm',
    name: 'its port cannot be deleted for a while (503)',
    rule: { method: 'DELETE', path: /\/ports\//, times: 2, fault: answer(503) },
    needs: ['vm'],
    call: 'delete_vm',
    succeeds: true,
  },
  {
    method: 'delete_disk',
    name: 'the answer to DELETE /volumes is lost',
    rule: { method: 'DELETE', path: /\/volumes\//, fault: { kind: 'cut-after' } },
    needs: ['disk'],
    call: 'delete_disk',
    succeeds: true,
  },
  {
    method: 'delete_stemcell',
    name: 'DELETE /images ends with 409 once',
    rule: { method: 'DELETE', path: /\/images\//, fault: answer(409) },
    needs: ['stemcell'],
    call: 'delete_stemcell',
    succeeds: false,
  },
];

/** Tells after each case whether something is left; a failure says what. */
export async function faultCases(
  lab: OpenstackLab,
  report: LabReport,
  nothingIsLeft: (besides: string) => Promise<void>,
): Promise<void> {
  const { cloud, properties } = lab;
  const proxy = await FaultProxy.start([...cloud.origins().values()]);
  const floating = await cloud.allocateFloatingIp();
  const image = await smallImage(lab.work);
  const authUrl = cloud.setting('OS_AUTH_URL');
  const open = (url: string): Cpi => openstackUnderTest(url, { ...properties, auth_url: url }).cpi;
  let runs = 0;

  const context = (token?: string): CallContext => ({
    directorUuid: 'lab',
    requestId: 'cpi-1',
    stemcellApiVersion: 3,
    ...(token === undefined ? {} : { token: `fault-${process.pid}-${runs}-${token}` }),
  });
  const vmProperties: JsonObject = { instance_type: cloud.setting('LAB_FLAVOR') };
  const perform = async (cpi: Cpi, what: FaultCase['call'], cids: Map<string, string>): Promise<void> => {
    const cid = (kind: Kind): string => cids.get(kind) ?? '';
    switch (what) {
      case 'stemcell':
        cids.set('stemcell', await cpi.createStemcell(context('stemcell'), image, { disk_format: 'raw' }));
        return;
      case 'vm': {
        const networks = {
          default: {
            type: 'manual' as const,
            ip: '10.77.0.35',
            netmask: '255.255.255.0',
            gateway: '10.77.0.1',
            cloud_properties: { net_id: cloud.setting('LAB_NETWORK_ID') },
          },
          public: { type: 'vip' as const, ip: floating.address },
        };
        const stemcell = `${cloud.setting('LAB_IMAGE_ID')} light`;
        const made = await cpi.createVm(context('vm'), 'agent', stemcell, vmProperties, networks, [], {});
        cids.set('vm', made.cid);
        return;
      }
      case 'disk':
        cids.set('disk', await cpi.createDisk(context('disk'), 1024, {}, cids.get('vm') ?? null));
        return;
      case 'attached':
        await cpi.attachDisk(context(), cid('vm'), cid('disk'));
        return;
      case 'detach_disk':
        await cpi.detachDisk(context(), cid('vm'), cid('disk'));
        return;
      case 'delete_vm':
        await cpi.deleteVm(context(), cid('vm'));
        return;
      case 'delete_disk':
        await cpi.deleteDisk(context(), cid('disk'));
        return;
      case 'delete_stemcell':
        await cpi.deleteStemcell(context(), cid('stemcell'));
        return;
    }
  };

  /** What the next run of a deployer does. */
  const settle = async (cids: Map<string, string>): Promise<void> => {
    const cpi = open(authUrl);
    try {
      for (const kind of ['vm', 'disk', 'stemcell'] as const) {
        const cid =
          cids.get(kind) ?? (await cpi.findByToken(context(), kind, `fault-${process.pid}-${runs}-${kind}`));
        if (cid !== undefined) await perform(cpi, `delete_${kind}`, new Map([[kind, cid]]));
      }
    } finally {
      await cpi.dispose();
    }
  };

  const play = async ({ needs, call, rule, succeeds }: FaultCase): Promise<void> => {
    runs += 1;
    const cids = new Map<string, string>();
    const harmed = open(proxy.addressOf(authUrl));
    try {
      const healthy = open(authUrl);
      for (const need of needs) await perform(healthy, need, cids);
      await healthy.dispose();
      proxy.inject(rule);
      const failure = await perform(harmed, call, cids).then(
        () => undefined,
        (error: unknown) => error,
      );
      ok(proxy.clear() || rule.times === always, 'the fault met no request');
      if (succeeds && failure !== undefined) throw failure;
      ok(succeeds || failure !== undefined, 'the call did not fail');
    } finally {
      proxy.clear();
      await harmed.dispose();
      await settle(cids);
    }
    await nothingIsLeft(`floating IP ${floating.address}`);
  };

  try {
    for (const one of cases) await report.case(one.method, `fault: ${one.name}`, () => play(one));
  } finally {
    await proxy.stop();
    await cloud.releaseFloatingIp(floating.id);
  }
}

async function smallImage(work: string): Promise<string> {
  const folder = join(work, 'faults');
  await mkdir(folder);
  await writeFile(join(folder, 'root.img'), 'no system at all');
  const path = join(folder, 'image');
  await succeed(['tar', '-czf', path, '-C', folder, 'root.img']);
  return path;
}
