import { expect, it } from 'vitest';
import { eventually } from '../../support/eventually.ts';
import { describeQemuJourney, settings } from '../../support/qemu-journey.ts';

/** Script that tells count, bytes and checksum of the files on the persistent disk. */
const summary = `
  cd /var/vcap/store/journey
  echo "$(find . -type f | wc -l) files, $(find . -type f -printf '%s\\n' | awk '{ n += $1 } END { print n }') bytes, \
$(find . -type f | sort | xargs sha256sum | sha256sum | cut -d" " -f1)"`;

describeQemuJourney((here) => {
  let data: string;

  it('is made anew by the same deploy when QEMU was killed, with its data', async () => {
    const { example, machine } = here();
    data = await machine.run(`
      mkdir /var/vcap/store/journey && cd /var/vcap/store/journey
      head -c 4000000 /dev/urandom | split -a 3 -b 20011 - part-
      sync -f . && ${summary}`);
    expect(data).toMatch(/^200 files, 4000000 bytes, [0-9a-f]{64}$/);
    const cid = await machine.cid();
    process.kill(await machine.pid(), 'SIGKILL');
    await eventually(async () => expect(await example.cpi('has_vm', [cid], 'qemu')).toBe(false));

    const { exitCode, output } = await example.startCreate().finished;

    expect([exitCode, output]).toMatchObject([0, expect.stringContaining('Succeeded')]);
    expect(await machine.cid()).not.toBe(cid);
    expect(await example.getSettings('vm-1')).toBe(settings);
    expect(await machine.run(summary)).toBe(data);
  });

  it('has its data on a larger disk when the manifest asks for one', async () => {
    const { example, machine } = here();
    const { current_disk_id: disk } = await example.state();
    await example.edit((text) => text.replace('disk_size: 512', 'disk_size: 768'));

    const { exitCode, output } = await example.startCreate().finished;

    expect([exitCode, output]).toMatchObject([0, expect.stringContaining('Migrating disk content')]);
    expect((await example.state()).current_disk_id).not.toBe(disk);
    expect(await example.getSettings('vm-1')).toBe(settings);
    expect(await machine.run(`${summary}; df -BM --output=size /var/vcap/store | tail -1`)).toMatch(
      new RegExp(`^${data}\n +7\\d\\dM$`),
    );
  });
});
