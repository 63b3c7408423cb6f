import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cleanPath, isInstanceId } from './clean-path.ts';

describe('cleanPath', () => {
  it.each([
    ['/instances/a/settings', '/instances/a/settings'],
    ['/instances/../instances/foo/settings', '/instances/foo/settings'],
    ['/instances/a/%2E%2e/b/settings', '/instances/b/settings'],
    ['//instances///a//settings', '/instances/a/settings'],
    ['/instances/a%2fb/settings', '/instances/a/b/settings'],
    ['/instances/a/settings/.', '/instances/a/settings/'],
    ['/../../etc', '/etc'],
    ['/instances/a.b/settings?x=/../y', '/instances/a.b/settings'],
    ['/', '/'],
    ['', ''],
  ])('turns %s into %s', (from, to) => {
    expect(cleanPath(from)).toBe(to);
  });

  it('leaves nothing that a second look would change', () => {
    const part = fc.constantFrom('.', '..', '/', '%2e', '%2F', '%5c', '\\', 'a', 'instances', '?', '%');
    fc.assert(
      fc.property(fc.array(part, { maxLength: 30 }), (parts) => {
        const clean = cleanPath(`/${parts.join('')}`);
        expect(cleanPath(clean)).toBe(clean);
        expect(clean.split('/')).not.toContain('..');
      }),
    );
  });
});

describe('isInstanceId', () => {
  it.each(['i-0123', 'vm 7', 'ид', 'a'.repeat(255)])('takes %s', (id) => {
    expect(isInstanceId(id)).toBe(true);
  });

  it.each(['', 'a/b', 'a\\b', 'a\0b', 'a\nb', '\u007f', '\ud800', '\u2028', 'é'.repeat(128)])(
    'refuses %j',
    (id) => {
      expect(isInstanceId(id)).toBe(false);
    },
  );
});
