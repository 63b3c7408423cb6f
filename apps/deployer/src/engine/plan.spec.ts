import { describe, expect, it } from 'vitest';
import { newState } from '../state/state-document.ts';
import type { EnvironmentState } from '../state/environment-state.ts';
import { planDelete, planDeploy } from './plan.ts';
import type { DesiredEnvironment, Observation, Step } from './plan.ts';

const desired: DesiredEnvironment = {
  group: 'g',
  stemcell: { name: 's', version: '1', digest: 'd1' },
  vmFingerprint: 'f1',
  metadata: 'm1',
  disk: { sizeMiB: 1024, cloudProperties: {} },
  applied: 'a1',
  deployed: 'all1',
  readiness: [],
  recreate: false,
  recreateDisk: false,
  addresses: ['10.0.0.5'],
  agentHost: '10.0.0.5',
  vmStrategy: 'create-swap-delete',
  diskStrategy: 'copy',
  oldDiskMs: 0,
  now: '2026-01-01T00:00:00.000Z',
};
const healthy: Observation = { vm: 'present', agent: 'answers', disks: { 'disk-1': 'present' } };
const nothing: Observation = { vm: 'none', agent: 'not-asked', disks: {} };

/** The state after a deploy of `desired` that went through. */
function deployed(): EnvironmentState {
  const state = newState();
  return {
    ...state,
    current_vm_cid: 'vm-1',
    current_stemcell_id: 'sid',
    current_disk_id: 'did',
    current_manifest_sha: 'sha',
    disks: [{ id: 'did', cid: 'disk-1', size: 1024, cloud_properties: {}, unknown: {} }],
    stemcells: [{ id: 'sid', name: 's', version: '1', api_version: 3, cid: 'stemcell-1', unknown: {} }],
    own: {
      ...state.own,
      applied: 'a1',
      deployed: 'all1',
      stemcell_digests: { 'stemcell-1': 'd1' },
      vm: {
        cid: 'vm-1',
        agent_id: 'a',
        fingerprint: 'f1',
        address: '10.0.0.5',
        ready: true,
        gave_up: false,
        metadata: 'm1',
        networks: { default: { ip: '10.0.0.5' } },
        packages: {},
        mounted_disk: 'disk-1',
      },
    },
  };
}

function kinds(plan: ReturnType<typeof planDeploy>): string[] {
  if ('obstacle' in plan) return [plan.obstacle];
  return plan.map((step: Step) => step.kind);
}

