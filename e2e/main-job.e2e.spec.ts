import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, start, succeed } from './support/commands.ts';
import { eventually } from './support/eventually.ts';
import { Example } from './support/example.ts';
import { hostSnapshot } from './support/host-snapshot.ts';
import type { HostSnapshot } from './support/host-snapshot.ts';
import { VmView } from './support/vm-view.ts';

const settings = JSON.stringify({ agent_id: 'a-1', note: 'kept through everything' });

describe('settings put into the deployed registry', () => {
  let example: Example;
  let before: HostSnapshot;

  beforeAll(async () => {
    example = await Example.create('10.245.82');
    before = await hostSnapshot(example.localRoot);
    await example.create();
    await example.putSettings('vm-1', settings);
  });
  afterAll(async () => example.tearDown());

  it('live on the persistent disk', async () => {
    const vm = await VmView.of(example);

    expect(vm.mountSource('/var/vcap/store')).toMatch(/^\/dev\/loop\d+p1$/);
    expect(vm.mountSource('/var/vcap/data')).toMatch(/^\/dev\/loop\d+p\d$/);
  });

  it('survive a kill of the service, which the supervisor restarts', async () => {
    const vm = await VmView.of(example);
    const service = vm.pidOf('microbosh-registry.mjs');

    process.kill(service, 'SIGKILL');

    await eventually(async () => expect(vm.pidOf('microbosh-registry.mjs')).not.toBe(service), 60_000);
    await eventually(async () => expect(await example.getSettings('vm-1')).toBe(settings), 30_000);
  });

  it('survive a reboot of the VM without a registry for the agent', async () => {
    const vm = await VmView.of(example);
    const init = vm.initPid;

    await example.cpi('reboot_vm', [vm.cid]);

    await eventually(async () => expect((await VmView.of(example)).initPid).not.toBe(init), 30_000);
    await eventually(async () => expect(await example.getSettings('vm-1')).toBe(settings), 60_000);
    expect(await example.status()).toMatchObject({ status: 'running' });
  });

  it('survive a power loss of the VM', async () => {
    const vm = await VmView.of(example);

    process.kill(vm.initPid, 'SIGKILL');
    await example.cpi('reboot_vm', [vm.cid]);

    await eventually(async () => expect(await example.getSettings('vm-1')).toBe(settings), 60_000);
  });

  it('survive a deploy with a changed property', async () => {
    await example.edit((text) =>
      text.replace('      username: admin\n', '      username: admin\n      log_level: debug\n'),
    );

    const { stdout } = await example.create();

    expect(stdout).toContain("Updating instance 'registry/0'");
    expect(await example.getSettings('vm-1')).toBe(settings);
  });

  it('survive a deploy that reaches the VM through a SOCKS proxy only', async () => {
    const proxy = start(['microsocks', '-i', '127.0.0.1', '-p', '11085'], { timeoutMs: 300_000 });
    const env = { ...example.env, BOSH_ALL_PROXY: 'socks5://127.0.0.1:11085' };
    try {
      await example.edit((text) => text.replace('log_level: debug', 'log_level: info'));
      const deploy = ['create-env', '--tty', '--vars-store', example.creds] as const;
      const deployed = await succeed(example.command(...deploy), { env });
      const again = await succeed(example.command(...deploy), { env });
      const { stdout } = await succeed(example.command('status', '--json'), { env });

      expect(deployed.stdout).toContain("Updating instance 'registry/0'");
      expect(again.stdout).toContain('Skipping deploy');
      expect(JSON.parse(stdout)).toMatchObject({ status: 'running' });
      expect(await example.getSettings('vm-1')).toBe(settings);
    } finally {
      proxy.process.kill('SIGTERM');
    }
    const { stderr } = await proxy.finished;
    for (const port of [6868, 25777]) expect(stderr).toContain(`connected to ${example.address}:${port}`);

    // Nobody goes around it.
    expect((await run(example.command('status', '--json'), { env })).stdout).toContain('BOSH_ALL_PROXY');
  });

  it('survive a move to a larger persistent disk', async () => {
    const small = await example.state();
    await example.edit((text) => text.replace('disk_size: 512', 'disk_size: 768'));

    const { stdout } = await example.create();

    expect(stdout).toMatch(/Migrating disk content from '.+' to '.+'\.\.\. Finished/);
    // The one that the data was moved from stays for a day.
    const old = small.disks[0];
    expect(stdout).toContain(`Disk '${old?.cid ?? ''}' of 512 MiB is kept until`);
    const large = await example.state();
    expect(large.disks).toHaveLength(2);
    expect(large.disks[0]).toEqual(old);
    expect(large.current_disk_id).toBe(large.disks[1]?.id);
    expect(await example.getSettings('vm-1')).toBe(settings);
  });

  it('go with the environment when it is deleted, and nothing of it stays', async () => {
    await example.delete();

    await eventually(async () => expect(await hostSnapshot(example.localRoot)).toEqual(before));
  });
});
