import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ResultCache } from './result-cache.ts';

let base: string;
let cache: ResultCache;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'results-'));
  cache = new ResultCache(join(base, 'cache'));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

async function keep(key: string, content: string): Promise<void> {
  writeFileSync(join(base, 'result'), content);
  await cache.keep(key, join(base, 'result'));
}

it('finds what was kept for the same inputs, and nothing else', async () => {
  await keep('a1', 'one');
  await keep('a2', 'two');

  expect(readFileSync((await cache.find('a2')) ?? '', 'utf8')).toBe('two');
  expect(await cache.find('a3')).toBeUndefined();
});

it('does not find a result that was cut short', async () => {
  await keep('a1', 'one');
  truncateSync((await cache.find('a1')) ?? '', 1);

  expect(await cache.find('a1')).toBeUndefined();
  expect(readdirSync(join(base, 'cache'))).toEqual([]);
});

it('keeps the sixteen that were asked for last', async () => {
  await keep('first', 'first');
  await keep('second', 'second');
  const past = new Date(Date.now() - 60_000);
  for (const name of readdirSync(join(base, 'cache'))) utimesSync(join(base, 'cache', name), past, past);
  await cache.find('first');
  for (let count = 0; count < 15; count += 1) await keep(`k${count}`, `content ${count}`);

  expect(readdirSync(join(base, 'cache'))).toHaveLength(16);
  expect(await cache.find('first')).toBeDefined();
  expect(await cache.find('second')).toBeUndefined();
});
