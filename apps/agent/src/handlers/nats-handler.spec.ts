import { expect, it } from 'vitest';
import { encodeAnswer } from './nats-handler.ts';

it('sends an answer that fits as it is', () => {
  expect(encodeAnswer({ value: 'pong' })).toBe('{"value":"pong"}');
});

it('does not cut a value', () => {
  expect(encodeAnswer({ value: 'x'.repeat(2_000) }, 1_000)).toBeUndefined();
});

it('cuts a long exception in its middle, keeping head and tail', () => {
  const encoded = encodeAnswer({ exception: { message: `head${'\u0001'.repeat(5_000)}tail` } }, 1_000) ?? '';

  expect(Buffer.byteLength(encoded)).toBeLessThanOrEqual(1_000);
  expect(encoded).toMatch(/head.*\[truncated\].*tail/);
});
