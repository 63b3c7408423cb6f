import { describe, expect, it } from 'vitest';
import { changedProperties, manifestProperties } from './manifest-properties.ts';

const manifest = {
  name: 'dep',
  instance_groups: [
    {
      name: 'web',
      properties: { port: 80, password: 'secret-1', tls: { cert: 'a', key: 'b' } },
      ips: ['10.0.0.5'],
    },
  ],
};

function changesTo(edit: (copy: typeof manifest) => unknown) {
  const copy = structuredClone(manifest);
  edit(copy);
  const changes = changedProperties(manifestProperties(manifest, 'k'), manifestProperties(copy, 'k'));
  return changes.map(({ path, change }) => `${change} ${path}`);
}

const group = (copy: typeof manifest) =>
  copy.instance_groups[0] as unknown as Record<string, Record<string, unknown>>;

describe('what changed in a manifest', () => {
  it.each<[string, (copy: typeof manifest) => unknown, string[]]>([
    ['nothing', () => undefined, []],
    [
      'a value',
      (copy) => Object.assign(group(copy)['properties'] ?? {}, { password: 'secret-2' }),
      ['changed /instance_groups/name=web/properties/password'],
    ],
    [
      'a value and its type',
      (copy) => Object.assign(group(copy)['properties'] ?? {}, { port: '80' }),
      ['changed /instance_groups/name=web/properties/port'],
    ],
    [
      'a map that is new',
      (copy) => Object.assign(group(copy)['properties'] ?? {}, { 'log/level': { a: 1, b: { c: [] } } }),
      ['added /instance_groups/name=web/properties/log~1level'],
    ],
    [
      'a map that is gone',
      (copy) => delete group(copy)['properties']?.['tls'],
      ['removed /instance_groups/name=web/properties/tls'],
    ],
    [
      'a map that became a value',
      (copy) => Object.assign(group(copy)['properties'] ?? {}, { tls: 'none' }),
      [
        'added /instance_groups/name=web/properties/tls',
        'removed /instance_groups/name=web/properties/tls/cert',
        'removed /instance_groups/name=web/properties/tls/key',
      ],
    ],
    [
      'a name',
      (copy) => Object.assign(group(copy), { name: 'api' }),
      ['added /instance_groups/name=api', 'removed /instance_groups/name=web'],
    ],
    [
      'one of a list without names',
      (copy) => Object.assign(group(copy), { ips: ['10.0.0.6', '10.0.0.7'] }),
      ['changed /instance_groups/name=web/ips/0', 'added /instance_groups/name=web/ips/1'],
    ],
  ])('%s', (_what, edit, expected) => {
    expect(changesTo(edit)).toEqual(expected);
  });

  it('is kept without the values, by a key of the environment', () => {
    const kept = JSON.stringify(manifestProperties(manifest, 'k'));

    expect(kept).not.toContain('secret');
    expect(kept).not.toBe(JSON.stringify(manifestProperties(manifest, 'another')));
  });
});
