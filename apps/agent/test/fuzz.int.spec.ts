import { expect, it } from 'vitest';
import { fuzzAgent } from './fuzz/fuzzer.ts';

/** A bounded part of `npm run fuzz:agent`, another one every day, repeatable by its seed. */
it('answers whatever comes with a documented answer, and nothing invalid has an effect', async () => {
  const seed = Math.floor(Date.now() / 86_400_000);

  const report = await fuzzAgent({ requests: 2_500, seed });

  expect({ seed, violations: report.violations.slice(0, 10) }).toEqual({ seed, violations: [] });
  expect(report.authenticated / report.requests).toBeGreaterThan(0.5);
  expect(report.executed).toBeGreaterThan(100);
  expect(report.effects).toBeGreaterThan(50);
});
