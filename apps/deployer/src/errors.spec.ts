import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { exitCodes } from './cli/exit-codes.ts';

const whole = readFileSync(join(import.meta.dirname, '../../../docs/reference/errors.md'), 'utf8');
/** The section of the agent has a test of its own there. */
const [page = ''] = whole.split('## Codes of the agent');

function sourcesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(
      (file) => file.endsWith('.ts') && !/\.spec\.ts$|(^|\/)(testing|testdata|conformance)\//.test(file),
    )
    .map((file) => readFileSync(join(folder, file), 'utf8'));
}

const sources = () => sourcesIn(import.meta.dirname);

/** Of all libraries: every one of them can fail under a command of the deployer. */
function librarySources(): string[] {
  const libs = join(import.meta.dirname, '../../../libs');
  return readdirSync(libs).flatMap((name) => sourcesIn(join(libs, name, 'src')));
}

describe('the reference of errors', () => {
  it('lists exactly the codes of this program and of the libraries', () => {
    const defined = [...sources(), ...librarySources()].flatMap((text) =>
      // A prefix of codes ends with an underscore.
      [...text.matchAll(/'(E_[A-Z0-9_]*[A-Z0-9])'(?!\))/g)].map(([, code]) => code),
    );
    const documented = [...page.matchAll(/^\| `(E_\w+)` +\| \S[^|]* \| \S/gm)].map(([, code]) => code);

    expect(documented.sort()).toEqual([...new Set(defined)].filter((code) => code !== 'E_DEFECT').sort());
    expect(page).toContain('`E_DEFECT`');
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