describe('planDeploy', () => {
  it('has nothing to do for what is deployed and healthy', () => {
    expect(planDeploy(desired, deployed(), healthy)).toEqual([]);
  });

  it('makes everything when there is nothing', () => {
    expect(kinds(planDeploy(desired, newState(), nothing))).toEqual([
      'create-stemcell',
      'create-vm',
      'set-vm-metadata',
      'wait-for-agent',
      'create-disk',
      'attach-disk',
      'promote-disk',
      'prepare-instance',
      'update-instance',
      'wait-until-running',
      'post-start',
      'post-deploy',
      'record-deployment',
    ]);
  });

  it('updates in place when only jobs or properties changed, and prepares before it stops', () => {
    const plan = kinds(planDeploy({ ...desired, applied: 'a2', deployed: 'all2' }, deployed(), healthy));

    expect(plan).toEqual([
      'prepare-instance',
      'stop-instance',
      'update-instance',
      'wait-until-running',
      'post-start',
      'post-deploy',
      'record-deployment',
    ]);
  });

  it('does not stop the service for a change that the agent never sees', () => {
    const plan = kinds(planDeploy({ ...desired, deployed: 'all2' }, deployed(), healthy));

    expect(plan).toEqual(['wait-until-running', 'record-deployment']);
  });

  it('makes a new VM when what it is made from changed, stopping and unmounting the old one first', () => {
    const plan = kinds(planDeploy({ ...desired, vmFingerprint: 'f2' }, deployed(), healthy));

    expect(plan.slice(0, 4)).toEqual(['stop-instance', 'unmount-disks', 'delete-vm', 'create-vm']);
    expect(plan).toContain('attach-disk');
    expect(plan).not.toContain('create-disk');
  });

  describe('with an address that the old VM does not have', () => {
    const moved: DesiredEnvironment = {
      ...desired,
      vmFingerprint: 'f2',
      addresses: ['10.0.0.6'],
      agentHost: '10.0.0.6',
    };
    const replaced = [
      'create-vm',
      'set-vm-metadata',
      'wait-for-agent',
      'prepare-instance',
      'release-previous-vm',
      'attach-disk',
      'update-instance',
      'wait-until-running',
      'post-start',
      'post-deploy',
      'record-deployment',
      'delete-previous-vm',
    ];

    it('makes the new VM while the old one serves, and deletes that when the new one is proven', () => {
      expect(kinds(planDeploy(moved, deployed(), healthy))).toEqual(replaced);
    });

    it('does so for an address that the cloud chooses', () => {
      const chosen = { ...moved, addresses: [], agentHost: undefined };

      expect(kinds(planDeploy(chosen, deployed(), healthy))).toEqual(replaced);
    });

    it.each([
      ['the operator wants the old one gone first', { ...moved, vmStrategy: 'delete-create' as const }],
      ['both would have the address', { ...moved, addresses: ['10.0.0.5'] }],
    ])('deletes the old one first when %s', (_reason, wanted) => {
      expect(kinds(planDeploy(wanted, deployed(), healthy)).slice(0, 4)).toEqual([
        'stop-instance',
        'unmount-disks',
        'delete-vm',
        'create-vm',
      ]);
    });

    it('goes on with the new one after an interruption, and only then deletes the old one', () => {
      const state = deployed();
      const { vm } = state.own;
      if (vm === undefined) throw new Error('no VM');
      const interrupted: EnvironmentState = {
        ...state,
        current_vm_cid: 'vm-2',
        own: {
          ...state.own,
          applied: undefined as never,
          vm: { ...vm, cid: 'vm-2', fingerprint: 'f2', mounted_disk: '', ready: false },
          previous: { vm, stemcell_id: 'sid', released: false },
        },
      };

      const plan = kinds(planDeploy(moved, interrupted, { ...healthy, previous: 'present' }));

      expect(plan).not.toContain('create-vm');
      expect(plan.indexOf('release-previous-vm')).toBeLessThan(plan.indexOf('attach-disk'));
      expect(plan.at(-1)).toBe('delete-previous-vm');
    });
  });

  it('keeps the disk that the data was moved from until its time is over', () => {
    const state = deployed();
    const old = { id: 'did0', cid: 'disk-0', size: 512, cloud_properties: {}, unknown: {} };
    const kept = (until: string): EnvironmentState => ({
      ...state,
      disks: [old, ...(state.disks ?? [])],
      own: { ...state.own, disk_roles: { 'disk-0': 'retired' }, kept_until: { 'disk-0': until } },
    });

    expect(planDeploy(desired, kept('2026-01-01T00:00:01.000Z'), healthy)).toEqual([]);
    expect(planDeploy(desired, kept('2025-12-31T23:59:59.000Z'), healthy)).toEqual([
      { kind: 'delete-disk', diskCid: 'disk-0', reason: 'it is not in use', inUse: false },
    ]);
    const larger = { ...desired, disk: { sizeMiB: 2048, cloudProperties: {} }, oldDiskMs: 1 };
    expect(kinds(planDeploy(larger, deployed(), healthy))).not.toContain('delete-disk');
  });

  it('does not talk to an agent that is silent before it deletes its VM', () => {
    const plan = kinds(planDeploy(desired, deployed(), { ...healthy, agent: 'silent' }));

    expect(plan.slice(0, 2)).toEqual(['delete-vm', 'create-vm']);
  });

  it('waits for the agent of a VM that an interrupted run made, instead of making another', () => {
    const state = deployed();
    const vm = state.own.vm;
    if (vm === undefined) throw new Error('no VM');
    const interrupted = { ...state, own: { ...state.own, vm: { ...vm, ready: false, mounted_disk: '' } } };

    const plan = kinds(planDeploy(desired, interrupted, { ...healthy, agent: 'silent' }));

    expect(plan).not.toContain('create-vm');
    expect(plan[0]).toBe('wait-for-agent');
  });

  it('replaces a VM whose agent never answered in all the time it was given', () => {
    const state = deployed();
    const vm = state.own.vm;
    if (vm === undefined) throw new Error('no VM');
    const failed = { ...state, own: { ...state.own, vm: { ...vm, ready: false, gave_up: true } } };

    expect(kinds(planDeploy(desired, failed, { ...healthy, agent: 'silent' }))).toContain('create-vm');
  });

  it('moves the data when the size changes, and deletes the old disk only after the service runs', () => {
    const plan = kinds(
      planDeploy({ ...desired, disk: { sizeMiB: 2048, cloudProperties: {} } }, deployed(), healthy),
    );

    expect(plan).toEqual([
      'create-disk',
      'attach-disk',
      'prepare-instance',
      'stop-instance',
      'migrate-disk',
      'promote-disk',
      'detach-disk',
      'update-instance',
      'wait-until-running',
      'post-start',
      'post-deploy',
      'record-deployment',
      'delete-disk',
    ]);
  });

  const resized = {
    ...desired,
    disk: { sizeMiB: 2048, cloudProperties: {} },
    diskStrategy: 'resize' as const,
  };

  it('grows the disk itself when that is asked for', () => {
    const plan = planDeploy(resized, deployed(), healthy);

    expect(kinds(plan).slice(0, 6)).toEqual([
      'prepare-instance',
      'stop-instance',
      'unmount-disks',
      'resize-disk',
      'attach-disk',
      'update-instance',
    ]);
    expect(plan).toContainEqual({ kind: 'resize-disk', diskCid: 'disk-1', sizeMiB: 2048, vmCid: 'vm-1' });
    expect(kinds(plan)).not.toContain('delete-disk');
  });

  it('grows it between the old VM and the new one', () => {
    const plan = planDeploy({ ...resized, vmFingerprint: 'f2' }, deployed(), healthy);

    expect(plan).toContainEqual({ kind: 'resize-disk', diskCid: 'disk-1', sizeMiB: 2048 });
    expect(kinds(plan).indexOf('resize-disk')).toBeGreaterThan(kinds(plan).indexOf('delete-vm'));
    expect(kinds(plan)[kinds(plan).indexOf('resize-disk') + 1]).toBe('attach-disk');
  });

  it.each([
    ['smaller', { disk: { sizeMiB: 512, cloudProperties: {} } }],
    ['of other properties', { disk: { sizeMiB: 2048, cloudProperties: { type: 'fast' } } }],
    ['asked for anew', { recreateDisk: true }],
  ])('copies nevertheless to a disk that is %s', (_name, change) => {
    const plan = kinds(planDeploy({ ...resized, ...change }, deployed(), healthy));

    expect(plan).toContain('migrate-disk');
    expect(plan).not.toContain('resize-disk');
  });

  it('begins an interrupted migration anew with nothing mounted, on the disk that was made for it', () => {
    const state = deployed();
    const vm = state.own.vm;
    if (vm === undefined) throw new Error('no VM');
    const candidate = { id: 'did2', cid: 'disk-2', size: 2048, cloud_properties: {}, unknown: {} };
    const interrupted: EnvironmentState = {
      ...state,
      disks: [...(state.disks ?? []), candidate],
      own: { ...state.own, disk_roles: { 'disk-2': 'candidate' }, vm: { ...vm, mounted_disk: '' } },
    };

    const plan = planDeploy(
      { ...desired, disk: { sizeMiB: 2048, cloudProperties: {} } },
      interrupted,
      healthy,
    );

    expect(kinds(plan).slice(0, 6)).toEqual([
      'prepare-instance',
      'stop-instance',
      'unmount-disks',
      'attach-disk',
      'attach-disk',
      'migrate-disk',
    ]);
    expect(plan).toContainEqual({ kind: 'migrate-disk', from: 'disk-1', to: { cid: 'disk-2' } });
    expect(kinds(plan)).not.toContain('create-disk');
  });

  it('never makes an empty disk in the place of one that is lost', () => {
    const lost: Observation = { ...healthy, disks: { 'disk-1': 'absent' } };

    expect(planDeploy(desired, deployed(), lost)).toEqual({ obstacle: 'disk-lost', diskCid: 'disk-1' });
  });

  it('keeps the disk on record when the manifest no longer has one', () => {
    const plan = planDeploy({ ...desired, disk: undefined, deployed: 'all2' }, deployed(), healthy);

    expect(kinds(plan)).not.toContain('delete-disk');
  });

  it('uploads a stemcell of the same version with other content, and deletes the old one last', () => {
    const plan = kinds(
      planDeploy(
        { ...desired, stemcell: { name: 's', version: '1', digest: 'd2' }, vmFingerprint: 'f2' },
        deployed(),
        healthy,
      ),
    );

    expect(plan[0]).toBe('create-stemcell');
    expect(plan.at(-1)).toBe('delete-stemcell');
  });

  it('deletes VMs that a lost answer left before it makes anything', () => {
    const state = deployed();
    const plan = planDeploy(desired, { ...state, own: { ...state.own, leftover_vms: ['vm-9'] } }, healthy);

    expect(plan).toEqual([{ kind: 'delete-leftover-vm', vmCid: 'vm-9' }]);
  });
});

describe('planDelete', () => {
  it('stops and unmounts, then deletes VM, disk and stemcell', () => {
    expect(planDelete(deployed(), healthy, false).map(({ kind }) => kind)).toEqual([
      'stop-instance',
      'unmount-disks',
      'delete-vm',
      'delete-disk',
      'delete-stemcell',
    ]);
  });

  it('leaves the disk when asked to', () => {
    expect(planDelete(deployed(), healthy, true).map(({ kind }) => kind)).not.toContain('delete-disk');
  });
});
