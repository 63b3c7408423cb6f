import { describe, expect, it } from 'vitest';
import { ref } from './data-objects.ts';
import type { Cluster } from './inventory.ts';
import { placements } from './placement.ts';

function cluster(name: string, freeMemoryMiB: number, stores: Readonly<Record<string, number>>): Cluster {
  const datastores = Object.entries(stores).map(([store, freeMiB]) => ({
    ref: ref('Datastore', store),
    name: store,
    freeMiB,
    browser: ref('HostDatastoreBrowser', store),
  }));
  return {
    ref: ref('ClusterComputeResource', name),
    name,
    pool: ref('ResourcePool', name),
    freeMemoryMiB,
    datastores,
  };
}

const needs = { ramMiB: 1000, diskMiB: 5000, pattern: /^vm-/, diskDatastores: [] };
const places = (clusters: readonly Cluster[], change: object = {}) =>
  placements(clusters, { ...needs, ...change }).map(
    (place) => `${place.cluster.name} ${place.datastore.name}`,
  );

describe('placement', () => {
  it('takes the cluster with most memory, and its datastore with most room', () => {
    const clusters = [
      cluster('small', 2000, { 'vm-a': 90_000 }),
      cluster('large', 9000, { 'vm-b': 10_000, 'vm-c': 20_000, other: 90_000 }),
    ];

    expect(places(clusters)).toEqual(['large vm-c', 'large vm-b', 'small vm-a']);
  });

  it('prefers a cluster that reaches the disks of the VM', () => {
    const clusters = [
      cluster('large', 9000, { 'vm-a': 10_000 }),
      cluster('near', 2000, { 'vm-b': 10_000, disks: 5000 }),
    ];

    expect(places(clusters, { diskDatastores: ['disks'] })[0]).toBe('near vm-b');
  });

  it('counts the swap file and the reserve', () => {
    // 5000 + 1000 + 128 + 1024
    expect(places([cluster('c', 9000, { 'vm-a': 7153 })])).toEqual(['c vm-a']);
    expect(() => places([cluster('c', 9000, { 'vm-a': 7152 })])).toThrow('No valid placement found');
  });

  it('refuses a cluster without enough memory', () => {
    expect(() => places([cluster('c', 1128, { 'vm-a': 90_000 })])).toThrow(
      'No valid placement found for VM compute and storage requirement',
    );
  });

  it('says what there is', () => {
    const refused = expect.objectContaining({
      advice: expect.stringContaining('vm-a of c: 100 MB free') as string,
    }) as unknown;
    let error: unknown;
    try {
      places([cluster('c', 9000, { 'vm-a': 100 })]);
    } catch (caught) {
      error = caught;
    }

    expect(error).toEqual(refused);
  });
});
