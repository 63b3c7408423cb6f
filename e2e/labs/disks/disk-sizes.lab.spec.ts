import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Example } from '../../support/example.ts';
import { VmView } from '../../support/vm-view.ts';

const settings = JSON.stringify({ agent_id: 'a-1', note: 'kept in all sizes' });
let example: Example;

beforeAll(async () => {
  example = await Example.create('10.245.98');
  example.limitMs = 600_000;
  await example.create();
  await example.putSettings('vm-1', settings);
}, 600_000);
afterAll(async () => example.tearDown(), 120_000);

const sizeOf = async () =>
  Number(await (await VmView.of(example)).run('df -m --output=size /var/vcap/store | tail -1'));
const setSize = (mib: number) => example.edit((text) => text.replace(/disk_size: \d+/, `disk_size: ${mib}`));

describe('a persistent disk of the local provider', { timeout: 600_000 }, () => {
  it('grows itself, with partition, file system and data', async () => {
    const before = await example.state();
    const small = await sizeOf();
    await setSize(1024);
    await example.edit((text) => `${text}\nupdate: {disk_strategy: resize}\n`);
    const { stdout } = await example.create();

    const [disk] = before.disks;
    expect(stdout).toContain(`Resizing disk '${disk?.cid ?? ''}' from 512 to 1024 MiB... Finished`);
    expect(stdout).not.toContain('Migrating');
    expect((await example.state()).disks).toEqual([{ ...disk, size: 1024 }]);
    expect((await example.state()).current_vm_cid).toBe(before.current_vm_cid);
    expect(await sizeOf()).toBeGreaterThan(small + 450);
    expect(await example.getSettings('vm-1')).toBe(settings);
  });

  it('grows between two VMs', async () => {
    const before = await example.state();
    const small = await sizeOf();
    await setSize(1536);
    const { stdout } = await example.create('--recreate');

    expect(stdout).toContain('from 1024 to 1536 MiB... Finished');
    expect((await example.state()).current_vm_cid).not.toBe(before.current_vm_cid);
    expect(await sizeOf()).toBeGreaterThan(small + 450);
    expect(await example.getSettings('vm-1')).toBe(settings);
  });

  it('is not made smaller than what it holds, and the service goes on', async () => {
    const vm = await VmView.of(example);
    await vm.run('head -c 700M /dev/urandom > /var/vcap/store/ballast; sync');
    const service = vm.pidOf('microbosh-registry.mjs');
    await setSize(512);
    const { exitCode, stderr } = await example.tryCreate();

    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/The persistent disk is to have 512 MiB, and about 7\d\d MiB of the present one/);
    expect(vm.pidOf('microbosh-registry.mjs')).toBe(service);
    expect(await example.getSettings('vm-1')).toBe(settings);
  });

  it('is made smaller, by a copy, when the data fits', async () => {
    await (await VmView.of(example)).run('rm /var/vcap/store/ballast');
    const { stdout } = await example.create();

    expect(stdout).toContain('Migrating disk content');
    expect(await sizeOf()).toBeLessThan(520);
    expect(await example.getSettings('vm-1')).toBe(settings);
  });
});
