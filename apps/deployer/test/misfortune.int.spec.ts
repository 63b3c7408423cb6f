import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Misbehaviour } from '../src/testing/simulated-cloud.ts';
import { expectConverged } from './expect-converged.ts';
import { Simulation } from './simulation.ts';
import type { Wish } from './simulation.ts';

const start: Wish = { diskMiB: 1024, stemcell: '1', job: '1', address: '10.0.0.5' };

let simulation: Simulation;

beforeEach(async () => {
  simulation = await Simulation.create();
  await simulation.wish(start);
});
afterEach(async () => simulation.close());

async function deployed(): Promise<void> {
  const { exitCode, output } = await simulation.here('create');
  expect(exitCode, output).toBe(0);
}

describe('a CPI or an agent that does not answer as it should', () => {
  it.each(['error', 'error-after-success', 'late', 'never', 'twice'] as const)(
    'is survived: %s',
    { timeout: 120_000 },
    async (kind) => {
      const larger: Wish = { ...start, address: '10.0.0.6', diskMiB: 2048 };
      await deployed();
      const reset = await simulation.snapshot();
      await simulation.wish(larger);
      await simulation.here('create');
      const calls = [...simulation.cloud.log.entries()];
      // Each method once: what it leaves does not depend on which call it is.
      const first = new Map(calls.toReversed().map(([index, method]) => [method, index + 1]));
      for (const [method, at] of first) {
        if (kind === 'late' && !/create|delete|migrate|compile/.test(method)) continue;
        await reset();
        const misbehaviour: Misbehaviour = { at, kind };
        const outcome = await simulation.here('create', { misbehaviour });
        const where = `${kind} at ${method}`;
        if (kind === 'late' || kind === 'never') expect(outcome.output, where).toContain('E_TIME_LIMIT');
        if (kind.startsWith('error')) expect(outcome.exitCode, `${where}\n${outcome.output}`).toBe(1);

        await expectConverged(simulation, await simulation.here('converge'), where);
      }
    },
  );

  it('names what took too long, and how to give it more time', async () => {
    const { output } = await simulation.here('create', { misbehaviour: { at: 2, kind: 'never' } });

    expect(output).toContain("E_TIME_LIMIT The CPI did not answer 'create_vm' in 0.7 s");
  });

  it('gets the time that the command line gives it', async () => {
    const { exitCode, output } = await simulation.here('create', {
      misbehaviour: { at: 2, kind: 'late' },
      flags: { limits: { cpiMs: 10_000 } },
    });

    expect(exitCode, output).toBe(0);
  });
});

describe('a deploy of what is deployed already', () => {
  it('makes a VM anew that is gone, with its disk', async () => {
    await deployed();
    const [[lost] = ['']] = simulation.cloud.vms;
    simulation.cloud.vms.delete(lost);
    for (const disk of simulation.cloud.disks.values()) disk.attachedTo = undefined;

    const { exitCode, output } = await simulation.here('create');

    expect(exitCode, output).toBe(0);
    expect(output).toMatch(/^deployed$/m);
    expect(simulation.cloud.vms.has(lost)).toBe(false);
    expect([...simulation.cloud.vms.values()]).toMatchObject([{ jobs: 'running', store: 'disk-3' }]);
    await expectConverged(simulation, await simulation.here('converge'), 'after the loss of the VM');
  });

  it('leaves a VM alone that is there and silent', async () => {
    await deployed();
    const [[old, vm] = []] = simulation.cloud.vms;
    if (vm !== undefined) vm.silent = true;

    const { exitCode, output } = await simulation.here('create');

    expect([exitCode, output]).toEqual([0, expect.stringMatching(/^unchanged$/m)]);
    expect([...simulation.cloud.vms.keys()]).toEqual([old]);
  });
});

