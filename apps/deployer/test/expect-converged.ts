import { expect } from 'vitest';
import type { Outcome, Simulation } from './simulation.ts';

/** From outside: one VM, one disk, nothing that the state does not know, data intact, and nothing more to do. */
export async function expectConverged(
  simulation: Simulation,
  outcome: Outcome,
  where: string,
): Promise<void> {
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
  expect(cloud.dataLost, message).toEqual([]);
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
  expect(state.microbosh.previous, message).toBeUndefined();
  expect(outcome.output, where).toContain('PLAN []');
}
