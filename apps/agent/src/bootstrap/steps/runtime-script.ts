import { which } from '../../platform/which.ts';
import { skipped, type BootstrapStep } from '../step.ts';

/** The stemcell's own preparation, run at each start like the original does. */
export const runtimeScript: BootstrapStep = {
  name: 'runtime script',
  timeoutMs: 120_000,
  async run({ runner, signal }) {
    const script = await which('bosh-agent-rc');
    if (script === undefined) return skipped('this machine has no bosh-agent-rc');
    await runner.run([script], { signal, timeoutMs: 120_000 });
    return { outcome: 'unchanged' };
  },
};
