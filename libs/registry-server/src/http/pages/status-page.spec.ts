import { describe, expect, it } from 'vitest';
import { ageOf, statusPage } from './status-page.ts';

const row = {
  instanceId: '<script>alert(1)</script>',
  etag: 'e',
  keyId: 'k',
  sizeBytes: 1,
  createdAtMs: 0,
  updatedAtMs: 60_000,
  updatedBy: '"&\'<b>',
  reads: 3,
  deniedReads: 2,
  activeTokens: 1,
};

describe('the status page', () => {
  it('shows text from outside as text', () => {
    const html = statusPage({ instances: [row], nowMs: 120_000, storeKind: 'sqlite', activeKeyId: 'k' });

    expect(html).not.toContain('<script>');
    expect(html).toContain('&lt;script&gt;alert(1)&lt;/script&gt;');
    expect(html).toContain('&quot;&amp;&#39;&lt;b&gt;');
  });

  it('shows writes, reads, age and denied reads', () => {
    const html = statusPage({
      instances: [{ ...row, lastReadAtMs: 90_000 }],
      nowMs: 120_000,
      storeKind: 'sqlite',
      activeKeyId: 'k',
      next: 'a b',
    });

    for (const shown of [
      '1970-01-01T00:01:00Z',
      '1970-01-01T00:01:30Z',
      '>2 min<',
      'number denied">2<',
      'after=a%20b',
    ]) {
      expect(html).toContain(shown);
    }
  });

  it.each([
    [0, '0 s'],
    [59_999, '59 s'],
    [3_661_000, '1 h 1 min'],
    [86_400_000, '1 d'],
    [90_061_000, '1 d 1 h'],
  ])('writes an age of %i ms as %s', (ms, text) => {
    expect(ageOf(ms)).toBe(text);
  });
});
