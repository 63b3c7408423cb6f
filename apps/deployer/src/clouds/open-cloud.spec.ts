import { describe, expect, it } from 'vitest';
import { checkCloud } from './open-cloud.ts';

const plugin = (name: string) => ({ kind: 'built-in', plugin: name, properties: {} }) as const;

describe('the plug-in of a cloud', () => {
  it.each(['local', 'qemu', 'openstack', 'aws', 'vsphere', 'vcloud'])('may be %s', async (name) => {
    await expect(checkCloud(plugin(name))).resolves.toBeUndefined();
  });

  it.each(['azure', 'Local', '', '../local', 'constructor'])(
    'is refused in the words of micro: %j',
    async (name) => {
      await expect(checkCloud(plugin(name))).rejects.toMatchObject({
        code: 'E_UNKNOWN_PROVIDER',
        message: `Could not find Provider Plugin: ${name}`,
        advice: 'There are: local, qemu, openstack, aws, vsphere, vcloud.',
      });
    },
  );
});
