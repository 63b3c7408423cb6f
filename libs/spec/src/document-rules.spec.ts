import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '../../..');
const index = readFileSync(join(root, 'docs/reference/document-rules.md'), 'utf8');
const rows = index.split('\n').filter((line) => line.startsWith('| ') && line.includes('`'));

describe('the index of rules and tests', () => {
  it('has a test for every rule', () => {
    expect(rows.length).toBeGreaterThan(45);
    for (const row of rows) expect(row).toMatch(/“[^”]+”/);
  });

  it('names only tests that exist', () => {
    const named = rows.flatMap((row) =>
      [...row.matchAll(/`([^`]+\.spec\.ts)`: ((?:“[^”]+”(?:, )?)+)/g)].flatMap(([, file = '', titles = '']) =>
        [...titles.matchAll(/“([^”]+)”/g)].map(([, title = '']) => ({ file, title })),
      ),
    );

    expect(named.length).toBeGreaterThan(100);
    const missing = named.filter(
      ({ file, title }) => !readFileSync(join(root, file), 'utf8').includes(title),
    );
    expect(missing).toEqual([]);
  });
});
