import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const heading = '## Codes of the agent';

it('the reference lists exactly the codes of the agent, each with cause and remedy', () => {
  const page = readFileSync(join(import.meta.dirname, '../../../docs/reference/errors.md'), 'utf8');
  const [, section = ''] = page.split(heading);
  const defined = readdirSync(import.meta.dirname, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !/\.spec\.ts$|(^|\/)testing\//.test(file))
    .flatMap((file) => [
      ...readFileSync(join(import.meta.dirname, file), 'utf8').matchAll(/'(E_[A-Z0-9_]*[A-Z0-9])'/g),
    ])
    .map(([, code]) => code);
  const documented = [...section.matchAll(/^\| `(E_\w+)` +\| \S[^|]* \| \S/gm)].map(([, code]) => code);

  expect(defined.length).toBeGreaterThan(50);
  expect(documented).toEqual([...new Set(defined)].sort());
});
