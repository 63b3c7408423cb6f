import { createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { succeed } from '../../support/commands.ts';
import { eventually } from '../../support/eventually.ts';
import { Example } from '../../support/example.ts';
import { qemuStemcell } from '../../support/full-stemcell.ts';
import { hostSnapshot } from '../../support/host-snapshot.ts';
import type { HostSnapshot } from '../../support/host-snapshot.ts';
import { QemuView } from '../../support/qemu-example.ts';

const settings = JSON.stringify({ agent_id: 'a-1', note: 'kept on a real disk' });
/** Seconds after the start, or after the cut before: kernel and agent's start, the agent's work on the disks. */
const cuts = [9, 14, 19];
const minutes = 60_000;

describe('the example on a machine of QEMU', { timeout: 15 * minutes }, () => {
  let example: Example;
  let machine: QemuView;
  let before: HostSnapshot;

  beforeAll(async () => {
    const stemcell = await qemuStemcell();
    example = await Example.create('10.245.94');
    const release = join(example.directory, 'release.tgz');
    await succeed(['packaging/releases/microbosh-registry/build', '--with-runtime', '--file', release]);
    machine = await QemuView.prepare(example, stemcell, release);
    before = await hostSnapshot(example.localRoot);
  }, 10 * minutes);
  afterAll(async () => example.tearDown(), 3 * minutes);

  it('comes up although its power is cut three times while it boots', async () => {
    const deploy = example.startCreate();
    await deploy.printed('to be ready');

    for (const seconds of cuts) await machine.cutPowerAfter(seconds);

    const { exitCode, output } = await deploy.finished;
    expect([exitCode, output]).toMatchObject([0, expect.stringContaining('Succeeded')]);
    await example.putSettings('vm-1', settings);
    expect(await example.status()).toMatchObject({ status: 'running' });
  });

  it('is inside what its settings say', async () => {
    const seen = await machine.run(`
      set -u
      hostname; ip -4 -oneline address show scope global; ip -4 route show default; cat /etc/resolv.conf
      systemctl is-system-running --wait || systemctl --failed --plain --no-legend
      echo "swap $(tail -n +2 /proc/swaps | wc -l)"
      for each in /var/vcap/data /var/vcap/store /tmp /var/tmp; do
        echo "mount $(findmnt -n -o TARGET,SOURCE,OPTIONS $each)"
      done
      stat -c 'mode %n %a %U:%G' /tmp /var/vcap/data/tmp /etc/cron.allow /var/vcap/store
      echo "bus root $(curl -ks -m 10 -o /dev/null -w %{http_code} https://127.0.0.1:6868/agent)"
      echo "bus vcap $(runuser -u vcap -- curl -ks -m 3 -o /dev/null -w %{http_code} https://127.0.0.1:6868/agent)"
      nft list ruleset
      getent shadow vcap | cut -d: -f2
      journalctl -u microbosh-agent -o cat --no-pager | grep -c "Bootstrap step finished" || true
    `);

    const { current_vm_cid: cid } = await example.state();
    expect(cid).toBe(await machine.cid());
    const lines = seen.split('\n');
    expect(seen).toContain(`${example.address}/24`);
    expect(seen).toContain(`default via ${example.subnet}.1`);
    expect(lines).toContain('running');
    expect(lines).toContain('swap 1');
    expect(seen).toMatch(/^mount \/var\/vcap\/data +\/dev\/vda3 /m);
    expect(seen).toMatch(/^mount \/var\/vcap\/store +\/dev\/vd[a-z]1 /m);
    expect(seen).toMatch(/^mount \/tmp +\/dev\/vda3\[\/root_tmp\].*nosuid.*nodev.*noexec/m);
    expect(lines).toContain('mode /tmp 1777 root:vcap');
    expect(lines).toContain('mode /etc/cron.allow 640 root:vcap');
    expect(lines).toContain('bus root 401');
    expect(lines).toContain('bus vcap 000');
    expect(seen).toContain('ip daddr 169.254.169.254 drop');
    expect(seen).toMatch(/ip daddr [0-9.]+ tcp dport \d+ drop comment "registry"/);
  });

  it('keeps its users off the registry', async () => {
    const port = Number(
      /tcp dport (\d+) drop comment "registry"/.exec(await machine.run('nft list ruleset'))?.[1],
    );
    const server = createServer((socket) => socket.end('hello'));
    server.listen(port, `${example.subnet}.1`);
    await once(server, 'listening');
    try {
      const url = `telnet://${example.subnet}.1:${port}`;
      const seen = await machine.run(
        `curl -s -m 10 ${url}; echo; runuser -u vcap -- curl -s -m 3 ${url} || echo refused`,
      );
      expect(seen).toBe('hello\nrefused');
    } finally {
      server.close();
    }
  });

  it('keeps its data on a larger disk', async () => {
    await example.edit((text) => text.replace('disk_size: 512', 'disk_size: 768'));

    const deploy = example.startCreate();
    const { exitCode, output } = await deploy.finished;

    expect([exitCode, output]).toMatchObject([0, expect.stringContaining('Migrating disk content')]);
    expect(await example.getSettings('vm-1')).toBe(settings);
  });

  it('is made anew when QEMU was killed, with its data', async () => {
    const cid = await machine.cid();
    process.kill(await machine.pid(), 'SIGKILL');

    const { exitCode, output } = await example.startCreate('--recreate').finished;

    expect([exitCode, output]).toMatchObject([0, expect.stringContaining('Succeeded')]);
    expect(await machine.cid()).not.toBe(cid);
    expect(await example.getSettings('vm-1')).toBe(settings);
  });

  it('leaves nothing on this machine when it is deleted', async () => {
    await example.delete();

    await eventually(async () => expect(await hostSnapshot(example.localRoot)).toEqual(before));
  });
});
