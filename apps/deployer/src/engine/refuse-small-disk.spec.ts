import { describe, expect, it } from 'vitest';
import { usedOf, persistentPercent } from './refuse-small-disk.ts';

describe('what a disk holds, from the vitals of the agent', () => {
  it('is less than the share that is in use, by the reserve of the file system', () => {
    expect(usedOf(10_240, 60)).toBe(5_632);
    expect(usedOf(10_240, 100)).toBe(9_728);
  });

  it('is nothing on a disk that was formatted and not used', () => {
    expect(usedOf(102_400, 5)).toBe(0);
    expect(usedOf(102_400, 0)).toBe(0);
  });

  it.each([
    [{ vitals: { disk: { persistent: { percent: '37', inode_percent: '1' } } } }, 37],
    [{ vitals: { disk: { system: { percent: '80' } } } }, undefined],
    [{ vitals: { disk: { persistent: { percent: '' } } } }, undefined],
    [{ vitals: { disk: { persistent: { percent: 'n/a' } } } }, undefined],
    [{ vitals: null }, undefined],
    [{}, undefined],
  ])('is read from %j', (state, percent) => {
    expect(persistentPercent(state)).toBe(percent);
  });
});
