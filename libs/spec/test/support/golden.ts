import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

/** Rows of a golden file below `testdata`. */
export function goldenRows(name: string): Record<string, unknown>[] {
  const rows: unknown = JSON.parse(testdata(name));
  if (!Array.isArray(rows)) throw new Error(`${name} is not a list`);
  return rows.filter((row): row is Record<string, unknown> => typeof row === 'object' && row !== null);
}

export function testdata(name: string): string {
  return readFileSync(resolve(import.meta.dirname, '../../testdata', name), 'utf8');
}

export function textField(row: Record<string, unknown>, name: string): string | undefined {
  const value = row[name];
  return typeof value === 'string' ? value : undefined;
}
