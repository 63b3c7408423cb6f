import { NodeCommandRunner } from '@microbosh/host';
import { describe, expect, it } from 'vitest';

import { chooseAccelerator, runsFirmware } from './accelerator.ts';

const runner = new NodeCommandRunner();

describe('the probe of an accelerator', () => {
  it('sees a machine whose firmware runs', async () => {
    expect(await runsFirmware(runner, 'tcg', 30_000)).toBe(true);
  });

  it('takes one that is far too slow for one that does not work', async () => {
    expect(await runsFirmware(runner, 'tcg', 50)).toBe(false);
  });

  it('never decides for a KVM that takes longer than emulation by far', async () => {
    const timed = async (accelerator: 'kvm' | 'tcg') => {
      const started = performance.now();
      const runs = await runsFirmware(runner, accelerator, 30_000);
      return runs ? performance.now() - started : Number.POSITIVE_INFINITY;
    };

    const choice = await chooseAccelerator(runner, 'auto');

    const [kvm, tcg] = [await timed('kvm'), await timed('tcg')];
    if (kvm > 5 * tcg + 1000) expect(choice).toBe('tcg');
    if (kvm < tcg) expect(choice).toBe('kvm');
    expect(['kvm', 'tcg']).toContain(choice);
  });
});
