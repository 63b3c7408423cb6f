import { describe, expect, it } from 'vitest';
import { CachedInstanceAddresses } from './address-check.ts';
import { parseAuthorization } from './authorization-header.ts';
import { TrustedProxies, clientAddress } from './client-address.ts';
import { FailedLogins } from './failed-logins.ts';
import { parsePasswordHash, scryptHasher } from './passwords.ts';
import { hashReadToken, isReadToken, mintReadToken } from './read-tokens.ts';

const basic = (pair: string) => `Basic ${Buffer.from(pair).toString('base64')}`;

describe('parseAuthorization', () => {
  it('splits at the first colon and takes the scheme in any case', () => {
    const expected = { kind: 'basic', user: 'a', password: 'b:c' };

    expect(parseAuthorization(basic('a:b:c'))).toEqual(expected);
    expect(parseAuthorization(basic('a:b:c').replace('Basic', 'bASIC'))).toEqual(expected);
  });

  it.each(['Basic', 'Basic ', 'Digest x', basic('nocolon'), 'x'])('finds nothing to use in %s', (header) => {
    expect(parseAuthorization(header)).toEqual({ kind: 'unreadable' });
  });

  it('tells no credentials from bad ones', () => {
    expect(parseAuthorization(undefined)).toEqual({ kind: 'none' });
  });
});

describe('clientAddress', () => {
  const proxies = new TrustedProxies(['10.0.0.0/8', 'fd00::/8']);
  const of = (peer: string, forwarded?: string) =>
    clientAddress(peer, forwarded === undefined ? {} : { 'x-forwarded-for': forwarded }, proxies).address;

  it('is the peer unless the peer is a configured proxy', () => {
    expect(of('192.168.1.1', '1.2.3.4')).toBe('192.168.1.1');
    expect(of('10.0.0.1', '1.2.3.4')).toBe('1.2.3.4');
    expect(of('::ffff:10.0.0.1', '1.2.3.4')).toBe('1.2.3.4');
    expect(of('fd00::1', '2001:db8::1')).toBe('2001:db8::1');
  });

  it('believes the chain only as far as it is trusted', () => {
    expect(of('10.0.0.1', '1.1.1.1, 2.2.2.2, 10.0.0.9')).toBe('2.2.2.2');
    expect(of('10.0.0.1', 'nonsense, 10.0.0.9')).toBe('10.0.0.9');
    expect(of('10.0.0.1', '')).toBe('10.0.0.1');
  });

  it('is never loopback by a header', () => {
    expect(clientAddress('10.0.0.1', { 'x-forwarded-for': '127.0.0.1' }, proxies).isLoopback).toBe(false);
    expect(clientAddress('127.0.0.1', {}, proxies).isLoopback).toBe(true);
    expect(clientAddress('::1', {}, proxies).isLoopback).toBe(true);
    expect(clientAddress('127.0.0.1', { forwarded: 'for=x' }, proxies).isLoopback).toBe(false);
  });

  it.each(['10.0.0.0/33', 'host', '10.0.0.0/8/8', ''])('refuses the network %j', (network) => {
    expect(() => new TrustedProxies([network])).toThrow(/neither an address nor a network/);
  });
});

describe('FailedLogins', () => {
  it('counts by address within the window', () => {
    let nowMs = 0;
    const failed = new FailedLogins({ attempts: 2, windowMs: 100 }, () => nowMs);
    failed.add('a');
    expect(failed.waitMs('a')).toBe(0);
    failed.add('a');

    expect([failed.waitMs('a'), failed.waitMs('b')]).toEqual([100, 0]);
    nowMs = 100;
    expect(failed.waitMs('a')).toBe(0);
  });

  it('does not grow without bound', () => {
    const failed = new FailedLogins({ attempts: 1, windowMs: 100 }, () => 0);
    for (let index = 0; index <= 10_000; index += 1) failed.add(`address ${index}`);

    expect([failed.waitMs('address 0'), failed.waitMs('address 10000')]).toEqual([0, 100]);
  });
});

describe('passwords', () => {
  it('are verified against a salted hash', async () => {
    const [first, second] = await Promise.all([scryptHasher.hash('pw'), scryptHasher.hash('pw')]);

    expect(first).not.toBe(second);
    expect(await scryptHasher.verify('pw', first)).toBe(true);
    expect(await scryptHasher.verify('pw2', first)).toBe(false);
  });

  it.each(['', 'plain', 'scrypt$1$8$AAAAAAAAAAAAAAAAAAAAAA$AA', 'scrypt$1073741824$8$a$b'])(
    'refuse the hash %j',
    (hash) => {
      expect(() => parsePasswordHash(hash)).toThrow(/not of the form/);
    },
  );
});

describe('read tokens', () => {
  it('need no escape in a URL and are told from passwords', () => {
    const token = mintReadToken();

    expect(encodeURIComponent(token)).toBe(token);
    expect(isReadToken(token)).toBe(true);
    expect(isReadToken(`${token}x`)).toBe(false);
    expect(hashReadToken(token)).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe('CachedInstanceAddresses', () => {
  it('believes an answer for a while, and the absence of an instance for less', async () => {
    let nowMs = 0;
    let asked = 0;
    const cache = new CachedInstanceAddresses(
      {
        addressesOf: async (id) => {
          asked += 1;
          return id === 'known' ? ['10.0.0.1'] : [];
        },
      },
      { knownForMs: 100, unknownForMs: 10, clock: () => nowMs },
    );

    expect(await cache.has('known', '10.0.0.1')).toBe(true);
    expect(await cache.has('known', '10.0.0.2')).toBe(false);
    expect(await cache.has('unknown', '10.0.0.1')).toBe(false);
    expect(asked).toBe(2);
    nowMs = 10;
    await cache.has('unknown', '10.0.0.1');
    expect(asked).toBe(3);
    nowMs = 100;
    await cache.has('known', '10.0.0.1');
    expect(asked).toBe(4);
  });

  it('does not remember a failure', async () => {
    let fails = true;
    const cache = new CachedInstanceAddresses({
      addressesOf: async () => {
        if (fails) throw new Error('away');
        return ['10.0.0.1'];
      },
    });

    await expect(cache.has('vm', '10.0.0.1')).rejects.toThrow(/away/);
    fails = false;
    expect(await cache.has('vm', '10.0.0.1')).toBe(true);
  });
});
