import { isJsonObject } from '@microbosh/errors';
import { flushDevice } from '../../disks/block-device.ts';
import type { DeviceResolver } from '../../disks/device-resolver.ts';
import { inspectDisk, isProvenEmpty } from '../../disks/disk-contents.ts';
import { DiskForeign } from '../../disks/errors.ts';
import { parseHint, isDiskHint } from '../../settings/settings-document.ts';
import { converge, skipped, type BootstrapStep, type Change } from '../step.ts';

/** Local disks that jobs use as they are: one partition over all of each, without a file system. */
export function rawEphemeralDisks(resolver: DeviceResolver): BootstrapStep {
  return {
    name: 'raw ephemeral disks',
    timeoutMs: 300_000,
    async run(context) {
      const { runner, signal, settings, linux } = context;
      const entries = settings.current().disks.raw_ephemeral ?? [];
      if (linux.SkipDiskSetup || entries.length === 0) return skipped('the settings name none');
      return converge(context, async () => {
        const changes: Change[] = [];
        for (const [index, entry] of entries.entries()) {
          const hint: unknown = isJsonObject(entry) ? parseHint(entry) : undefined;
          if (!isDiskHint(hint)) continue;
          const device = await resolver.resolve('', hint, signal);
          const contents = await inspectDisk(runner, device, signal);
          if (contents.table?.partitions.some((partition) => partition.name.startsWith('raw-ephemeral-')))
            continue;
          if (!isProvenEmpty(contents)) throw new DiskForeign(device.path, 'it is not empty');
          changes.push({
            what: `partition ${device.path} as raw-ephemeral-${index}`,
            apply: async () => {
              await runner.run(
                ['sfdisk', '--quiet', '--no-reread', '--no-tell-kernel', '--wipe', 'never', device.path],
                { signal, stdin: `label: gpt\ntype=linux, name="raw-ephemeral-${index}"\n` },
              );
              await flushDevice(device.path);
            },
          });
        }
        return changes;
      });
    },
  };
}
