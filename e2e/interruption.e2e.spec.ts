import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from './support/eventually.ts';
import { Example } from './support/example.ts';
import { hostSnapshot } from './support/host-snapshot.ts';
import { VmView } from './support/vm-view.ts';

describe('a deploy that is interrupted', () => {
  let example: Example;

  beforeEach(async () => {
    example = await Example.create('10.245.84');
  });
  afterEach(async () => example.tearDown());

  /** One VM, one disk, a service that answers, and nothing more to do. */
  async function expectConverged(): Promise<void> {
    const { stdout } = await example.create();
    expect(stdout).toMatch(/Succeeded|Skipping deploy/);
    expect((await example.request('GET', '/healthz')).status).toBe(200);
    expect((await example.state()).disks).toHaveLength(1);
    await VmView.of(example);
    const loops = (await hostSnapshot(example.localRoot)).loops.filter((line) =>
      line.includes(example.localRoot),
    );
    expect(loops, 'one ephemeral and one persistent disk').toHaveLength(2);
    expect((await example.create()).stdout).toContain('Skipping deploy');
  }

  it.each([
    'Uploading stemcell',
    'Creating VM for instance',
    'Waiting for the agent',
    'Creating disk',
    'Attaching disk',
    'Compiling package',
    'Updating instance',
  ])('by kill -9 during "%s" converges in the next run', async (step) => {
    const deploy = example.startCreate();
    await deploy.printed(step);
    deploy.process.kill('SIGKILL');
    await deploy.finished;

    await expectConverged();
  });

  it('by kill -9 at seeded moments converges in the next run', async () => {
    // Delays in ms, spread over a deploy; the list is the seed.
    for (const delay of [150, 700, 1300, 2600, 4100]) {
      const deploy = example.startCreate();
      await sleep(delay);
      deploy.process.kill('SIGKILL');
      await deploy.finished;
    }

    await expectConverged();
  });

  it('by one SIGINT stops at a safe point with exit code 130 and goes on in the next run', async () => {
    const deploy = example.startCreate();
    await deploy.printed('Waiting for the agent');
    deploy.process.kill('SIGINT');
    expect((await deploy.finished).exitCode).toBe(130);

    await expectConverged();
  });

  it('refuses a second deployer meanwhile', async () => {
    const first = example.startCreate();
    await first.printed('Creating VM for instance');

    const second = await example.tryCreate();

    expect(second.exitCode).toBe(3);
    expect(second.stderr).toContain(String(first.process.pid));
    expect((await first.finished).exitCode).toBe(0);
  });

  it('can be deleted at any point, and nothing stays', async () => {
    const before = await hostSnapshot(example.localRoot);
    const deploy = example.startCreate();
    await deploy.printed('Attaching disk');
    deploy.process.kill('SIGKILL');
    await deploy.finished;

    await example.delete();

    expect(existsSync(example.localRoot)).toBe(false);
    await eventually(async () => expect(await hostSnapshot(example.localRoot)).toEqual(before));
  });
});

describe('two environments side by side', () => {
  it('do not disturb each other', async () => {
    const one = await Example.create('10.245.85');
    const two = await Example.create('10.245.86');
    try {
      await Promise.all([one.create(), two.create()]);
      await one.putSettings('vm-1', '{"of":"one"}');
      await two.putSettings('vm-1', '{"of":"two"}');

      await one.delete();

      expect(await two.getSettings('vm-1')).toBe('{"of":"two"}');
      expect(await two.status()).toMatchObject({ status: 'running' });
    } finally {
      await one.tearDown();
      await two.tearDown();
    }
  });
});
