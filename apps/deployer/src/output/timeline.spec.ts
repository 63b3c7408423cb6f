import { describe, expect, it } from 'vitest';
import { renderTimelineHtml, renderTimelineText, timelineOf } from './timeline.ts';

const events = [
  { type: 'run', command: 'create-env', time: '2026-01-01T00:00:00.000Z' },
  { type: 'started', id: '1', kind: 'stage', name: 'deploying', time: '2026-01-01T00:00:00.000Z' },
  {
    type: 'started',
    id: '2',
    kind: 'step',
    name: 'Creating <disk>',
    parent: '1',
    time: '2026-01-01T00:00:01.000Z',
  },
  { type: 'call', to: 'cpi', method: 'info', durationMs: 500, failed: false, time: '' },
  { type: 'call', to: 'cpi', method: 'create_disk', durationMs: 1500, failed: true, time: '' },
  { type: 'failed', id: '2', durationMs: 2500, error: { message: 'no quota' }, time: '' },
];

describe('timeline', () => {
  it('shows what failed, and that what never ended was interrupted', () => {
    const text = renderTimelineText(timelineOf(events));

    expect(text).toContain('deploying (interrupted)');
    expect(text).toContain('2.50 s    Creating <disk> (failed: no quota)');
    expect(text).toContain('calls: cpi 2.00 s in 2');
  });

  it('makes a page in which names cannot become markup', () => {
    const html = renderTimelineHtml(timelineOf(events));

    expect(html).toContain('Creating &lt;disk&gt;');
    expect(html).not.toContain('<disk>');
  });
});
