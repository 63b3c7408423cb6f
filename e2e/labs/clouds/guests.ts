import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentClient } from '@microbosh/agent-client';
import type { CallContext, Cpi } from '@microbosh/cpi';
import { isJsonObject } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';
import { parseStemcellManifest } from '@microbosh/spec';
import type { NetworksSpec } from '@microbosh/spec';
import { flavouredStemcell } from '../../support/full-stemcell.ts';
import { bootStemcell } from '../qemu/boot-flavour.ts';
import type { Delivery, Guest } from '../qemu/boot-flavour.ts';
import type { LabCase } from './lab-cases.ts';

const runner = new NodeCommandRunner();
const context: CallContext = { directorUuid: 'lab', requestId: 'cpi-1', stemcellApiVersion: 3 };
const minutes = 60_000;

export interface GuestLab {
  readonly iaas: 'aws' | 'vsphere' | 'vcloud';
  /** The CPI at the peer; its agents answer to `u:p`. */
  readonly open: () => { readonly cpi: Cpi; readonly close: () => Promise<void> };
  readonly work: string;
  /** A small image in place of a stemcell's, for a VM that only has to be told its settings. */
  readonly imagePath: string;
  readonly stemcellProperties: JsonObject;
  readonly vmProperties: JsonObject;
  readonly networks: NetworksSpec;
  /** What the VM reads its settings from, as the peer has it. */
  readonly contentOf: (vmCid: string) => Promise<Buffer>;
  readonly settingsOf: (vmCid: string) => Promise<JsonObject>;
}

/** A stemcell that was really built, and a machine of it with what the CPI has delivered: no peer has machines. */
export function guestCases(lab: GuestLab): readonly LabCase[] {
  const { iaas } = lab;
  return [
    {
      method: 'create_stemcell',
      name: `what build-stemcell --iaas ${iaas} makes is uploaded, and a VM is made of it`,
      body: () => withBuiltStemcell(lab),
    },
    {
      method: 'create_vm',
      name: `a machine of QEMU boots with what the CPI has delivered, and its agent answers with these settings`,
      body: () => bootDelivered(lab),
    },
  ];
}

async function withVm(
  cpi: Cpi,
  lab: GuestLab,
  stemcell: { readonly imagePath: string; readonly properties: JsonObject },
  env: JsonObject,
  use: (vmCid: string) => Promise<void>,
): Promise<void> {
  const cid = await cpi.createStemcell(context, stemcell.imagePath, stemcell.properties);
  try {
    const { vmProperties, networks } = lab;
    const vm = await cpi.createVm(context, `guest-${lab.iaas}`, cid, vmProperties, networks, [], env);
    try {
      await use(vm.cid);
    } finally {
      await cpi.deleteVm(context, vm.cid);
    }
  } finally {
    await cpi.deleteStemcell(context, cid);
  }
}

async function withCpi(lab: GuestLab, use: (cpi: Cpi) => Promise<void>): Promise<void> {
  const { cpi, close } = lab.open();
  try {
    await use(cpi);
  } finally {
    await close();
  }
}

async function withBuiltStemcell(lab: GuestLab): Promise<void> {
  const tarball = await flavouredStemcell(lab.iaas);
  const folder = join(lab.work, 'built-stemcell');
  await mkdir(folder);
  try {
    await runner.run(['tar', '-C', folder, '-xzf', tarball, 'stemcell.MF', 'image'], {
      timeoutMs: 5 * minutes,
    });
    const manifest = parseStemcellManifest(await readFile(join(folder, 'stemcell.MF'), 'utf8'), tarball);
    const stemcell = { imagePath: join(folder, 'image'), properties: manifest.cloudProperties ?? {} };
    await withCpi(lab, (cpi) =>
      withVm(cpi, lab, stemcell, {}, async (cid) => strictEqual(await cpi.hasVm(context, cid), true)),
    );
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function bootDelivered(lab: GuestLab): Promise<void> {
  const tarball = await flavouredStemcell(lab.iaas);
  const small = { imagePath: lab.imagePath, properties: lab.stemcellProperties };
  let delivered: Delivery | undefined;
  const deliver = async (env: JsonObject): Promise<Delivery> => {
    await withCpi(lab, (cpi) =>
      withVm(cpi, lab, small, env, async (cid) => {
        delivered = { settings: await lab.settingsOf(cid), content: await lab.contentOf(cid) };
      }),
    );
    ok(delivered, 'the VM was told nothing');
    return delivered;
  };
  const report = await bootStemcell(tarball, {
    deliver,
    visit: async (guest) => {
      ok(delivered);
      await lookAt(guest, delivered.settings, lab);
    },
  });
  strictEqual(report.status, 401, `no agent answers; the console ends with\n${report.console.slice(-3000)}`);
  ok((report.dataMounts ?? -1) >= report.dataMountsTold, 'the data disk was formatted more than once');
}

/** The agent has the credentials, the certificate, the name and the networks that the CPI was given. */
async function lookAt(guest: Guest, settings: JsonObject, { iaas }: GuestLab): Promise<void> {
  const trust = { ca: guest.certificate, serverName: 'agent', replyTo: 'lab' };
  const ask = async <T>(credentials: string, question: (client: AgentClient) => Promise<T>): Promise<T> => {
    const client = new AgentClient({ mbus: `https://${credentials}@127.0.0.1:${guest.agentPort}`, ...trust });
    try {
      return await question(client);
    } finally {
      await client.close();
    }
  };
  const state = await ask('u:p', (client) => client.getState('full'));
  strictEqual(state.agent_id, `guest-${iaas}`);
  await rejects(
    ask('u:wrong', (client) => client.ping()),
    /credentials|401/i,
  );
  const cached: unknown = JSON.parse(await guest.run('cat /var/vcap/bosh/settings.json'));
  ok(isJsonObject(cached), 'the agent keeps no settings');
  for (const member of ['agent_id', 'vm', 'mbus', 'networks', 'disks', 'env'])
    deepStrictEqual(cached[member], settings[member], member);
  if (iaas === 'aws') {
    // The disks of QEMU have no name, but the program that asks for it is there and runs.
    const asked = await guest.run('/var/vcap/bosh/bin/ebs-name /dev/nvme0n1 2>&1 || true');
    strictEqual(asked.trim(), '/dev/nvme0n1: no name of an EBS volume');
  }
  const disk = await guest.run(
    'readlink /sys/class/block/$(lsblk -n -o PKNAME $(findmnt -n -o SOURCE /var/vcap/data))/device',
  );
  // Names of SCSI disks come in no order; the unit is that of the settings.
  match(disk.trim(), iaas === 'aws' ? /\/nvme0$/ : /:0:1:0$/);
}
