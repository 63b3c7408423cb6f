import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, succeed } from '../support/commands.ts';
import { Example } from '../support/example.ts';
import { eventually } from '../support/eventually.ts';
import { hostSnapshot } from '../support/host-snapshot.ts';
import type { HostSnapshot } from '../support/host-snapshot.ts';

describe('the example on the local provider', () => {
  let example: Example;
  let before: HostSnapshot;

  beforeAll(async () => {
    example = await Example.create('10.245.81');
    before = await hostSnapshot(example.localRoot);
  });
  afterAll(async () => example.tearDown());

  it('comes up with a service that answers over verified TLS', async () => {
    const { stdout } = await example.create();

    expect(stdout).toContain('Started validating');
    expect(stdout).toContain('Starting registry... Finished');
    expect(stdout).toMatch(
      /Creating VM for instance 'registry\/0' from stemcell '.+'\.\.\. Finished \(\d\d:\d\d:\d\d\)/,
    );
    expect(stdout).toMatch(/Waiting for instance 'registry\/0' to be running\.\.\. Finished/);
    expect(stdout.trimEnd().endsWith('Succeeded')).toBe(true);
    expect((await example.request('GET', '/healthz')).status).toBe(200);
  });

  it('is reported as running', async () => {
    expect(await example.status()).toMatchObject({ status: 'running' });
  });

  it('is left alone by a second deploy of the same manifest', async () => {
    const vm = (await example.state()).current_vm_cid;

    const { stdout } = await example.create();

    expect(stdout).toContain('No deployment, stemcell or release changes. Skipping deploy.');
    expect((await example.state()).current_vm_cid).toBe(vm);
  });

  it('has an empty plan, for which nothing is opened or rendered', async () => {
    const plan = example.command('plan', '--detailed-exitcode', '--vars-store', example.creds);

    const unchanged = await succeed(plan, { env: example.env });
    const forced = await run([...plan, '--recreate'], { env: example.env });

    expect(unchanged.stdout).toContain('Nothing to do.');
    expect(unchanged.stdout).not.toContain('validating');
    expect(forced.exitCode, forced.output).toBe(2);
    expect(forced.stdout).toMatch(/validating[\s\S]*create vm, because a new VM was asked for/);
  });

  it('is made anew by a deploy of the same manifest when somebody deleted it, with its data', async () => {
    const settings = JSON.stringify({ note: 'on the disk' });
    await example.putSettings('vm-1', settings);
    const { current_vm_cid: lost } = await example.state();
    await example.cpi('delete_vm', [lost]);

    const { stdout } = await example.create();

    expect(stdout).toMatch(/Creating VM .* Finished/);
    expect((await example.state()).current_vm_cid).not.toBe(lost);
    expect(await example.getSettings('vm-1')).toBe(settings);
  });

  it('leaves nothing behind when it is deleted', async () => {
    await example.delete();

    expect(existsSync(example.stateFile)).toBe(false);
    expect(existsSync(example.localRoot)).toBe(false);
    await eventually(async () => expect(await hostSnapshot(example.localRoot)).toEqual(before));
  });
});
