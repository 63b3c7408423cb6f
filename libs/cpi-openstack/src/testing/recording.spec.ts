import { expect, it } from 'vitest';
import { withoutRepeats } from './recording.ts';
import type { Exchange } from './recording.ts';

const exchange = (method: string, path: string, status: number, answer: string): Exchange => ({
  service: 'compute',
  method,
  path,
  status,
  request: null,
  answer,
});

it('a recording keeps every change and every state that was seen, each look only once', () => {
  const build = exchange('GET', '/servers/1', 200, 'BUILD');
  const active = exchange('GET', '/servers/1', 200, 'ACTIVE');
  const other = exchange('GET', '/servers/2', 200, 'BUILD');
  const gone = exchange('GET', '/servers/1', 404, 'ACTIVE');
  const change = exchange('POST', '/servers/1/action', 202, '');

  expect(withoutRepeats([build, build, other, build, active, change, change, active, build, gone])).toEqual([
    build,
    other,
    active,
    change,
    change,
    build,
    gone,
  ]);
});
