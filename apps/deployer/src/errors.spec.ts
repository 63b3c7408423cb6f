import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { exitCodes } from './cli/exit-codes.ts';

const page = readFileSync(join(import.meta.dirname, '../../../docs/reference/errors.md'), 'utf8');

function sources(): string[] {
  return readdirSync(import.meta.dirname, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.spec.ts') && !file.startsWith('testing'))
    .map((file) => readFileSync(join(import.meta.dirname, file), 'utf8'));
}

describe('the reference of errors', () => {
  it('lists exactly the codes of this program', () => {
    const defined = sources().flatMap((text) =>
      [...text.matchAll(/readonly code = '(E_\w+)'/g)].map(([, code]) => code),
    );
    const documented = [...page.matchAll(/^\| `(E_\w+)`/gm)].map(([, code]) => code);

    expect(documented.sort()).toEqual([...defined, 'E_CANCELLED'].sort());
  });

  it('lists exactly the exit codes', () => {
    const documented = [...page.matchAll(/^\| (\d+) \|/gm)].map(([, code]) => Number(code));

    expect(documented).toEqual(Object.values(exitCodes).sort((a, b) => a - b));
  });

  it('names no code that nothing throws', () => {
    const all = sources().join('\n');
    for (const [, name] of all.matchAll(/export class (\w+) extends OperationalError/g)) {
      expect(all.split(new RegExp(`new ${name}\\b|${name}\\(`)).length, name).toBeGreaterThan(1);
    }
  });
});
