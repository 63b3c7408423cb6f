import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { boundedLog, olderLog } from './bounded-log.ts';

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'log-'));
  path = join(folder, 'inner', 'events.jsonl');
});
afterEach(() => rmSync(folder, { recursive: true }));

it('a log stays within twice its limit, whichever run writes, with whole lines and the last ones', () => {
  for (let run = 0; run < 5; run += 1) {
    const log = boundedLog(path, 1_000);
    for (let line = 0; line < 40; line += 1) log(`${run}-${line} ${'ä'.repeat(20)}`);
  }

  expect(readdirSync(join(folder, 'inner')).sort()).toEqual(['events.jsonl', 'events.jsonl.1']);
  const texts = [olderLog(path), path].map((file) => readFileSync(file, 'utf8'));
  for (const file of [path, olderLog(path)]) {
    expect(statSync(file).size).toBeLessThanOrEqual(1_000);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  }
  const lines = texts.join('').trimEnd().split('\n');
  expect(lines.every((line) => /^\d-\d+ ä{20}$/.test(line))).toBe(true);
  expect(lines.at(-1)).toMatch(/^4-39 /);
  expect(lines.length).toBeGreaterThan(20);
});

it('a line that is longer than the limit is kept whole', () => {
  const log = boundedLog(path, 10);
  log('a line of more than ten characters');
  log('b');

  expect(readFileSync(olderLog(path), 'utf8')).toContain('more than ten');
  expect(readFileSync(path, 'utf8')).toBe('b\n');
});
