import { describe, expect, it } from 'vitest';
import { postgresMissing } from '@microbosh/registry-server/testing';
import { bootStorm } from './testing/boot-storm.ts';

const missing = postgresMissing();

/** The size that fits into a test run; `npm run lab:registry` does the same with 10,000 agents. */
describe('a boot storm', () => {
  it.skipIf(missing !== undefined)(
    `is served by two processes on one PostgreSQL without an error ${missing ?? ''}`,
    async () => {
      const report = await bootStorm(1_500, 300);

      expect(report.errors).toEqual([]);
      expect(report.shares).toEqual([750, 750]);
    },
  );
});
