import { readFile } from 'node:fs/promises';
import { hostsTemplate, mergeHosts } from '../../platform/hosts-file.ts';
import { readTextIfPresent } from '../../platform/files.ts';
import { wantFile } from '../../platform/wanted-files.ts';
import { converge, type BootstrapStep } from '../step.ts';

export const hostname: BootstrapStep = {
  name: 'hostname',
  timeoutMs: 10_000,
  async run(context) {
    const { agent_id: id } = context.settings.current();
    return converge(context, async () => {
      const kernelName = (await readFile('/proc/sys/kernel/hostname', 'utf8')).trim();
      const hosts = (await readTextIfPresent('/etc/hosts')) ?? '';
      return [
        ...(kernelName === id
          ? []
          : [
              {
                what: `set the host name to ${id}`,
                apply: async () => {
                  await context.runner.run(['hostname', id], { signal: context.signal });
                },
              },
            ]),
        ...(await wantFile('/etc/hostname', id, { mode: 0o644 })),
        ...(await wantFile('/etc/hosts', mergeHosts(hosts, hostsTemplate(id)), { mode: 0o644 })),
      ];
    });
  },
};