describe('a new VM that fails beside the old one', () => {
  const moved: Partial<Wish> = { address: '10.0.0.6' };

  it.each([
    { name: 'its agent never answers', weather: { silentAgents: true }, says: 'E_AGENT_NOT_READY' },
    { name: 'its jobs do not run', weather: { failingJobs: true }, says: 'E_INSTANCE_NOT_RUNNING' },
  ])('is given up for the old one: $name', async ({ weather, says }) => {
    await deployed();
    const [old] = simulation.cloud.vms.keys();
    await simulation.wish(moved);
    simulation.cloud.weather(weather);
    const failed = await simulation.here('create');

    expect(failed.output).toContain(says);
    expect([...simulation.cloud.vms.keys()]).toEqual([old]);
    expect([...simulation.cloud.vms.values()][0]).toMatchObject({ jobs: 'running', store: 'disk-3' });
    // With the manifest from before, nothing is left to do.
    await simulation.wish(start);
    await expectConverged(simulation, await simulation.here('converge'), 'after going back');
    expect([...simulation.cloud.vms.keys()]).toEqual([old]);
  });

  it('stays for a look with --keep-broken, and is deleted by the next deploy', async () => {
    await deployed();
    await simulation.wish(moved);
    simulation.cloud.weather({ failingJobs: true });
    await simulation.here('create', { flags: { keepBroken: true } });

    expect(simulation.cloud.vms.size).toBe(2);
    expect((await simulation.state()).microbosh.leftover_vms).toHaveLength(1);
    simulation.cloud.weather({});
    await expectConverged(simulation, await simulation.here('converge'), 'the next deploy');
  });

  it('stays the current one with --no-rollback, and the next deploy goes on with it', async () => {
    await deployed();
    const [old] = simulation.cloud.vms.keys();
    await simulation.wish(moved);
    simulation.cloud.weather({ failingJobs: true });
    const failed = await simulation.here('create', { flags: { noRollback: true } });

    expect(failed.exitCode).toBe(1);
    const state = await simulation.state();
    expect(state.current_vm_cid).not.toBe(old);
    expect(state.microbosh.previous?.vm.cid).toBe(old);
    expect(simulation.cloud.vms.size).toBe(2);
    const [, broken] = simulation.cloud.vms.values();
    if (broken === undefined) throw new Error('no new VM');
    simulation.cloud.weather({});
    await expectConverged(simulation, await simulation.here('converge'), 'the next deploy');
    expect((await simulation.state()).current_vm_cid).toBe(broken.cid);
  });

  it('leaves the old one serving until the new one is ready for the disk', async () => {
    await deployed();
    const [old] = simulation.cloud.vms.values();
    await simulation.wish(moved);
    const seen: string[] = [];
    simulation.cloud.onChange = () => {
      if (simulation.cloud.vms.size === 2) seen.push(old?.jobs ?? '');
    };
    const { exitCode, output } = await simulation.here('create');

    expect(exitCode, output).toBe(0);
    const { log } = simulation.cloud;
    const prepared = log.indexOf('agent:apply');
    expect(prepared).toBeGreaterThan(log.indexOf('create_vm'));
    expect(log.indexOf('agent:drain')).toBeGreaterThan(prepared);
    expect(log.indexOf('agent:stop')).toBeGreaterThan(prepared);
    expect(seen.filter((jobs) => jobs === 'running').length).toBeGreaterThan(3);
  });
});

describe('the disk that the data was moved from', () => {
  it('is kept for a while, and deleted by a deploy after that', async () => {
    await deployed();
    await simulation.wish({ diskMiB: 2048, oldDisk: '2s' });
    const moved = await simulation.here('create');

    expect(moved.exitCode, moved.output).toBe(0);
    expect(moved.output).toMatch(/Disk 'disk-\d+' of 1024 MiB is kept until/);
    expect([...simulation.cloud.disks.values()].map(({ data }) => data)).toEqual(['precious', 'precious']);
    expect(await simulation.plan()).toEqual([]);
    await new Promise((resolve) => setTimeout(resolve, 2_100));
    await expectConverged(simulation, await simulation.here('converge'), 'after its time');
  });

  it('goes with delete-env, which keeps the current one with --keep-disk', async () => {
    await deployed();
    await simulation.wish({ diskMiB: 2048, oldDisk: '1d' });
    await simulation.here('create');
    const { exitCode, output } = await simulation.here('delete', { flags: { keepDisk: true } });

    expect(exitCode, output).toBe(0);
    expect([...simulation.cloud.disks.values()].map(({ size }) => size)).toEqual([2048]);
    await expectConverged(simulation, await simulation.here('converge'), 'a deploy on the kept disk');
  });
});

describe('a persistent disk that is to become smaller', () => {
  async function deployedWith(usedMiB: number): Promise<void> {
    await deployed();
    for (const disk of simulation.cloud.disks.values()) disk.usedMiB = usedMiB;
  }

  it('is refused before anything is stopped or made, when the data does not fit', async () => {
    await deployedWith(900);
    await simulation.wish({ diskMiB: 512, job: '2' });
    const { exitCode, output } = await simulation.here('create');

    expect(exitCode, output).toBe(1);
    expect(output).toContain('E_DISK_TOO_SMALL The persistent disk is to have 512 MiB');
    expect(output).toContain("about 849 MiB of the present one, 'disk-3', are in use (88 % of 1024 MiB");
    expect(simulation.cloud.log).toEqual([]);
    expect((await simulation.here('plan')).output).toContain('E_DISK_TOO_SMALL');
    await simulation.wish(start);
    await expectConverged(simulation, await simulation.here('converge'), 'with the manifest from before');
  });

  it('is refused before the VM is deleted that a new one replaces', async () => {
    await deployedWith(900);
    await simulation.wish({ diskMiB: 512, stemcell: '2' });
    const { output } = await simulation.here('create');

    expect(output).toContain('E_DISK_TOO_SMALL');
    expect(simulation.cloud.log).toEqual([]);
  });

  it('is made when the data fits', async () => {
    await deployedWith(300);
    await simulation.wish({ diskMiB: 512 });
    await expectConverged(simulation, await simulation.here('converge'), 'smaller');

    expect([...simulation.cloud.disks.values()].map(({ size }) => size)).toEqual([512]);
  });

  it('is left to the agent to refuse when that cannot be asked before', async () => {
    await deployedWith(900);
    await simulation.wish({ diskMiB: 512, stemcell: '2' });
    const [vm] = simulation.cloud.vms.values();
    if (vm !== undefined) vm.silent = true;
    const { output } = await simulation.here('create');

    expect(output).toContain('the target is too small');
    expect([...simulation.cloud.disks.values()].find(({ size }) => size === 1024)?.data).toBe('precious');
  });
});

