import { describe, expect, it } from 'vitest';
import type { NetworksSpec } from '@microbosh/spec';
import { planNetworks } from './network-plan.ts';

const manual: NetworksSpec = {
  a: { type: 'manual', ip: '10.1.0.10', netmask: '255.255.255.0', gateway: '10.1.0.1', dns: ['9.9.9.9'] },
};

function plan(networks: NetworksSpec, taken: ReadonlyMap<string, string> = new Map()) {
  return planNetworks('/q', '10.254.0.0/24', 'vm-0123456789abcdef0', networks, taken);
}

describe('planNetworks', () => {
  it('puts this machine where the gateway is', () => {
    const { nics } = plan(manual);

    expect(nics[0]).toMatchObject({
      ip: '10.1.0.10',
      dns: '9.9.9.9',
      bridge: { subnet: '10.1.0.0/24', address: '10.1.0.1', prefix: 24 },
    });
  });

  it('uses names that the kernel accepts, and the same for the same VM', () => {
    const first = plan(manual).nics[0];

    expect(plan(manual).nics[0]).toEqual(first);
    for (const name of [first?.tap, first?.bridge.name, first?.bridge.hostInterface]) {
      expect(name?.length).toBeLessThanOrEqual(15);
    }
    expect(first?.mac).toMatch(/^52:54(:[0-9a-f]{2}){4}$/);
  });

  it('makes a dynamic network a manual one with a free address: nobody serves DHCP', () => {
    const { networks } = plan({ d: { type: 'dynamic' } }, new Map([['10.254.0.2', 'vm-other']]));

    expect(networks['d']).toMatchObject({
      type: 'manual',
      ip: '10.254.0.3',
      netmask: '255.255.255.0',
      gateway: '10.254.0.1',
    });
  });

  it('leaves a vip alone', () => {
    const { networks, nics } = plan({ ...manual, v: { type: 'vip', ip: '203.0.113.5' } });

    expect(nics).toHaveLength(1);
    expect(networks['v']).toEqual({ type: 'vip', ip: '203.0.113.5' });
  });

  it.each<[string, NetworksSpec, RegExp]>([
    ['no network', {}, /at least one network/],
    ['an address of the host', { a: { ...manual['a'], type: 'manual', ip: '10.1.0.1' } }, /is the gateway's/],
    [
      'a gateway elsewhere',
      { a: { ...manual['a'], type: 'manual', gateway: '10.2.0.1' } },
      /is not in 10.1.0.0\/24/,
    ],
    ['no netmask', { a: { type: 'manual', ip: '10.1.0.10' } }, /needs a netmask/],
    ['IPv6', { a: { type: 'manual', ip: 'fd00::1', netmask: 'ffff::' } }, /IPv6/],
  ])('refuses %s', (_case, networks, problem) => {
    expect(() => plan(networks)).toThrow(problem);
  });

  it('refuses an address that another VM has', () => {
    expect(() => plan(manual, new Map([['10.1.0.10', 'vm-other']]))).toThrow(/in use by VM 'vm-other'/);
  });

  it('says when a subnet is full', () => {
    const taken = new Map(
      Array.from({ length: 253 }, (_, index) => [`10.254.0.${index + 2}`, 'vm-other'] as const),
    );

    expect(() => plan({ d: { type: 'dynamic' } }, taken)).toThrow(/no free address/);
  });
});
