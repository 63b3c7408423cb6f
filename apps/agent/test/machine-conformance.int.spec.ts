import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { machineSettings } from '../src/testing/machine-settings.ts';
import { testCertificate } from '../src/testing/test-agent.ts';
import { insideMachine, TestMachine } from '../src/testing/test-machine.ts';

const root = insideMachine(join(import.meta.dirname, '../../..', 'package.json')).replace(
  /\/package\.json$/,
  '',
);
const node = insideMachine(process.execPath);
let machine: TestMachine;

beforeEach(async () => {
  machine = await TestMachine.create();
});
afterEach(async () => machine.dispose());

/** The agent as a program on a machine with users, disks and host names of its own; the suite runs beside it. */
it('the agent on a real machine passes the conformance suite, and the machine shows the effects', async () => {
  const settings = machineSettings(['a', 'b']) as { env: { bosh: object } };
  mkdirSync(join(machine.directory, 'vcap/bosh/log'));
  const cert = testCertificate(join(machine.directory, 'vcap/bosh'));
  const bootSettings = { ...settings, env: { bosh: { ...settings.env.bosh, mbus: { cert } } } };
  machine.configure(bootSettings);
  await machine.attach('a', 64);
  await machine.attach('b', 96);
  await machine.boot();
  await machine.run(
    'mkdir -p /etc/ssh && echo "ssh-rsa AAAA host" > /etc/ssh/ssh_host_rsa_key.pub; groupadd bosh_sshers',
  );
  // What powers a machine off is not there; what it is asked is.
  await machine.run(
    `mkdir -p /run/bin /etc/udev/rules.d && printf '#!/bin/sh\\necho "$@" >> /run/shutdown\\n' > /run/bin/shutdown && chmod 755 /run/bin/shutdown`,
  );
  // Something starts the agent again when it ends, as a service manager does.
  const agent = `${node} ${root}/apps/agent/src/main.ts -P ubuntu -M builtin -C /var/vcap/bosh/agent.json`;
  await machine.run(
    `cd /var/vcap/bosh; printf '#!/bin/sh\\nwhile :; do ${agent}; sleep 0.2; done\\n' > /run/bin/keep; PATH=/run/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin setsid sh /run/bin/keep > log/current 2>&1 < /dev/null & for i in $(seq 300); do curl -sk https://127.0.0.1:6868/ > /dev/null && exit 0; sleep 0.1; done; cat log/current; exit 1`,
  );

  const mbus = 'https://mbus:secret@127.0.0.1:6868';
  // In the background: a busy machine may take longer than one command of the test machine.
  await machine.run(
    `(${node} ${root}/libs/agent-protocol/src/conformance/main.ts --mbus ${mbus} --ca /var/vcap/bosh/agent.crt --require-all --destructive --restarts --power-off --disks a=/dev/disk/by-id/microbosh-a,b --json > /var/vcap/report.tmp; mv /var/vcap/report.tmp /var/vcap/report.json) > /dev/null 2>&1 < /dev/null &`,
  );
  const report = join(machine.directory, 'vcap/report.json');
  await expect.poll(() => existsSync(report), { timeout: 300_000, interval: 500 }).toBe(true);

  const output = readFileSync(report, 'utf8');
  const { results, counts } = JSON.parse(output) as {
    results: { method: string; title: string; verdict: string }[];
    counts: { ok: number };
  };
  expect(results.filter(({ verdict }) => verdict !== 'ok')).toEqual([]);
  expect(counts.ok).toBeGreaterThan(150);
  expect(await machine.run('grep -c "^192.0.2.7 conformance.test$" /etc/hosts')).toBe('1\n');
  expect(await machine.run('stat -c "%a %G" /var/vcap/instance/dns/records.json')).toBe('640 vcap\n');
  expect(await machine.run('grep -c ^bosh_ /etc/passwd || true')).toBe('0\n');
  expect(await machine.run('ls /var/vcap/bosh_ssh')).toBe('');
  expect(await machine.run('cat /run/shutdown')).toBe('-P 0\n');

  // The way in which networks of a machine are changed: forget, then start with fresh settings.
  const rules = '/etc/udev/rules.d/70-persistent-net.rules';
  const ask = async (method: string, ...args: string[]) => {
    const request = JSON.stringify({ method, arguments: args, reply_to: 'x' });
    const answer = await machine.run(`curl -sk ${mbus}/agent -d '${request}' || true`);
    return (answer === '' ? {} : (JSON.parse(answer) as { value: unknown })).value;
  };
  const nameOf = async () => ((await ask('get_state')) as { vm: { name: string } } | undefined)?.vm.name;
  await machine.run(`touch ${rules}`);
  expect(await nameOf()).toBe('');
  expect(await ask('prepare_configure_networks')).toBe('ok');
  expect(await machine.run(`ls ${rules} /var/vcap/bosh/settings.json 2> /dev/null || true`)).toBe('');
  machine.configure({ ...bootSettings, vm: { name: 'fresh' } });
  expect(await nameOf()).toBe('');
  const { agent_task_id: id } = (await ask('configure_networks')) as { agent_task_id: string };
  await expect.poll(nameOf, { timeout: 60_000, interval: 200 }).toBe('fresh');
  expect(await ask('get_task', id)).toBe('ok');
}, 400_000);
