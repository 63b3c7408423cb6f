import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '../../..');
const page = readFileSync(join(root, 'docs/reference/weaknesses.md'), 'utf8');

interface Row {
  readonly id: string;
  readonly status: string;
  readonly how: string;
  readonly tests: readonly string[];
}

function rowsOf(section: string): Row[] {
  const text = page.split('\n## ').find((part) => part.startsWith(section)) ?? '';
  return [...text.matchAll(/^\| (\d+) \|(.*)\|$/gm)].map(([, id = '', rest = '']) => {
    const [, status = '', how = '', tests = ''] = rest.split('|').map((cell) => cell.trim());
    return { id: `${section} ${id}`, status, how, tests: tests.split('; ') };
  });
}

const files = new Map(
  globSync(['{apps,libs}/*/{src,test}/**/*.spec.ts', 'e2e/**/*.spec.ts'], {
    cwd: root,
    exclude: (path) => path.includes('node_modules'),
  }).map((path) => [path, readFileSync(join(root, path), 'utf8')]),
);

/** Empty: the test is there. */
function missing(test: string): string {
  const [name = '', ...title] = test.split(': ');
  const candidates = [...files].filter(([path]) => {
    const bare = path.replace(/(\.(int|e2e|lab))?\.spec\.ts$/, '');
    return bare === name || bare.endsWith(`/${name}`);
  });
  if (candidates.length === 0) return `no file ${name}`;
  const words = title.join(': ');
  return candidates.some(([, text]) => text.includes(words)) ? '' : `${name} has no '${words}'`;
}

describe('the page of weaknesses', () => {
  it.each([
    ['create-env and bosh-init', 34],
    ['micro', 52],
    ['agent', 38],
  ])('has every row of %s, in order', (section, count) => {
    const rows = rowsOf(section);

    expect(rows.map(({ id }) => id)).toEqual(
      Array.from({ length: count }, (_, index) => `${section} ${index + 1}`),
    );
    expect(rows.filter(({ status }) => !['done', 'partly', 'by design'].includes(status))).toEqual([]);
    expect(rows.filter(({ how }) => how === '')).toEqual([]);
  });

  it('names tests that are there', () => {
    const rows = ['create-env and bosh-init', 'micro', 'agent'].flatMap(rowsOf);
    const wrong = rows
      .filter(({ status }) => status !== 'by design')
      .flatMap(({ id, tests }) =>
        tests
          .map(missing)
          .filter(Boolean)
          .map((what) => `${id}: ${what}`),
      );

    expect(wrong).toEqual([]);
  });
});
