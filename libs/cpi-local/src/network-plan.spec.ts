import { describe, expect, it } from 'vitest';
import type { NetworksSpec } from '@microbosh/spec';
import { planNetworks } from './network-plan.ts';

const manual = { type: 'manual', netmask: '255.255.255.0', gateway: '10.9.0.1' } as const;

function plan(networks: NetworksSpec, taken: ReadonlyMap<string, string> = new Map()) {
  return planNetworks('/root', '10.253.0.0/24', 'vm-12345678', networks, taken);
}

describe('networks of a VM', () => {
  it('get the gateway as the address of their bridge, and names that Linux takes', () => {
    const { interfaces, networks } = plan({ default: { ...manual, ip: '10.9.0.5' } });

    expect(interfaces).toMatchObject([
      {
        guestName: 'eth0',
        ip: '10.9.0.5',
        prefix: 24,
        defaultGateway: '10.9.0.1',
        bridge: { subnet: '10.9.0.0/24', address: '10.9.0.1' },
      },
    ]);
    for (const name of interfaces.flatMap((card) => [card.hostName, card.bridge.name])) {
      expect(name.length).toBeLessThanOrEqual(15);
    }
    expect(networks['default']).toMatchObject({ ip: '10.9.0.5', preconfigured: true });
  });

  it('of type dynamic get the lowest free address of the configured subnet', () => {
    const { networks } = plan({ d: { type: 'dynamic' } }, new Map([['10.253.0.2', 'vm-other']]));

    expect(networks['d']).toMatchObject({
      ip: '10.253.0.3',
      netmask: '255.255.255.0',
      gateway: '10.253.0.1',
    });
  });

  it('put the default route on the network that asks for it', () => {
    const { interfaces } = plan({
      a: { ...manual, ip: '10.9.0.5' },
      b: { ...manual, ip: '10.9.1.5', gateway: '10.9.1.1', default: ['gateway'] },
    });

    expect(interfaces.map((card) => card.defaultGateway)).toEqual([undefined, '10.9.1.1']);
  });

  it.each<[string, NetworksSpec, RegExp]>([
    ['none', {}, /at least one network/],
    ['of type vip', { n: { type: 'vip', ip: '10.9.0.5' } }, /no networks of type 'vip'/],
    ['with the address of the gateway', { n: { ...manual, ip: '10.9.0.1' } }, /is the gateway/],
    ['with the broadcast address', { n: { ...manual, ip: '10.9.0.255' } }, /is not an address of/],
    [
      'with a gateway elsewhere',
      { n: { ...manual, ip: '10.9.0.5', gateway: '10.8.0.1' } },
      /gateway 10.8.0.1/,
    ],
    ['with a mask that is none', { n: { ...manual, ip: '10.9.0.5', netmask: '255.0.255.0' } }, /netmask/],
    ['of IPv6', { n: { type: 'manual', ip: 'fd00::5', netmask: 'ffff::' } }, /no IPv6/],
  ])('are refused: %s', (_, networks, sentence) => {
    expect(() => plan(networks)).toThrow(sentence);
  });

  it('are refused when another VM has the address, and when the subnet is full', () => {
    const small = { ...manual, gateway: '10.9.0.1', netmask: '255.255.255.252' };

    expect(() => plan({ n: { ...manual, ip: '10.9.0.5' } }, new Map([['10.9.0.5', 'vm-other']]))).toThrow(
      /in use by VM 'vm-other'/,
    );
    expect(() => plan({ n: small }, new Map([['10.9.0.2', 'vm-other']]))).toThrow(/no address is free/);
  });
});
