import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from './support/eventually.ts';
import { Example } from './support/example.ts';
import { hostSnapshot } from './support/host-snapshot.ts';
import { VmView } from './support/vm-view.ts';

/** Another one with SEED=… in the environment. */
const seed = Number(process.env['SEED'] ?? 7);

/** mulberry32 */
function randomOf(start: number): (below: number) => number {
  let state = start >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

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

  it('by kill -9 during each of its steps, one after the other, converges in the next run', async () => {
    for (const step of [
      'Uploading stemcell',
      'Creating VM for instance',
      'Waiting for the agent',
      'Creating disk',
      'Attaching disk',
      'Compiling package',
      'Updating instance',
    ]) {
      const deploy = example.startCreate();
      await deploy.printed(step);
      deploy.process.kill('SIGKILL');
      expect((await deploy.finished).signal, step).toBe('SIGKILL');
    }

    await expectConverged();
  });

  it('by kill -9 at twelve seeded moments converges in the next run, with its data', async () => {
    const random = randomOf(seed);
    const killAt = async (afterMs: number, ...args: string[]) => {
      const deploy = example.startCreate(...args);
      await deploy.printed('Started deploying');
      await sleep(afterMs);
      deploy.process.kill('SIGKILL');
      await deploy.finished;
    };

    for (let moment = 0; moment < 6; moment += 1) await killAt(random(700));
    await expectConverged();
    await example.putSettings('vm-1', '{"kept": true}');
    for (let moment = 0; moment < 6; moment += 1) await killAt(random(3_000), '--recreate');
    await expectConverged();

    expect(await example.getSettings('vm-1'), `seed ${seed}`).toBe('{"kept": true}');
  });

  it('by a power loss of the VM converges in the next run, with its data', async () => {
    await example.create();
    await example.putSettings('vm-1', '{"kept": true}');
    await example.edit((text) =>
      text.replace('      username: admin\n', '      username: admin\n      log_level: debug\n'),
    );
    const deploy = example.startCreate();
    await deploy.printed('Updating instance');
    process.kill((await VmView.of(example)).initPid, 'SIGKILL');
    expect((await deploy.finished).exitCode).toBe(1);

    await expectConverged();

    expect(await example.getSettings('vm-1')).toBe('{"kept": true}');
  });

  it('by one SIGINT stops at a safe point with exit code 130 and goes on in the next run', async () => {
    const deploy = example.startCreate();
    await deploy.printed('Waiting for the agent');
    deploy.process.kill('SIGINT');
    expect((await deploy.finished).exitCode).toBe(130);

    await expectConverged();
  });

  it('by a reader that goes away stops at a safe point, after a hang-up that it outlived', async () => {
    const deploy = example.startCreate();
    await deploy.printed('Started deploying');
    deploy.process.kill('SIGHUP');
    await deploy.printed('DEBUG - Call cpi');
    deploy.process.stdout?.destroy();
    const { exitCode, stderr } = await deploy.finished;

    expect(exitCode).toBe(130);
    expect(stderr).not.toContain('EPIPE');
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
