import { describe, expect, it } from 'vitest';
import { parseShadow } from '../platform/accounts.ts';
import { hostsTemplate, mergeHosts } from '../platform/hosts-file.ts';
import { parseMountInfo } from '../platform/mount-table.ts';
import { converge, type StepContext } from './step.ts';
import { parseRemovalList } from './steps/dev-tools.ts';

const context = {
  signal: new AbortController().signal,
  onChange: async () => undefined,
} as unknown as StepContext;

describe('a step', () => {
  it('is unchanged when its probe finds nothing', async () => {
    expect(await converge(context, async () => [])).toEqual({ outcome: 'unchanged' });
  });

  it('is done when a second probe finds nothing more', async () => {
    let state = 0;
    const probe = async () =>
      state < 2 ? [{ what: `change ${state}`, apply: async () => void (state += 1) }] : [];

    expect(await converge(context, probe)).toEqual({ outcome: 'done', changes: ['change 0', 'change 1'] });
  });

  it('fails when a change does not take effect', async () => {
    const probe = async () => [{ what: 'the impossible', apply: async () => undefined }];

    await expect(converge(context, probe)).rejects.toThrow('This did not take effect: the impossible.');
  });
});

describe('files of the machine', () => {
  it('keep the hosts that sync_dns has added, once', () => {
    const template = hostsTemplate('id-1');
    const merged = mergeHosts('127.0.0.1 old localhost\n::1 old\n10.0.0.1 db.internal\n', template);

    expect(merged.split('\n').slice(-2)).toEqual(['10.0.0.1 db.internal', '']);
    expect(mergeHosts(merged, template)).toBe(merged);
  });

  it('name the mounts of a device, spaces included', () => {
    expect(parseMountInfo('36 35 259:1 /d /mnt\\040x rw,nosuid shared:1 - ext4 /dev/loop0p1 rw\n')).toEqual([
      {
        device: '259:1',
        root: '/d',
        mountPoint: '/mnt x',
        options: ['rw', 'nosuid'],
        fsType: 'ext4',
        source: '/dev/loop0p1',
      },
    ]);
  });

  it('tell whether a password is set', () => {
    expect(parseShadow('root:*:1::::::\nvcap:$6$a:1\n').get('vcap')).toBe('$6$a');
  });

  it('list for removal only what is safe to remove', () => {
    expect(parseRemovalList('/usr/bin/gcc\n/\n/usr\nrelative/x\n/usr/../etc/x\n\n')).toEqual([
      '/usr/bin/gcc',
    ]);
  });
});
