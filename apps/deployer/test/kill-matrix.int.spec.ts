import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { KillOrder } from '../src/testing/simulated-cloud.ts';
import { Simulation } from './simulation.ts';
import type { Outcome, Wish } from './simulation.ts';

/** `CHAOS=1` (npm run chaos) also kills right after the answer, when the deployer is between its own writes. */
const phases: readonly KillOrder['phase'][] = process.env['CHAOS']
  ? ['before', 'half', 'after', 'answered']
  : ['before', 'half', 'after'];
const lanes = 2;

/** Every change with every phase, dealt out to simulations that run side by side. */
async function inLanes(
  changes: number,
  body: (lane: number, kill: KillOrder) => Promise<void>,
): Promise<void> {
  const kills = Array.from({ length: changes }, (_, index) =>
    phases.map((phase) => ({ at: index + 1, phase })),
  ).flat();
  await Promise.all(
    Array.from({ length: lanes }, async (_, lane) => {
      for (const [index, kill] of kills.entries()) if (index % lanes === lane) await body(lane, kill);
    }),
  );
}

/** From outside: one VM, one disk, nothing that the state does not know, data intact, and nothing more to do. */
async function expectConverged(simulation: Simulation, outcome: Outcome, where: string): Promise<void> {
  const { cloud } = simulation;
  const message = `${where}\n${outcome.output}`;
  expect(outcome.exitCode, message).toBe(0);
  expect([...cloud.vms.keys()], message).toHaveLength(1);
  expect([...cloud.disks.keys()], message).toHaveLength(1);
  expect([...cloud.stemcells.keys()], message).toHaveLength(1);
  const [vm] = cloud.vms.values();
  const [disk] = cloud.disks.values();
  expect(vm?.jobs, message).toBe('running');
  expect(vm?.store, message).toBe(disk?.cid);
  expect(vm?.migrationTarget, message).toBeUndefined();
  expect(disk?.data, message).toBe('precious');
  const state = await simulation.state();
  expect(state.current_vm_cid, message).toBe(vm?.cid);
  expect(
    state.disks?.map((known) => known.cid),
    message,
  ).toEqual([disk?.cid]);
  expect(
    state.stemcells?.map((known) => known.cid),
    message,
  ).toEqual([...cloud.stemcells.keys()]);
  expect(state.microbosh.leftover_vms, message).toEqual([]);
  expect(outcome.output, where).toContain('PLAN []');
}

/** Whatever is in the cloud at any time is known to the state, or will be found by its token. */
describe('the deployer, killed at every change that it makes in the cloud', () => {
  let simulations: Simulation[] = [];

  beforeAll(async () => {
    simulations = await Promise.all(Array.from({ length: lanes }, () => Simulation.create()));
  });
  afterAll(async () => Promise.all(simulations.map((simulation) => simulation.close())));

  const start: Wish = { diskMiB: 1024, stemcell: '1', job: '1' };

  function lane(index: number): Simulation {
    const simulation = simulations[index];
    if (simulation === undefined) throw new Error(`no lane ${index}`);
    return simulation;
  }

  /** Brings every lane to the same beginning; returns how to go back to it. */
  async function begin(from: Partial<Wish> | 'nothing'): Promise<(() => Promise<void>)[]> {
    const resets: (() => Promise<void>)[] = [];
    for (const simulation of simulations) {
      await simulation.wish(start);
      if (from !== 'nothing') expect((await simulation.run('create')).exitCode).toBe(0);
      resets.push(await simulation.snapshot());
    }
    return resets;
  }

  const scenarios: readonly {
    readonly name: string;
    readonly from: Partial<Wish> | 'nothing';
    readonly to: Partial<Wish>;
  }[] = [
    { name: 'a first deploy', from: 'nothing', to: {} },
    { name: 'an update in place', from: {}, to: { job: '2' } },
    { name: 'a move to a larger disk', from: {}, to: { diskMiB: 2048, job: '2' } },
    { name: 'a new VM with a larger disk', from: {}, to: { stemcell: '2', diskMiB: 2048 } },
  ];

  it.each(scenarios)('converges in the next run: $name', { timeout: 600_000 }, async ({ from, to }) => {
    const resets = await begin(from);
    for (const simulation of simulations) await simulation.wish({ ...start, ...to });
    await expectConverged(lane(0), await lane(0).run('converge'), 'without a kill');
    const changes = lane(0).cloud.log.length;
    expect(changes).toBeGreaterThan(5);

    await inLanes(changes, async (index, kill) => {
      const simulation = lane(index);
      await resets[index]?.();
      const killed = await simulation.run('create', { kill });
      const where = `killed ${kill.phase} change ${kill.at} (${simulation.cloud.log.at(-1) ?? ''})`;
      if (kill.phase !== 'answered') expect(killed.signal, `${where}\n${killed.output}`).toBe('SIGKILL');

      await expectConverged(simulation, await simulation.run('converge'), where);
    });
    for (const simulation of simulations) await simulation.run('delete');
  });

  it('deletes everything in the next run of delete-env', { timeout: 300_000 }, async () => {
    const resets = await begin({});
    expect((await lane(0).run('delete')).exitCode).toBe(0);
    const changes = lane(0).cloud.log.length;

    await inLanes(changes, async (index, kill) => {
      const simulation = lane(index);
      await resets[index]?.();
      await simulation.run('delete', { kill });
      const left = existsSync(simulation.stateFile);
      const { exitCode, output } = await simulation.run('delete');

      if (left) expect(exitCode, output).toBe(0);
      expect(simulation.cloud.vms.size + simulation.cloud.disks.size, output).toBe(0);
      expect(simulation.cloud.stemcells.size, output).toBe(0);
      expect(existsSync(simulation.stateFile)).toBe(false);
    });
  });

  it.each(['error', 'error-after-success'] as const)(
    'converges after a CPI that answers with an error (%s)',
    { timeout: 120_000 },
    async (kind) => {
      const simulation = lane(0);
      await simulation.wish(start);
      const reset = await simulation.snapshot();
      for (const at of [1, 2, 3, 4, 5]) {
        await reset();
        const first = await simulation.run('create', { misbehaviour: { at, kind } });
        expect(first.exitCode, first.output).not.toBe(0);

        await expectConverged(simulation, await simulation.run('converge'), `${kind} at ${at}`);
      }
      await simulation.run('delete');
    },
  );
});
