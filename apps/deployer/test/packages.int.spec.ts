import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Simulation } from './simulation.ts';

let simulation: Simulation;

beforeEach(async () => {
  simulation = await Simulation.create();
  simulation.packages = 20;
});
afterEach(async () => simulation.close());

const compiled = () => simulation.cloud.log.filter((method) => method === 'agent:compile_package').length;

describe('a release with twenty packages', () => {
  it('is compiled once: a second VM gets what the first one compiled', async () => {
    await simulation.wish({});
    const first = await simulation.here('create');
    expect(first.exitCode, first.output).toBe(0);
    expect(compiled()).toBe(20);

    await simulation.wish({ address: '10.0.0.6' });
    const second = await simulation.here('create');

    expect(second.exitCode, second.output).toBe(0);
    expect(compiled()).toBe(0);
    expect(
      second.output.match(/Compiling package '.+'\.\.\. Skipped \[Package already compiled\]/g),
    ).toHaveLength(20);
  });

  it('is compiled again for another stemcell', async () => {
    await simulation.wish({});
    await simulation.here('create');
    await simulation.wish({ stemcell: '2' });
    await simulation.here('create');

    expect(compiled()).toBe(20);
  });

  it('has two packages on their way at a time, each after those that it needs', async () => {
    await simulation.wish({});
    simulation.cloud.compileMs = 20;
    const { exitCode, output } = await simulation.here('create');

    expect(exitCode, output).toBe(0);
    expect(simulation.cloud.compiledAtOnce).toBe(2);
    // Every package but the first needs the first.
    expect(simulation.cloud.compiledOrder[0]).toBe('p0');
  });
});
