import { isJsonObject } from '@microbosh/errors';
import { readFile, writeFile } from 'node:fs/promises';
import { isIPv6 } from 'node:net';
import { readTextIfPresent } from '../../platform/files.ts';
import { wantFile } from '../../platform/wanted-files.ts';
import { objectOf, valueOf } from '../../settings/json-keys.ts';
import { converge, skipped, type BootstrapStep, type Change } from '../step.ts';

const sysctlFile = '/etc/sysctl.d/60-bosh-sysctl.conf';

/** Enables IPv6 where the deployment asks for it or has such an address. The boot loader is left alone: no reboot from here. */
export const ipv6: BootstrapStep = {
  name: 'ipv6',
  timeoutMs: 10_000,
  async run(context) {
    const { env, networks } = context.settings.current();
    const bosh = objectOf(isJsonObject(env) ? env : {}, 'bosh');
    const asked =
      objectOf(bosh, 'ipv6') !== undefined && valueOf(objectOf(bosh, 'ipv6') ?? {}, 'enable') === true;
    const needed = Object.values(networks).some((network) => isIPv6(network.ip ?? ''));
    if (!asked && !needed) return skipped('the deployment does not use it');
    if (context.linux.Container) return skipped('kernel settings belong to the host');
    return converge(context, async () => {
      const file = (await readTextIfPresent(sysctlFile)) ?? '';
      const enabled = file.replaceAll(/^(net\.ipv6\.conf\.(?:all|default)\.disable_ipv6)\s*=\s*1$/gm, '$1=0');
      const changes: Change[] =
        file === '' ? [] : [...(await wantFile(sysctlFile, enabled, { mode: 0o644 }))];
      for (const scope of ['all', 'default']) {
        for (const [key, value] of [
          ['accept_ra', '1'],
          ['disable_ipv6', '0'],
        ] as const) {
          const path = `/proc/sys/net/ipv6/conf/${scope}/${key}`;
          if ((await readFile(path, 'utf8')).trim() === value) continue;
          changes.push({ what: `set ${path} to ${value}`, apply: () => writeFile(path, value) });
        }
      }
      return changes;
    });
  },
};
