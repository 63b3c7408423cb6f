/**
 * Long form of the kill matrix: `npm run chaos -- [--seed N] [--rounds N]`. Random wishes, random kills one after the
 * other, random misbehaviour and weather; after each storm a calm run has to converge. The seed repeats a run exactly.
 */
import { parseArgs } from 'node:util';
import { divisible, kinds } from '../src/testing/simulated-cloud.ts';
import type { KillOrder } from '../src/testing/simulated-cloud.ts';
import { findDivergence } from './find-divergence.ts';
import { Simulation } from './simulation.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    rounds: { type: 'string', default: '200' },
  },
});

/** mulberry32 */
function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const random = randomOf(Number(values.seed));
const pick = <T>(from: readonly [T, ...T[]]): T => from[random(from.length)] ?? from[0];
console.log(`seed ${values.seed}, ${values.rounds} rounds; kills halfway: ${[...divisible].join(', ')}`);

const simulation = await Simulation.create();
try {
  for (let round = 1; round <= Number(values.rounds); round += 1) {
    const wish = {
      diskMiB: pick([1024, 2048, 4096]),
      stemcell: pick(['1', '2']),
      job: pick(['1', '2', '3']),
      address: pick(['', '10.0.0.5', '10.0.0.6']),
      diskStrategy: pick(['copy', 'resize'] as const),
    };
    simulation.cloud.resizesDisks = random(3) > 0;
    await simulation.wish(wish);
    const storms: string[] = [];
    for (let storm = random(3) + 1; storm > 0; storm -= 1) {
      simulation.cloud.weather(pick([{}, {}, { silentAgents: true }, { failingJobs: true }]));
      const at = random(30) + 1;
      const phase: KillOrder['phase'] = pick(['before', 'half', 'after', 'answered']);
      const kind = pick(kinds);
      const orders = random(4) === 0 ? { misbehaviour: { at, kind } } : { kill: { at, phase } };
      storms.push(JSON.stringify(orders));
      await simulation.run('create', orders);
    }
    simulation.cloud.weather({});
    const outcome = await simulation.here('converge');
    const divergence = await findDivergence(simulation, outcome);
    if (divergence !== undefined) {
      console.error(
        `round ${round}: ${divergence}\nwish ${JSON.stringify(wish)}\n${storms.join('\n')}\n${outcome.output}`,
      );
      process.exitCode = 1;
      break;
    }
    if (round % 20 === 0) console.log(`${round} rounds converged`);
  }
} finally {
  await simulation.close();
}
