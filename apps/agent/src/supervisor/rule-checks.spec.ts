import { expect, it } from 'vitest';
import { matchesCron } from './rule-checks.ts';

const at = (text: string) => new Date(text);

it.each([
  ['* * * * *', '2026-11-23T10:07:00', true],
  ['*/5 * * * *', '2026-11-23T10:10:00', true],
  ['*/5 * * * *', '2026-11-23T10:07:00', false],
  ['0-10 8,10 * * *', '2026-11-23T10:07:00', true],
  ['* 0-3 * * *', '2026-11-23T10:07:00', false],
  ['* * 23 11 1', '2026-11-23T10:07:00', true],
  ['* * * * 7', '2026-11-22T10:07:00', true],
])('cron %s at %s: %s', (cron, time, expected) => {
  expect(matchesCron(cron, at(time))).toBe(expected);
});
