import { NodeCommandRunner } from '@microbosh/host';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { machineSettings } from '../testing/machine-settings.ts';
import { TestMachine } from '../testing/test-machine.ts';

const runner = new NodeCommandRunner();
let machine: TestMachine;
/** Before each command; with KILLS=all also after it, and before each change of a file. */
const kills =
  process.env['KILLS'] === 'all' ? { stride: 1, timeoutMs: 3_600_000 } : { stride: 2, timeoutMs: 600_000 };

beforeEach(async () => {
  machine = await TestMachine.create();
});
afterEach(async () => {
  await machine.dispose();
});

async function digest(cid: string): Promise<string> {
  return (await runner.run(['sha256sum', join(machine.directory, `${cid}.img`)])).stdout;
}

it('a dynamic disk is a link to its device, which nothing formats or mounts, until it is removed', async () => {
  machine.configure(machineSettings([]));
  const device = await machine.attach('dyn', 16);
  const before = await digest('dyn');
  await machine.boot();

  const added = await machine.agent(['add-dynamic', 'dyn', '/dev/disk/by-id/microbosh-dyn']);
  const link = await machine.run('readlink -f /var/vcap/data/dynamic_disks/dyn');
  const removed = await machine.agent(['remove-dynamic', 'dyn']);
  const left = await machine.run('ls /var/vcap/data/dynamic_disks');
  const again = await machine.agent(['remove-dynamic', 'dyn']);
  const absent = await machine.agent(['add-dynamic', 'other', '/dev/disk/by-id/microbosh-other']);

  expect(added).toMatchObject({ ok: true });
  expect(link).toBe(`${device}\n`);
  expect(removed).toMatchObject({ ok: true });
  expect(left).toBe('');
  expect(again).toMatchObject({ ok: true });
  expect(absent).toMatchObject({ ok: false, code: 'E_DISK_NOT_FOUND' });
  expect(await digest('dyn')).toBe(before);
});

describe('a persistent disk', () => {
  it('keeps its data when it is attached again on a fresh loop device and after a boot', async () => {
    machine.configure(machineSettings(['a']));
    await machine.attach('a', 64);
    await machine.boot();
    const first = await machine.agent(['mount', 'a']);
    await machine.run('echo precious > /var/vcap/store/file; sync');
    await machine.powerOff();
    await machine.detach('a');
    await machine.attach('decoy', 16);
    await machine.reattach('a');
    await machine.boot();

    const second = await machine.agent(['mount', 'a']);

    expect(first).toMatchObject({ ok: true });
    expect(second).toMatchObject({ ok: true });
    expect(await machine.run('cat /var/vcap/store/file')).toBe('precious\n');
  });

  it('takes up the space that its disk has gained, with its data', async () => {
    machine.configure(machineSettings(['a']));
    await machine.attach('a', 128);
    await machine.boot();
    await machine.agent(['mount', 'a']);
    await machine.run('echo precious > /var/vcap/store/file; umount /var/vcap/store');
    await machine.powerOff();
    await machine.detach('a');
    await machine.attach('a', 512);
    await machine.boot();

    const grown = await machine.agent(['mount', 'a']);

    expect(grown).toMatchObject({ ok: true });
    expect(Number(await machine.run('echo $(($(stat -f -c "%b*%S" /var/vcap/store)))'))).toBeGreaterThan(
      400 * 2 ** 20,
    );
    expect(await machine.run('cat /var/vcap/store/file')).toBe('precious\n');
  });

  const foreign: readonly (readonly [string, string])[] = [
    ['an ext4 file system without a partition table', 'mke2fs -q -t ext4 $D'],
    ['XFS without a partition table', 'mkfs.xfs -q $D'],
    ['swap', 'mkswap -q $D'],
    [
      'one partition that nobody has formatted',
      'printf "label: dos\\ntype=83\\n" | sfdisk -q --no-reread --no-tell-kernel $D',
    ],
    ['two partitions', 'printf "label: gpt\\nsize=10MiB\\n\\n" | sfdisk -q --no-reread --no-tell-kernel $D'],
    ['an empty partition table', 'printf "label: gpt\\n" | sfdisk -q --no-reread --no-tell-kernel $D'],
    [
      'one partition with something else in it',
      'printf "label: gpt\\nname=bosh-partition-0\\n" | sfdisk -q --no-reread --no-tell-kernel $D; O=$(losetup -f --show -o 1048576 $D); mkswap -q $O; losetup -d $O',
    ],
  ];
  it.each(foreign)('is refused and not changed when it holds %s', async (_, prepare) => {
    machine.configure(machineSettings(['a']));
    const device = await machine.attach('a', 320);
    await runner.run(['bash', '-c', `set -e; D=${device}; ${prepare}; sync`]);
    const before = await digest('a');
    await machine.boot();

    const result = await machine.agent(['mount', 'a']);

    expect(result).toMatchObject({ ok: false, code: 'E_DISK_FOREIGN' });
    expect(await digest('a')).toBe(before);
  });

  it(
    'is formatted once and keeps its data, wherever the agent was killed while it prepared the disk',
    async () => {
      let killAt = 0;
      for (let isOver = false; !isOver;) {
        const cids = Array.from({ length: 24 }, (_, index) => `d${killAt + index * kills.stride}`);
        machine.configure(machineSettings(cids));
        for (const cid of cids) await machine.attach(cid, 16);
        await machine.boot();
        for (const cid of cids) {
          const killed = await machine.agent(['mount', cid], killAt);
          const again = await machine.agent(['mount', cid]);
          await machine.run('echo precious > /var/vcap/store/file; umount /var/vcap/store');
          const third = await machine.agent(['mount', cid]);
          const content = await machine.run('cat /var/vcap/store/file; umount /var/vcap/store');

          expect([killAt, again, third, content]).toMatchObject([
            killAt,
            { ok: true },
            { ok: true },
            'precious\n',
          ]);
          isOver = killed !== undefined;
          if (isOver) break;
          killAt += kills.stride;
          expect(killAt).toBeLessThan(400);
        }
        await machine.powerOff();
        for (const cid of cids) await machine.detach(cid);
      }
      if (kills.stride === 1) console.log(`mount: killed at ${killAt} steps`);
    },
    kills.timeoutMs,
  );

  it('is not formatted again when the mark of formatting is left beside a file system that was in use', async () => {
    machine.configure(machineSettings(['a']));
    const device = await machine.attach('a', 64);
    await machine.boot();
    await machine.agent(['mount', 'a']);
    await machine.run('echo precious > /var/vcap/store/file; umount /var/vcap/store');
    await runner.run([
      'sfdisk',
      '-q',
      '--no-reread',
      '--no-tell-kernel',
      '--part-label',
      device,
      '1',
      'bosh-formatting-0',
    ]);

    const result = await machine.agent(['mount', 'a']);

    expect(result).toMatchObject({ ok: true });
    expect(await machine.run('cat /var/vcap/store/file')).toBe('precious\n');
  });
});

