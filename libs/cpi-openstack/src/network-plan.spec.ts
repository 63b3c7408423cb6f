import type { NetworksSpec } from '@microbosh/spec';
import { describe, expect, it } from 'vitest';
import { planNetworks } from './network-plan.ts';

const manual = (netId: string, more: object = {}) => ({
  type: 'manual' as const,
  ip: '10.0.0.5',
  cloud_properties: { net_id: netId },
  ...more,
});

describe('planNetworks', () => {
  it('takes a network without a type for a manual one', () => {
    const networks = { a: { ip: '10.0.0.5', cloud_properties: { net_id: 'n1' } } } as unknown as NetworksSpec;

    expect(planNetworks(networks).privateNetworks[0]).toMatchObject({ kind: 'manual', netId: 'n1' });
  });

  it('takes the network with the default gateway for the floating IP', () => {
    const plan = planNetworks({
      a: manual('n1'),
      b: manual('n2', { default: ['dns', 'gateway'] }),
      v: { type: 'vip', ip: '172.24.4.9' },
    });

    expect(plan.gateway.name).toBe('b');
    expect(plan.vip).toEqual({ name: 'v', ip: '172.24.4.9' });
  });

  it('unites the security groups of all networks, sorted', () => {
    const plan = planNetworks({
      a: { ...manual('n1'), cloud_properties: { net_id: 'n1', security_groups: ['z', 'b'] } },
      b: { ...manual('n2'), cloud_properties: { net_id: 'n2', security_groups: ['a', 'b'] } },
    });

    expect(plan.securityGroups).toEqual(['a', 'b', 'z']);
  });

  it.each<[string, NetworksSpec, RegExp]>([
    ['no private network', { v: { type: 'vip', ip: '1.2.3.4' } }, /At least one dynamic or manual/],
    ['a manual network without net_id', { a: { type: 'manual', ip: '10.0.0.5' } }, /must have net_id/],
    ['one network twice', { a: manual('n1'), b: manual('n1') }, /already defined/],
    ['two dynamic networks', { a: { type: 'dynamic' }, b: { type: 'dynamic' } }, /Only one dynamic/],
    [
      'two vip networks',
      { a: manual('n1'), v: { type: 'vip', ip: '1.1.1.1' }, w: { type: 'vip', ip: '1.1.1.2' } },
      /Only one VIP/,
    ],
    [
      'a vip network without an address',
      { a: manual('n1'), v: { type: 'vip' } },
      /No IP provided for vip network `v'/,
    ],
  ])('refuses %s', (_, networks, problem) => {
    expect(() => planNetworks(networks)).toThrow(problem);
  });
});
