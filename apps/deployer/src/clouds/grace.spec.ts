import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { graceAfterAbort } from './grace.ts';

describe('the grace after an abort', () => {
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => vi.useRealTimers());

  it('ends what is under way only after its time', () => {
    const operator = new AbortController();
    const { signal } = graceAfterAbort(operator.signal, 1000);

    operator.abort(new Error('stop'));
    vi.advanceTimersByTime(999);
    expect(signal.aborted).toBe(false);
    vi.advanceTimersByTime(1);

    expect(signal.aborted).toBe(true);
    expect(signal.reason).toEqual(new Error('stop'));
  });

  it('does not end what is over', () => {
    const operator = new AbortController();
    const grace = graceAfterAbort(operator.signal, 1000);

    operator.abort();
    grace.dispose();
    vi.advanceTimersByTime(5000);

    expect(grace.signal.aborted).toBe(false);
  });
});