describe('a migration', () => {
  const fill =
    'cd /var/vcap/store; mkdir -p d/e; echo precious > d/file; ln -f d/file d/hard; ln -sf file d/soft; chown -R 123:45 d; chmod 2750 d; truncate -s 1M d/sparse; cd /';
  const look =
    'cd /var/vcap/store; cat d/hard; stat -c "%a %u %g" d; stat -c %h d/file; readlink d/soft; cd /';
  const seen = 'precious\n2750 123 45\n2\nfile\n';

  it('is refused when no disk is mounted as its target', async () => {
    machine.configure(machineSettings(['a', 'b']));
    await machine.attach('a', 32);
    await machine.attach('b', 32);
    await machine.boot();
    await machine.agent(['mount', 'a']);
    await machine.run(`${fill}; mkdir -p /var/vcap/store_migration_target`);

    const result = await machine.agent(['migrate', 'a', 'b']);

    expect(result).toMatchObject({ ok: false, code: 'E_DISK_MIGRATION' });
    expect(await machine.run(look)).toBe(seen);
  });

  it('is refused when the target is too small, and the old disk stays writable', async () => {
    machine.configure(machineSettings(['a', 'b']));
    await machine.attach('a', 128);
    await machine.attach('b', 24);
    await machine.boot();
    await machine.agent(['mount', 'a']);
    await machine.run(`${fill}; dd if=/dev/urandom of=/var/vcap/store/big bs=1M count=60 status=none`);
    await machine.agent(['mount', 'b']);

    const result = await machine.agent(['migrate', 'a', 'b']);

    expect(result).toMatchObject({ ok: false, code: 'E_DISK_MIGRATION' });
    expect(await machine.run(`touch /var/vcap/store/more; ${look}`)).toBe(seen);
  });

  it(
    'never loses data and ends on one disk, wherever the agent was killed',
    async () => {
      machine.configure(machineSettings(['a', 'b']));
      await machine.attach('a', 32);
      await machine.attach('b', 40);
      await machine.boot();
      let [from, to] = ['a', 'b'];
      await machine.agent(['mount', from]);
      await machine.run(fill);
      for (let killAt = 0; ; killAt += kills.stride) {
        expect(await machine.agent(['mount', to])).toMatchObject({ ok: true });
        await machine.run('find /var/vcap/store_migration_target -mindepth 1 -delete');
        // As from an agent that died while it wrote its mark.
        await machine.run(
          'touch /var/vcap/store_migration_target/..microbosh-unfinished-copy.json.0123456789ab.tmp',
        );
        const killed = await machine.agent(['migrate', from, to], killAt);
        await machine.powerOff();
        await machine.boot();
        const restart = await machine.agent(['bootstrap']);
        const after = await machine.run(look);
        const current = (await machine.run('cat /var/vcap/bosh/managed_disk_settings.json')).trim();
        if (current === from) {
          await machine.agent(['mount', to]);
          const finished = await machine.agent(['migrate', from, to]);
          expect([killAt, finished]).toMatchObject([killAt, { ok: true }]);
        }
        const end = await machine.run(
          `touch /var/vcap/store/writable; ls -A /var/vcap/store | grep -v lost; ${look}`,
        );

        expect([killAt, restart?.ok, after, end]).toEqual([killAt, true, seen, `d\nwritable\n${seen}`]);
        [from, to] = [to, from];
        if (killed !== undefined) {
          if (kills.stride === 1) console.log(`migrate: killed at ${killAt} steps`);
          break;
        }
        expect(killAt).toBeLessThan(400);
      }
    },
    kills.timeoutMs,
  );
});
