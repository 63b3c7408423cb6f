import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Simulation } from './simulation.ts';

let simulation: Simulation;

beforeEach(async () => {
  simulation = await Simulation.create();
});
afterEach(async () => simulation.close());

async function identity(): Promise<{ readonly id: string; readonly group: string }> {
  const { microbosh } = JSON.parse(await readFile(simulation.stateFile, 'utf8')) as {
    microbosh: { instance_id: string; group: string };
  };
  return { id: microbosh.instance_id, group: microbosh.group };
}

describe('the id of the instance and the name of its group', () => {
  it('stay the same for life, over updates, new VMs and new disks', async () => {
    const seen = [];
    for (const wish of [{}, { job: '2' }, { stemcell: '2' }, { address: '10.0.0.6', diskMiB: 2048 }]) {
      await simulation.wish(wish);
      const { exitCode, output } = await simulation.here('create');
      expect(exitCode, output).toBe(0);
      seen.push(await identity());
    }

    expect(seen[0]).toEqual({ id: expect.stringMatching(/^[0-9a-f-]{36}$/) as string, group: 'g' });
    for (const later of seen) expect(later).toEqual(seen[0]);
  });
});
