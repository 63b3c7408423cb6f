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

  it('decides for KVM exactly when a machine runs with it', async () => {
    const works = await runsFirmware(runner, 'kvm', 2000);
    if (works) expect(await chooseAccelerator(runner, 'auto')).toBe('kvm');
    else await expect(chooseAccelerator(runner, 'kvm')).rejects.toThrow(/KVM does not work/);
  });
});
