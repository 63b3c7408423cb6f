import type { NetworksSpec } from '@microbosh/spec';
import { describe, expect, it } from 'vitest';
import { planNetworks } from './network-plan.ts';

const manual = (ip: string, more: object = {}) => ({
  type: 'manual' as const,
  ip,
  cloud_properties: { subnet: 'subnet-1' },
  ...more,
});

describe('planNetworks', () => {
  it('makes one interface per manual network, and one for a dynamic network after them', () => {
    const plan = planNetworks({
      d: { type: 'dynamic', cloud_properties: { subnet: 'subnet-2' } },
      a: manual('10.0.0.5'),
      b: manual('10.0.0.6'),
    });

    expect(plan.groups.map(({ name, subnetId }) => [name, subnetId])).toEqual([
      ['a', 'subnet-1'],
      ['b', 'subnet-1'],
      ['d', 'subnet-2'],
    ]);
  });

  it('unites networks of one nic_group: addresses of both families and delegated prefixes', () => {
    const plan = planNetworks({
      four: manual('10.0.0.5', { nic_group: 1 }),
      six: manual('fd00::5', { nic_group: 1 }),
      pods: manual('10.0.1.0', { nic_group: 1, prefix: '28' }),
    });

    expect(plan.groups).toEqual([
      {
        name: '1',
        subnetId: 'subnet-1',
        networks: ['four', 'six', 'pods'],
        ipv4: '10.0.0.5',
        ipv6: 'fd00::5',
        ipv4Prefix: '10.0.1.0/28',
      },
    ]);
  });

  it.each<[string, NetworksSpec, RegExp]>([
    ['no network', {}, /must be defined/],
    [
      'a group with a prefix only',
      { a: manual('10.0.1.0', { prefix: '28' }) },
      /prefix network can only be a secondary/,
    ],
    ['a network without a subnet', { a: { type: 'manual', ip: '10.0.0.5' } }, /must name one subnet/],
    [
      'two vips',
      { a: manual('10.0.0.5'), v: { type: 'vip', ip: '1.1.1.1' }, w: { type: 'vip', ip: '1.1.1.2' } },
      /More than one vip/,
    ],
    [
      'a vip without an address',
      { a: manual('10.0.0.5'), v: { type: 'vip' } },
      /No IP provided for vip network 'v'/,
    ],
  ])('refuses %s', (_, networks, problem) => {
    expect(() => planNetworks(networks)).toThrow(problem);
  });
});
