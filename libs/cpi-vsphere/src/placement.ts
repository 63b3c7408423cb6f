import { CloudError } from '@microbosh/cpi';
import type { Cluster, Datastore } from './inventory.ts';

/** Room that is left on a datastore for what VMs write beside their disks. */
const reserveMiB = 1024;
/** Memory that a VM takes beyond its own. */
const overheadMiB = 128;

export interface Placement {
  readonly cluster: Cluster;
  readonly datastore: Datastore;
}

export interface PlacementNeeds {
  readonly ramMiB: number;
  readonly diskMiB: number;
  readonly pattern: RegExp;
  /** Names of the datastores where existing disks of the VM are: clusters that reach them come first. */
  readonly diskDatastores: readonly string[];
}

/** Datastores with enough room, most room first. */
export function fittingDatastores(
  datastores: readonly Datastore[],
  pattern: RegExp,
  neededMiB: number,
): readonly Datastore[] {
  return datastores
    .filter(({ name, freeMiB }) => pattern.test(name) && freeMiB > neededMiB + reserveMiB)
    .sort((a, b) => b.freeMiB - a.freeMiB);
}

/** Where a VM can be, the best place first. Pure. */
export function placements(clusters: readonly Cluster[], needs: PlacementNeeds): readonly Placement[] {
  const reached = (cluster: Cluster): number =>
    needs.diskDatastores.filter((name) => cluster.datastores.some((datastore) => datastore.name === name))
      .length;
  // The swap file of a VM is as large as its memory.
  const neededMiB = needs.diskMiB + (needs.ramMiB === 0 ? 0 : needs.ramMiB + overheadMiB);
  const found = clusters
    .filter(({ freeMemoryMiB }) => needs.ramMiB === 0 || freeMemoryMiB > needs.ramMiB + overheadMiB)
    .sort((a, b) => reached(b) - reached(a) || b.freeMemoryMiB - a.freeMemoryMiB)
    .flatMap((cluster) =>
      fittingDatastores(cluster.datastores, needs.pattern, neededMiB).map((datastore) => ({
        cluster,
        datastore,
      })),
    );
  if (found.length > 0) return found;
  const seen = clusters.flatMap((cluster) =>
    cluster.datastores.map(({ name, freeMiB }) => `${name} of ${cluster.name}: ${freeMiB} MB free`),
  );
  throw new CloudError('No valid placement found for VM compute and storage requirement', {
    advice: `Needed are ${needs.ramMiB} MB of memory and ${neededMiB} MB on a datastore that matches ${String(needs.pattern)}. There are: ${seen.join('; ') || 'no usable datastores'}.`,
  });
}
