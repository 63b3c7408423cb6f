import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { divisible } from '../src/testing/simulated-cloud.ts';
import type { KillOrder, Weather } from '../src/testing/simulated-cloud.ts';
import { expectConverged } from './expect-converged.ts';
import { Simulation } from './simulation.ts';
import type { Wish } from './simulation.ts';

/** Two processes for two cores. */
const lanes = 2;

interface Scenario {
  readonly name: string;
  readonly from: Partial<Wish> | 'nothing';
  readonly to: Partial<Wish>;
  /** While the deployer that is killed runs. */
  readonly weather?: Weather;
  /** In the short form only at these changes: the others are killed in another scenario. */
  readonly only?: RegExp;
}

const start: Wish = { diskMiB: 1024, stemcell: '1', job: '1', address: '10.0.0.5' };

const scenarios: readonly Scenario[] = [
  { name: 'a first deploy', from: 'nothing', to: {} },
  { name: 'an update in place', from: {}, to: { job: '2' } },
  { name: 'a move to a larger disk', from: {}, to: { diskMiB: 2048, job: '2' } },
  {
    name: 'a disk that grows',
    from: {},
    to: { diskMiB: 2048, diskStrategy: 'resize' },
    only: /disk$/,
  },
  { name: 'a new VM at the same address', from: {}, to: { stemcell: '2' } },
  {
    name: 'a new VM beside the old one, with a larger disk',
    from: {},
    to: { address: '10.0.0.6', diskMiB: 2048 },
  },
  {
    name: 'a new VM beside the old one, at an address of the cloud, gone back from',
    from: { address: '' },
    to: { address: '', stemcell: '2' },
    weather: { failingJobs: true },
  },
];

/**
 * Whatever is in the cloud at any time is known to the state, or will be found by its token. The deployer is a process
 * of its own, ended by SIGKILL before, during and after every change that it makes; the next run has to converge.
 */
describe('the deployer, killed at every change that it makes in the cloud', () => {
  let simulations: Simulation[] = [];

  beforeAll(async () => {
    simulations = await Promise.all(Array.from({ length: lanes }, () => Simulation.create()));
  });
  afterAll(async () => Promise.all(simulations.map((simulation) => simulation.close())));

  /** Every change with every phase, dealt out to simulations that run side by side. */
  async function inLanes(
    log: readonly string[],
    body: (simulation: Simulation, kill: KillOrder, lane: number) => Promise<void>,
    only = /./,
  ): Promise<void> {
    const kills = log.flatMap((method, index) =>
      process.env['CHAOS'] || only.test(method)
        ? phasesOf(method).map((phase): KillOrder => ({ at: index + 1, phase }))
        : [],
    );
    await Promise.all(
      simulations.map(async (simulation, lane) => {
        for (const [index, kill] of kills.entries()) {
          if (index % lanes === lane) await body(simulation, kill, lane);
        }
      }),
    );
  }

  /** Brings every lane to the same beginning; returns how to go back to it. */
  async function begin(from: Partial<Wish> | 'nothing'): Promise<(() => Promise<void>)[]> {
    const resets: (() => Promise<void>)[] = [];
    for (const simulation of simulations) {
      await simulation.wish({ ...start, ...(from === 'nothing' ? {} : from) });
      if (from !== 'nothing') {
        const { exitCode, output } = await simulation.here('create');
        expect(exitCode, output).toBe(0);
      }
      simulation.cloud.dataLost.length = 0;
      resets.push(await simulation.snapshot());
    }
    return resets;
  }

  it.each(scenarios)(
    'converges in the next run: $name',
    { timeout: 600_000 },
    async ({ from, to, weather = {}, only }) => {
      const resets = await begin(from);
      for (const simulation of simulations) await simulation.wish({ ...start, ...to });
      const [first] = simulations;
      if (first === undefined) throw new Error('no lane');
      first.cloud.weather(weather);
      const undisturbed = await first.here('create');
      const log = [...first.cloud.log];
      expect(undisturbed.exitCode, undisturbed.output).toBe(Object.keys(weather).length === 0 ? 0 : 1);
      expect(log.length).toBeGreaterThan(5);
      first.cloud.weather({});
      await expectConverged(first, await first.here('converge'), 'without a kill');

      const killAndConverge = async (simulation: Simulation, kill: KillOrder, lane: number) => {
        await resets[lane]?.();
        simulation.cloud.weather(weather);
        const killed = await simulation.run('create', { kill });
        const where = `killed ${kill.phase} change ${kill.at} (${simulation.cloud.log.at(-1) ?? ''})`;
        if (kill.phase !== 'answered') expect(killed.signal, `${where}\n${killed.output}`).toBe('SIGKILL');

        simulation.cloud.weather({});
        await expectConverged(simulation, await simulation.here('converge'), where);
      };
      await inLanes(log, killAndConverge, only);
      for (const simulation of simulations) expect((await simulation.here('delete')).exitCode).toBe(0);
    },
  );

  it.each([
    { name: 'one VM', to: {}, weather: {} },
    {
      name: 'two VMs, one of them kept beside the new one',
      to: { address: '10.0.0.6' },
      weather: { failingJobs: true },
    },
  ])('deletes everything in the next run of delete-env: $name', { timeout: 300_000 }, async (scenario) => {
    await begin({});
    const resets: (() => Promise<void>)[] = [];
    for (const simulation of simulations) {
      await simulation.wish({ ...start, ...scenario.to });
      simulation.cloud.weather(scenario.weather);
      await simulation.here('create', { flags: { noRollback: true } });
      simulation.cloud.weather({});
      resets.push(await simulation.snapshot());
    }
    const [first] = simulations;
    if (first === undefined) throw new Error('no lane');
    expect(first.cloud.vms.size).toBe(Object.keys(scenario.to).length + 1);
    const undisturbed = await first.here('delete');
    expect(undisturbed.exitCode, undisturbed.output).toBe(0);
    const log = [...first.cloud.log];

    await inLanes(log, async (simulation, kill, lane) => {
      await resets[lane]?.();
      await simulation.run('delete', { kill });
      const left = existsSync(simulation.stateFile);
      const { exitCode, output } = await simulation.here('delete');

      if (left) expect(exitCode, output).toBe(0);
      expect(simulation.cloud.vms.size + simulation.cloud.disks.size, output).toBe(0);
      expect(simulation.cloud.stemcells.size, output).toBe(0);
      expect(existsSync(simulation.stateFile)).toBe(false);
    });
  });
});

/** `CHAOS=1` (npm run chaos) also kills right after the answer, when the deployer is between its own writes. */
function phasesOf(method: string): readonly KillOrder['phase'][] {
  const phases: KillOrder['phase'][] = divisible.has(method)
    ? ['before', 'half', 'after']
    : ['before', 'after'];
  return process.env['CHAOS'] ? [...phases, 'answered'] : phases;
}
