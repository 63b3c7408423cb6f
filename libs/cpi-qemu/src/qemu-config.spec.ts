import { describe, expect, it } from 'vitest';
import type { JsonObject } from '@microbosh/errors';
import { readQemuConfig, readVmProperties } from './qemu-config.ts';

function configured(qemu: JsonObject, isRoot = true) {
  return readQemuConfig({ cloud: { plugin: 'qemu', properties: { qemu } } }, isRoot);
}

describe('readQemuConfig', () => {
  it('bridges as root, and forwards ports otherwise', () => {
    expect(configured({}).networkMode).toBe('bridge');
    expect(configured({}, false).networkMode).toBe('user');
    expect(configured({ network: 'user' }).networkMode).toBe('user');
  });

  it.each([
    [{ rootdir: '/x' }, /Unknown key 'cloud.properties.qemu.rootdir'/],
    [{ root_dir: 'x' }, /absolute path/],
    [{ root_dir: `/${'x'.repeat(65)}` }, /longer than 65 bytes/],
    [{ network: 'macvtap' }, /must be one of bridge, user/],
    [{ accelerator: true }, /must be one of auto, kvm, tcg/],
  ])('refuses %j', (qemu, problem) => {
    expect(() => configured(qemu)).toThrow(problem);
  });
});

describe('readVmProperties', () => {
  it('has a default for every key', () => {
    expect(readVmProperties({})).toEqual({
      cpus: 1,
      memoryMiB: 1024,
      rootDiskMiB: 10_240,
      ephemeralDiskMiB: 0,
      ports: [],
    });
  });

  it('reads ports in three forms', () => {
    const { ports } = readVmProperties({ ports: [6868, '8443:443', '0.0.0.0:25:2525'] });

    expect(ports).toEqual([
      { hostAddress: '127.0.0.1', hostPort: 6868, guestPort: 6868 },
      { hostAddress: '127.0.0.1', hostPort: 8443, guestPort: 443 },
      { hostAddress: '0.0.0.0', hostPort: 25, guestPort: 2525 },
    ]);
  });

  it.each([
    [{ cpu: 0 }],
    [{ memory: '1G' }],
    [{ ephemeral_disk: 0.5 }],
    [{ ports: 'all' }],
    [{ ports: ['70000'] }],
    [{ ports: ['1:2:3'] }],
  ])('refuses %j', (properties) => {
    expect(() => readVmProperties(properties)).toThrow(/cloud_properties\./);
  });
});