describe('a persistent disk that is to grow', () => {
  const larger: Partial<Wish> = { diskMiB: 2048, diskStrategy: 'resize' };

  it.each([
    { name: 'on the VM that serves', change: {} },
    { name: 'with a new VM at the same address', change: { stemcell: '2' } },
    { name: 'with a new VM beside the old one', change: { address: '10.0.0.6' } },
  ])('is resized, not copied: $name', async ({ change }) => {
    await deployed();
    await simulation.wish({ ...larger, ...change });
    await expectConverged(simulation, await simulation.here('converge'), 'resized');

    const [disk] = simulation.cloud.disks.values();
    expect(disk).toMatchObject({ cid: 'disk-3', size: 2048, filesystemMiB: 2048, data: 'precious' });
    expect(simulation.cloud.log).not.toContain('agent:migrate_disk');
  });

  it.each([
    { name: 'on the VM that serves', change: {} },
    { name: 'with a new VM at the same address', change: { stemcell: '2' } },
    { name: 'with a new VM beside the old one', change: { address: '10.0.0.6' } },
  ])('is copied where the CPI does not resize: $name', async ({ change }) => {
    await deployed();
    simulation.cloud.resizesDisks = false;
    await simulation.wish({ ...larger, ...change });
    const outcome = await simulation.here('converge');
    await expectConverged(simulation, outcome, 'copied');

    expect(outcome.output).toContain('The CPI does not resize disks: the data is copied to a new one');
    expect(simulation.cloud.log).toContain('agent:migrate_disk');
    expect(simulation.cloud.log.filter((method) => method === 'create_vm').length).toBeLessThan(2);
  });

  it('goes back with the larger disk when the new VM fails', async () => {
    await deployed();
    const [old] = simulation.cloud.vms.keys();
    await simulation.wish({ ...larger, address: '10.0.0.6' });
    simulation.cloud.weather({ failingJobs: true });
    const failed = await simulation.here('create');

    expect(failed.output).toContain('E_INSTANCE_NOT_RUNNING');
    expect([...simulation.cloud.vms.keys()]).toEqual([old]);
    expect([...simulation.cloud.vms.values()][0]).toMatchObject({ jobs: 'running', store: 'disk-3' });
    simulation.cloud.weather({});
    await simulation.wish({ address: '10.0.0.5' });
    await expectConverged(simulation, await simulation.here('converge'), 'after going back');
  });
});

describe('a full disk under the state file', () => {
  it('stops the deploy before it does what it could not remember', { timeout: 120_000 }, async () => {
    const place = join(simulation.directory, 'small');
    mkdirSync(place);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', place]);
    const cramped = await Simulation.create(place);
    try {
      await cramped.wish(start);
      const reset = await cramped.snapshot();
      const undisturbed = await cramped.here('create');
      expect(undisturbed.exitCode, undisturbed.output).toBe(0);
      const count = cramped.cloud.log.length;
      for (let at = 1; at <= count; at += 1) {
        await reset();
        const filler = join(place, 'filler');
        cramped.cloud.onChange = (change) => {
          if (change !== at) return;
          const { bavail, bsize } = statfsSync(place);
          writeFileSync(filler, Buffer.alloc(bavail * bsize));
        };
        const failed = await cramped.here('create');
        cramped.cloud.onChange = () => undefined;
        rmSync(filler);
        expect(failed.output, `full at change ${at}`).toContain('E_STATE_NOT_WRITTEN');

        await expectConverged(cramped, await cramped.here('converge'), `full at change ${at}`);
      }
    } finally {
      await cramped.close();
      execFileSync('umount', [place]);
    }
  });
});

describe('two deployers at once', () => {
  it('are told apart: one deploys, the other says who does', async () => {
    const begun = new Promise<void>((resolve) => {
      simulation.cloud.onChange = (change) => (change === 3 ? resolve() : undefined);
    });
    const first = simulation.run('create', {
      misbehaviour: { at: 3, kind: 'late' },
      flags: { limits: { cpiMs: 30_000, taskMs: 30_000 } },
    });
    await begun;
    const second = await simulation.here('create');

    expect(second.output).toContain('E_LOCKED');
    expect(second.output).toContain("is in use by 'create-env' of");
    expect((await first).exitCode).toBe(0);
    await expectConverged(simulation, await simulation.here('converge'), 'after both');
  });
});
