import { join } from 'node:path';
import { statIfPresent } from '../../platform/files.ts';
import { skipped, type BootstrapStep } from '../step.ts';

/** The stemcell starts its log and audit daemons once /var/log is where it stays. */
export const logging: BootstrapStep = {
  name: 'logging and auditing',
  timeoutMs: 120_000,
  async run({ paths, runner, signal }) {
    const script = join(paths.bin, 'bosh-start-logging-and-auditing');
    if ((await statIfPresent(script)) === undefined) return skipped('the stemcell has no script for it');
    await runner.run([script], { signal, timeoutMs: 120_000 });
    return { outcome: 'unchanged' };
  },
};
