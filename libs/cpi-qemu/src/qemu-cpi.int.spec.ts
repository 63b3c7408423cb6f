import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CallContext } from '@microbosh/cpi';
import type { JsonObject } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';
import type { NetworksSpec } from '@microbosh/spec';
import { createQemuCpi } from './index.ts';
import { findQemu } from './qemu-process.ts';
import { namespaceOf } from './network-plan.ts';

/** Real QEMU, real bridges; the machine has an empty disk, so that its firmware is all that ever runs. */
const runner = new NodeCommandRunner();
const networks: NetworksSpec = {
  default: { type: 'manual', ip: '10.252.91.10', netmask: '255.255.255.0', gateway: '10.252.91.1' },
};

let directory: string;
let rootDir: string;
let image: string;

beforeAll(async () => {
  directory = await mkdtemp('/tmp/mbq-');
  rootDir = join(directory, 'q');
  image = join(directory, 'image.qcow2');
  await runner.run(['qemu-img', 'create', '-q', '-f', 'qcow2', image, '8M']);
});

afterAll(async () => {
  await rm(directory, { recursive: true, force: true });
});

function context(token?: string): CallContext {
  return {
    directorUuid: 'test',
    requestId: 'test',
    stemcellApiVersion: 3,
    ...(token !== undefined && { token }),
  };
}

/** A new one each time: nothing may depend on the memory of an earlier process. */
function cpi(properties: JsonObject = {}) {
  return createQemuCpi({
    cloud: {
      plugin: 'qemu',
      properties: {
        qemu: { root_dir: rootDir, accelerator: 'tcg' },
        agent: { mbus: 'https://a:b@0.0.0.0:6868' },
        ...properties,
      },
    },
  });
}

function pidOf(vmCid: string) {
  return findQemu(join(rootDir, 'vms', vmCid, 'qemu.pid'), vmCid);
}

async function createVm(token: string, by = () => cpi()): Promise<string> {
  const stemcell = await by().createStemcell(context('sc'), image, null);
  const properties = { memory: 128, root_disk: 16, ephemeral_disk: 16 };
  return (await by().createVm(context(token), 'agent-1', stemcell, properties, networks, [], {})).cid;
}

