import { parseArgs } from 'node:util';
import type { CallContext } from '@microbosh/cpi';
import { createLocalCpi } from '../local-cpi.ts';

/**
 * A caller that is made to be killed: brings an environment to `up`, `renewed` (the VM replaced, the disk kept) or
 * `down` with the same idempotency tokens at every run, as a deployer does that lost the answers.
 */
const { values } = parseArgs({
  options: {
    root: { type: 'string' },
    image: { type: 'string' },
    ip: { type: 'string' },
    goal: { type: 'string' },
  },
});
const { root = '', image = '', ip = '', goal = '' } = values;

const cpi = createLocalCpi({ cloud: { plugin: 'local', properties: { local: { root_dir: root } } } });
const context = (token?: string): CallContext => ({
  directorUuid: 'd',
  requestId: 'r',
  stemcellApiVersion: 3,
  ...(token !== undefined && { token }),
});
const networks = {
  default: { type: 'manual', ip, netmask: '255.255.255.0', gateway: ip.replace(/\d+$/, '1') },
} as const;

async function find(kind: 'stemcell' | 'vm' | 'disk', token: string): Promise<string | undefined> {
  return cpi.findByToken?.(context(), kind, token);
}

async function bringUp(vmToken: string): Promise<void> {
  const stemcell = await cpi.createStemcell(context('stemcell'), image, { kind: 'host-rootfs' });
  const vm = await cpi.createVm(
    context(vmToken),
    'agent',
    stemcell,
    { ephemeral_disk: 64 },
    networks,
    [],
    {},
  );
  const disk = await cpi.createDisk(context('disk'), 64, {}, vm.cid);
  await cpi.attachDisk(context(), vm.cid, disk);
}

async function deleteVm(token: string): Promise<void> {
  const vm = await find('vm', token);
  const disk = await find('disk', 'disk');
  if (vm === undefined) return;
  if (disk !== undefined && (await cpi.getDisks(context(), vm)).includes(disk))
    await cpi.detachDisk(context(), vm, disk);
  await cpi.deleteVm(context(), vm);
}

switch (goal) {
  case 'up':
    await bringUp('first');
    break;
  case 'renewed':
    await deleteVm('first');
    await bringUp('second');
    break;
  case 'down': {
    await deleteVm('first');
    await deleteVm('second');
    const disk = await find('disk', 'disk');
    await cpi.deleteDisk(context(), disk ?? 'disk-00000000-0000-4000-8000-000000000000');
    const stemcell = await find('stemcell', 'stemcell');
    await cpi.deleteStemcell(context(), stemcell ?? 'stemcell-00000000-0000-4000-8000-000000000000');
    break;
  }
  default:
    throw new Error(`unknown goal '${goal}'`);
}
process.stdout.write(
  JSON.stringify({
    vm: (await find('vm', 'second')) ?? (await find('vm', 'first')) ?? null,
    disk: (await find('disk', 'disk')) ?? null,
  }),
);
process.exit(0);
