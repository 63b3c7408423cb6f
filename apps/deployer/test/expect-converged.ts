import { expect } from 'vitest';
import { findDivergence } from './find-divergence.ts';
import type { Outcome, Simulation } from './simulation.ts';

export async function expectConverged(
  simulation: Simulation,
  outcome: Outcome,
  where: string,
): Promise<void> {
  expect(await findDivergence(simulation, outcome), `${where}\n${outcome.output}`).toBeUndefined();
}