describe('qemu', () => {
  it('takes a machine through its life, each call from a new process', async () => {
    const cid = await createVm('life');
    expect(await cpi().hasVm(context(), cid)).toBe(true);
    const pid = await pidOf(cid);
    expect(await createVm('life'), 'the same token makes no second machine').toBe(cid);
    expect(await pidOf(cid)).toBe(pid);

    const disk = await cpi().createDisk(context('d'), 32, {}, cid);
    const hint = await cpi().attachDisk(context(), cid, disk);
    expect(hint).toEqual({ path: `/dev/disk/by-id/virtio-${disk}` });
    expect(await cpi().attachDisk(context(), cid, disk), 'attaching twice is attaching once').toEqual(hint);
    await expect(cpi().deleteDisk(context(), disk)).rejects.toThrow(/is attached to VM/);
    await cpi().resizeDisk(context(), disk, 48);
    const snapshot = await cpi().snapshotDisk(context(), disk, { job: 'x' });
    await cpi().deleteSnapshot(context(), snapshot);
    await expect(cpi().resizeDisk(context(), disk, 40)).rejects.toMatchObject({
      code: 'E_CPI_NOT_SUPPORTED',
    });

    process.kill(pid ?? 0, 'SIGKILL');
    await expect.poll(() => cpi().hasVm(context(), cid)).toBe(false);
    await cpi().rebootVm(context(), cid);
    expect(await cpi().hasVm(context(), cid)).toBe(true);
    expect(await pidOf(cid)).not.toBe(pid);
    expect(await cpi().getDisks(context(), cid), 'a machine that was started again has its disks').toEqual([
      disk,
    ]);
    expect(await cpi().consoleLog(context(), cid)).toBeTypeOf('string');

    process.kill((await pidOf(cid)) ?? 0, 'SIGKILL');
    await expect.poll(() => cpi().hasVm(context(), cid)).toBe(false);
    expect(await createVm('life'), 'a token whose machine died makes it anew').toBe(cid);
    await cpi().deleteVm(context(), cid);
    expect(await cpi().hasVm(context(), cid)).toBe(false);
    expect(await cpi().hasDisk(context(), disk), 'disks outlive machines').toBe(true);
    await cpi().deleteDisk(context(), disk);
    await expect(cpi().deleteVm(context(), cid)).rejects.toMatchObject({ code: 'E_CPI_VM_NOT_FOUND' });
  });

  it('gives this machine the address of the gateway, and takes it away with the last machine', async () => {
    const namespace = namespaceOf(rootDir);
    const namespaces = async () => (await runner.run(['ip', 'netns', 'list'])).stdout;
    const addresses = async () => (await runner.run(['ip', '-4', '-o', 'addr'])).stdout;

    expect(await cpi().hostAddress(context(), networks)).toBe('10.252.91.1');
    expect(await addresses()).toContain('10.252.91.1/24');
    const cid = await createVm('net');
    await cpi().deleteVm(context(), cid);

    expect(await addresses()).not.toContain('10.252.91.1');
    expect(await namespaces()).not.toContain(namespace);
  });

  it('reaches a registry at that address when the machine before has taken it along', async () => {
    await cpi().hostAddress(context(), networks);
    const puts: string[] = [];
    const registry = createHttpServer((request, response) => {
      if (request.method === 'PUT') puts.push(request.url ?? '');
      request.resume();
      response.writeHead(request.method === 'POST' ? 404 : 200).end('{}');
    });
    await new Promise<void>((resolve) => registry.listen(0, '10.252.91.1', resolve));
    const address = registry.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    const endpoint = `http://10.252.91.1:${port}`;
    const withRegistry = () => cpi({ registry: { endpoint, user: 'admin', password: 'secret' } });
    try {
      const first = await createVm('first', withRegistry);
      await withRegistry().deleteVm(context(), first);
      const second = await createVm('second', withRegistry);
      await withRegistry().deleteVm(context(), second);

      expect(puts).toEqual([first, second].map((cid) => `/instances/${cid}/settings`));
    } finally {
      registry.close();
    }
  });

  it('gives back a network that it made ready and no machine uses', async () => {
    const idle = cpi();
    await idle.hostAddress(context(), networks);

    await idle.dispose();

    expect((await runner.run(['ip', '-4', '-o', 'addr'])).stdout).not.toContain('10.252.91.1');
  });

  it('leaves nothing of a machine that cannot be started', async () => {
    const stemcell = await cpi().createStemcell(context('sc'), image, null);
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
    const address = holder.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    const inUserMode = createQemuCpi({
      cloud: {
        plugin: 'qemu',
        properties: { qemu: { root_dir: rootDir, accelerator: 'tcg', network: 'user' } },
      },
    });

    const creation = inUserMode.createVm(
      context('bad'),
      'agent-1',
      stemcell,
      { memory: 128, root_disk: 16, ports: [`${port}:6868`] },
      networks,
      [],
      {},
    );

    await expect(creation).rejects.toMatchObject({ code: 'E_QEMU_NOT_STARTED' });
    holder.close();
    expect(await cpi().findByToken(context(), 'vm', 'bad')).toBeUndefined();
  });

  it('refuses an image that has another file as its base', async () => {
    const sneaky = join(directory, 'sneaky.qcow2');
    await runner.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', image, sneaky]);

    await expect(cpi().createStemcell(context('sneaky'), sneaky, null)).rejects.toThrow(/with a base/);
    expect(await cpi().findByToken(context(), 'stemcell', 'sneaky')).toBeUndefined();
  });

  it('unpacks the image of a stemcell for OpenStack', async () => {
    const packed = join(directory, 'image.tgz');
    await runner.run(['cp', image, join(directory, 'root.img')]);
    await runner.run(['tar', '-C', directory, '-czf', packed, 'root.img']);

    const cid = await cpi().createStemcell(context('packed'), packed, null);

    const header = await readFile(join(rootDir, 'stemcells', cid, 'image.qcow2'));
    expect(header.subarray(0, 3).toString()).toBe('QFI');
    expect(existsSync(join(rootDir, 'stemcells', cid, 'image.qcow2.unpacked'))).toBe(false);
    await cpi().deleteStemcell(context(), cid);
    await expect(cpi().deleteStemcell(context(), cid)).rejects.toMatchObject({
      code: 'E_CPI_STEMCELL_NOT_FOUND',
    });
  });

  it('does not take another process for its machine', async () => {
    await writeFile(join(directory, 'qemu.pid'), `${process.pid}\n`);

    expect(await findQemu(join(directory, 'qemu.pid'), 'vm-0123456789abcdef0')).toBeUndefined();
  });
});
