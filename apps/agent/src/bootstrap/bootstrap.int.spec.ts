import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BootstrapReport } from '@microbosh/agent-protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { machineSettings } from '../testing/machine-settings.ts';
import { TestMachine } from '../testing/test-machine.ts';

let machine: TestMachine;

beforeEach(async () => {
  machine = await TestMachine.create();
  machine.configure(machineSettings(['a'], { ephemeral: true }));
  await machine.attach('eph', 96);
  await machine.attach('a', 48);
  await machine.boot();
});
afterEach(async () => {
  await machine.dispose();
});

function report(): BootstrapReport {
  return JSON.parse(
    readFileSync(join(machine.directory, 'vcap/bosh/bootstrap-report.json'), 'utf8'),
  ) as BootstrapReport;
}

describe('the bootstrap', () => {
  it('makes the machine what its settings say, and finds nothing to do the second time', async () => {
    const first = await machine.agent(['bootstrap']);
    const facts = await machine.run(
      [
        'hostname',
        'head -1 /etc/hosts',
        'grep ^root: /etc/shadow | cut -d: -f2',
        'grep ^vcap: /etc/shadow | cut -d: -f2',
        'cat /home/vcap/.ssh/authorized_keys',
        'stat -c "%a %U" /home/vcap/.ssh/authorized_keys',
        'grep nameserver /etc/resolv.conf | head -1',
        'findmnt -no SOURCE,OPTIONS /tmp | grep -o "root_tmp\\|noexec"',
        'stat -c %a /tmp /var/vcap/data/sys/log /var/vcap/monit/monit.user /var/vcap/bosh/settings.json /etc/cron.allow',
        'readlink /var/vcap/sys',
      ].join('; '),
    );
    const second = await machine.agent(['bootstrap']);

    expect(first).toMatchObject({ ok: true });
    expect(facts.split('\n').slice(0, -1)).toEqual([
      'agent-1',
      '127.0.0.1 agent-1 localhost',
      '$6$salt$hash',
      '$6$salt$hash',
      'ssh-ed25519 AAAA test',
      '600 vcap',
      'nameserver 10.77.0.1',
      'root_tmp',
      'noexec',
      '1777',
      '750',
      '600',
      '600',
      '640',
      '/var/vcap/data/sys',
    ]);
    expect(second).toMatchObject({ ok: true });
    expect(report().steps.filter((step) => step.outcome === 'done')).toEqual([]);
    expect(report().steps.find((step) => step.name === 'swap')).toMatchObject({
      outcome: 'skipped',
      reason: 'swap belongs to the host',
    });
  });

  it('keeps users other than root off the message bus, the metadata service and monit', async () => {
    await machine.agent(['bootstrap']);
    const listen =
      "python3 -c \"import socket,time\nfor p in (6868,2822,7000):\n s=socket.socket();s.setsockopt(1,2,1);s.bind(('127.0.0.1',p));s.listen();globals()['s%d'%p]=s\nprint('up',flush=True);time.sleep(20)\" >/run/up 2>&1 &\nwhile ! grep -q up /run/up; do sleep 0.05; done;";
    const reach = (uid: number, port: number) =>
      `timeout 1 setpriv --reuid ${uid} --regid ${uid} --clear-groups bash -c 'exec 3<>/dev/tcp/127.0.0.1/${port}' 2>/dev/null && echo yes || echo no`;

    const seen = await machine.run(
      [
        listen,
        reach(0, 6868),
        reach(0, 2822),
        reach(21000, 7000),
        reach(21000, 6868),
        reach(21000, 2822),
        'nft list table inet bosh_agent | grep -c 169.254.169.254',
        'kill %1',
      ].join('\n'),
    );

    expect(seen.trim().split('\n')).toEqual(['yes', 'yes', 'yes', 'no', 'no', '1']);
  });

  it('keeps them off every server of the message bus, also when their names mean other addresses later', async () => {
    const settings = machineSettings([]);
    const urls = ['nats://one.bus.test:4222', 'nats://[fd00::7]:4223', 'nats://10.9.9.1:4222'];
    machine.configure({ ...settings, mbus: 'nats://unused:1', env: { bosh: { mbus: { urls } } } });
    const rules = async (address: string) => {
      await machine.run(`sed -i /bus.test/d /etc/hosts; echo ${address} one.bus.test >> /etc/hosts`);
      expect(await machine.agent(['refresh-firewall'])).toMatchObject({ ok: true });
      const listing = await machine.run('nft list table inet bosh_agent');
      return [...listing.matchAll(/daddr (\S+) tcp dport (\d+) .*"message bus"/g)].map((match) =>
        match.slice(1),
      );
    };

    expect(await rules('10.9.9.1')).toEqual([
      ['10.9.9.1', '4222'],
      ['fd00::7', '4223'],
    ]);
    expect(await rules('10.9.9.2')).toEqual([
      ['10.9.9.2', '4222'],
      ['fd00::7', '4223'],
      ['10.9.9.1', '4222'],
    ]);
  });

  it('reports the step that failed and what to do, and succeeds when it is put right', async () => {
    machine.configure({ ...machineSettings(['a']), mbus: 'ftp://nobody' });
    const failed = await machine.agent(['bootstrap']);
    const failedReport = report();
    machine.configure(machineSettings(['a']));
    const second = await machine.agent(['bootstrap']);

    expect(failed).toMatchObject({ ok: false, code: 'E_BOOTSTRAP_FAILED' });
    expect(failedReport.steps.at(-1)).toMatchObject({ name: 'message bus', outcome: 'failed' });
    expect(second).toMatchObject({ ok: true });
  });

  it('starts from its cached settings when the source is gone', async () => {
    await machine.agent(['bootstrap']);
    await machine.run('rm /var/vcap/bosh/user-data.json');

    const result = await machine.agent(['bootstrap']);

    expect(result).toMatchObject({ ok: true });
    expect(await machine.run('stat -c %a /var/vcap/bosh/settings.json')).toBe('600\n');
  });

  it('comes up again after the power was cut at any of these moments, and formats no disk twice', async () => {
    await machine.agent(['mount', 'a']);
    await machine.run('echo precious > /var/vcap/store/file; sync');
    await machine.powerOff();
    // Every fourth command boundary of a first start: twelve cuts, through all steps.
    for (let killAt = 1; killAt < 49; killAt += 4) {
      await machine.boot();
      await machine.agent(['bootstrap'], killAt);
      await machine.powerOff();
    }
    await machine.boot();
    const finished = await machine.agent(['bootstrap']);

    expect(finished).toMatchObject({ ok: true });
    expect(await machine.run('cat /var/vcap/store/file')).toBe('precious\n');
    expect(await machine.run('findmnt -no TARGET /var/vcap/data')).toBe('/var/vcap/data\n');
  }, 400_000);
});
