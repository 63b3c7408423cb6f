import { expect, it } from 'vitest';
import { formatBootstrapReport } from './bootstrap-report.ts';

it('shows time, outcome and reason of each step, and the sum', () => {
  const text = formatBootstrapReport({
    startedAt: '2026-01-01T00:00:00.000Z',
    steps: [
      { name: 'hostname', outcome: 'done', reason: 'set the hostname', durationMs: 12.34 },
      { name: 'tmp', outcome: 'unchanged', durationMs: 1 },
      { name: 'swap', outcome: 'skipped', reason: 'there is no data disk', durationMs: 0.2 },
    ],
  });

  expect(text.split('\n')).toEqual([
    'Bootstrap of 2026-01-01T00:00:00.000Z',
    '     12.3 ms  hostname              done: set the hostname',
    '      1.0 ms  tmp                   unchanged',
    '      0.2 ms  swap                  skipped: there is no data disk',
    '     13.5 ms  in all',
    '',
  ]);
});
