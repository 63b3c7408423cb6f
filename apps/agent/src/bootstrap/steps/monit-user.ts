import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { readTextIfPresent } from '../../platform/files.ts';
import { wantDirectory, wantFile, wantOwnership } from '../../platform/wanted-files.ts';
import { converge, type BootstrapStep } from '../step.ts';

/** `user:password` for monit's own interface: made once per machine, unlike the constant of the Go agent. */
export const monitUser: BootstrapStep = {
  name: 'monit user',
  timeoutMs: 10_000,
  async run(context) {
    const { paths } = context;
    const file = join(paths.monit, 'monit.user');
    const mode = { mode: 0o600 };
    return converge(context, async () => {
      const held = await readTextIfPresent(file);
      const valid = held !== undefined && /^[^:\n]+:[^\n]{8,}\n?$/.test(held);
      return [
        ...(await wantDirectory(paths.monit, { mode: 0o700 })),
        ...(valid
          ? await wantOwnership(file, mode)
          : await wantFile(file, `vcap:${randomBytes(8).toString('hex')}`, mode)),
      ];
    });
  },
};
