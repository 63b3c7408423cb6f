import type { Outcome, Simulation } from './simulation.ts';

/** From outside: one VM, one disk, nothing that the state does not know, data intact, and nothing more to do. */
export async function findDivergence(simulation: Simulation, outcome: Outcome): Promise<string | undefined> {
  const { cloud } = simulation;
  if (outcome.exitCode !== 0) return `exit code ${outcome.exitCode}`;
  const [vm, ...otherVms] = cloud.vms.values();
  const [disk, ...otherDisks] = cloud.disks.values();
  if (vm === undefined || otherVms.length > 0) return `${cloud.vms.size} VMs`;
  if (disk === undefined || otherDisks.length > 0) return `${cloud.disks.size} disks`;
  if (cloud.stemcells.size !== 1) return `${cloud.stemcells.size} stemcells`;
  if (vm.jobs !== 'running') return `the jobs are '${vm.jobs}'`;
  if (vm.store !== disk.cid) return 'the disk is not the store';
  if (vm.migrationTarget !== undefined) return 'a migration has not ended';
  if (disk.data !== 'precious') return `the disk holds '${disk.data}'`;
  if (cloud.dataLost.length > 0) return `the data of ${cloud.dataLost.join(', ')} was deleted`;
  const state = await simulation.state();
  if (state.current_vm_cid !== vm.cid) return 'the state names another VM';
  if (state.disks?.map(({ cid }) => cid).join() !== disk.cid) return 'the state names other disks';
  if (state.disks?.[0]?.size !== disk.size) return 'the state names another size of the disk';
  if (disk.filesystemMiB !== disk.size) return 'the file system is not as large as the disk';
  if (state.stemcells?.map(({ cid }) => cid).join() !== [...cloud.stemcells.keys()].join())
    return 'the state names other stemcells';
  if (state.microbosh.leftover_vms.length > 0) return 'VMs are left over';
  if (state.microbosh.previous !== undefined) return 'the old VM is still on record';
  if (!outcome.output.includes('PLAN []')) return 'the plan is not empty';
  return undefined;
}
