import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { succeed } from './support/commands.ts';
import { eventually } from './support/eventually.ts';
import { Example } from './support/example.ts';
import { fullLocalStemcell } from './support/full-stemcell.ts';
import { hostSnapshot } from './support/host-snapshot.ts';
import type { HostSnapshot } from './support/host-snapshot.ts';
import { registryPackage } from './support/registry-package.ts';
import { VmView } from './support/vm-view.ts';

const settings = JSON.stringify({ agent_id: 'a-1', note: 'kept by systemd' });

/** Numbers between 0 and 1 that are the same at every run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Made anew by every formatting. */
async function fileSystemsOf(vm: VmView): Promise<readonly string[]> {
  const sources = ['/var/vcap/data', '/var/vcap/store'].map((target) => vm.mountSource(target) ?? '');
  return Promise.all(sources.map((source) => vm.run(`blkid -p -s UUID -o value ${source}`)));
}

/** Names of the steps of its bootstrap that this agent has begun. To the journal all boots of such a machine are one. */
async function stepsBegun(vm: VmView): Promise<{ readonly names: readonly string[]; readonly of: number }> {
  const said = await vm.run(
    'journalctl --no-pager -o cat _SYSTEMD_INVOCATION_ID=$(systemctl show --value -p InvocationID microbosh-agent)',
  );
  const begun = [...said.matchAll(/"step":"([^"]+)","number":\d+,"of":(\d+)/g)];
  return { names: begun.map(([, name]) => name ?? ''), of: Number(begun[0]?.[2] ?? Infinity) };
}

/**
 * Boots the machine, whose PID 1 was killed as `dead`, and cuts its power when the agent, which runs for a few milliseconds at
 * a time, has begun more than this share of the steps of its bootstrap. Answers its PID 1, and the step; no step when the
 * agent was faster and listens already.
 */
async function cutInBootstrap(example: Example, cid: string, dead: number, share: number): Promise<Cut> {
  const reboot = example.cpi('reboot_vm', [cid]);
  const { vm, agent } = await eventually(
    async () => {
      const vm = await VmView.of(example);
      if (vm.initPid === dead) throw new Error('not started yet');
      const agent = vm.pidOf('/microbosh-agent');
      process.kill(agent, 'SIGSTOP');
      return { vm, agent };
    },
    30_000,
    1,
  );
  const steps = await eventually(
    async () => {
      const { names, of } = await stepsBegun(vm);
      if (names.length > share * of) return names;
      process.kill(agent, 'SIGCONT');
      await sleep(8);
      process.kill(agent, 'SIGSTOP');
      throw new Error(`in step ${names.length} of ${of}`);
    },
    60_000,
    10,
  );
  const listens = (await vm.run('ss -ltnH "sport = :6868"')) !== '';
  process.kill(vm.initPid, 'SIGKILL');
  await reboot;
  return { pid: vm.initPid, step: listens ? undefined : steps.at(-1) };
}

interface Cut {
  readonly pid: number;
  readonly step: string | undefined;
}

describe('the example on a full stemcell of the local provider', () => {
  let example: Example;
  let before: HostSnapshot;

  beforeAll(async () => {
    const stemcell = await fullLocalStemcell();
    example = await Example.create('10.245.93');
    // A full stemcell has no Node.js for releases to use: the release brings its own.
    const release = join(example.directory, 'release.tgz');
    await succeed(['packaging/releases/microbosh-registry/build', '--with-runtime', '--file', release]);
    await example.edit((text) =>
      text
        .replace(/file:.*local-host-rootfs\.tgz/, `file://${stemcell}`)
        .replace(/file:.*microbosh-registry\.tgz/, `file://${release}`),
    );
    before = await hostSnapshot(example.localRoot);
    await example.create();
    await example.putSettings('vm-1', settings);
  });
  afterAll(async () => example.tearDown());

  it('boots systemd as PID 1, without a unit that failed', async () => {
    const vm = await VmView.of(example);

    expect(await vm.run('readlink /proc/1/exe')).toMatch(/\/systemd$/);
    expect(await vm.run('systemctl is-system-running --wait || true')).toBe('running');
    expect(await vm.run('systemctl --failed --plain --no-legend')).toBe('');
    const boot = await vm.run('systemd-analyze time');
    console.log(`full stemcell: ${boot.split('\n')[0]}`);
    expect(Number(/Startup finished in ([\d.]+)m?s/.exec(boot)?.[1])).toBeGreaterThan(0);
  });

  it('runs the agent as a unit of systemd, and the service on the persistent disk', async () => {
    const vm = await VmView.of(example);

    expect(await vm.run('systemctl is-active microbosh-agent.service')).toBe('active');
    expect(await vm.run('systemctl show --value -p NRestarts microbosh-agent.service')).toBe('0');
    expect(await vm.run('hostname; ip -4 -oneline address show dev eth0')).toContain(`${example.address}/24`);
    expect(vm.mountSource('/var/vcap/store')).toMatch(/^\/dev\/loop\d+p1$/);
    expect(await example.status()).toMatchObject({ status: 'running' });
    expect(await example.getSettings('vm-1')).toBe(settings);
  });

  it('lies over the stemcell, which its VMs share, and lacks what reaches the machine', async () => {
    const vm = await VmView.of(example);

    expect(await vm.run('findmnt --noheadings --output FSTYPE /')).toBe('overlay');
    const status = await vm.run('cat /proc/1/status');
    const bounding = BigInt(`0x${/CapBnd:\s*([0-9a-f]+)/.exec(status)?.[1] ?? 'f'}`);
    // CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_BOOT, CAP_SYS_TIME, CAP_SYSLOG
    for (const bit of [16n, 17n, 22n, 25n, 34n]) expect((bounding >> bit) & 1n).toBe(0n);
    expect(await vm.run('touch /proc/sys/kernel/hostname /sys/x 2>/dev/null || echo refused')).toBe(
      'refused',
    );
  });

  it('runs the package of the registry as its unit says, answers, drains on stop, and lets go of it', async () => {
    const vm = await VmView.of(example);
    const inside = (path: string) => `/proc/${vm.initPid}/root${path}`;
    const curl = (script: string) =>
      succeed(['nsenter', `--target=${vm.initPid}`, '--net', 'sh', '-euc', script], { timeoutMs: 20_000 });
    const url = 'http://127.0.0.1:25999';
    await copyFile(await registryPackage(), inside('/var/tmp/registry.deb'));
    await vm.run('dpkg --install /var/tmp/registry.deb && rm /var/tmp/registry.deb');
    await writeFile(
      inside('/etc/microbosh-registry/registry.yml'),
      JSON.stringify({
        http: { address: '127.0.0.1', port: 25_999, user: 'admin', password: 's3cret' },
        db: { adapter: 'sqlite', database: '/var/lib/microbosh-registry/registry.db' },
      }),
    );

    await vm.run('systemctl start microbosh-registry');

    await eventually(
      async () => expect((await curl(`curl -sf ${url}/readyz`)).stdout).toContain('ok'),
      10_000,
    );
    expect(
      await vm.run('systemctl is-active microbosh-registry; systemctl is-enabled microbosh-registry'),
    ).toBe('active\nenabled');
    const pid = await vm.run('systemctl show --value -p MainPID microbosh-registry');
    const status = await vm.run(`cat /proc/${pid}/status`);
    expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
    expect(status).toMatch(/^CapBnd:\s+0+$/m);
    expect(status).toMatch(/^Seccomp:\s+2$/m);
    expect(await vm.run("stat -c '%a %U' /var/lib/microbosh-registry/registry.db.key")).toBe(
      '600 microbosh-registry',
    );
    // The body is half way when the stop comes.
    const [slow] = await Promise.all([
      curl(
        `(printf '{"a":'; sleep 1.5; printf 1}) | curl -sf -u admin:s3cret -T - ${url}/instances/vm-1/settings`,
      ),
      sleep(700).then(() => vm.run('systemctl stop microbosh-registry')),
    ]);
    expect(slow.stdout).toContain('"status":"ok"');
    const ended = await vm.run('systemctl show -p Result -p ExecMainStatus microbosh-registry');
    expect(ended.split('\n').sort()).toEqual(['ExecMainStatus=0', 'Result=success']);
    await vm.run('dpkg --purge microbosh-registry && rm -r /var/lib/microbosh-registry');
    expect(
      await vm.run(
        'systemctl --failed --plain --no-legend; ls /etc/systemd/system/*/microbosh-reg* 2>&1 | head -1',
      ),
    ).toMatch(/^ls: /);
  });

  it('comes up again after a reboot with its own changes and its data', async () => {
    const vm = await VmView.of(example);
    await vm.run('echo mine > /usr/local/mine');

    await example.cpi('reboot_vm', [vm.cid]);

    await eventually(async () => expect(await example.getSettings('vm-1')).toBe(settings), 60_000);
    const again = await VmView.of(example);
    expect(again.initPid).not.toBe(vm.initPid);
    expect(await again.run('cat /usr/local/mine; systemctl is-system-running --wait || true')).toBe(
      'mine\nrunning',
    );
  });

  it('has monit under systemd for its jobs, which mails the agent', async () => {
    const vm = await VmView.of(example);

    expect(
      await vm.run(
        "tr '\\0' ' ' </proc/$(systemctl show --value -p MainPID microbosh-agent)/cmdline | grep -o -- '-M monit'; systemctl is-active monit",
      ),
    ).toBe('-M monit\nactive');
    const ports = await vm.run('ss -ltnH "sport = :2822 or sport = :2825" | wc -l');
    expect(ports).toBe('2');
    expect(
      await vm.run(
        "cd /var/vcap/monit && stat -c '%n %a %U' monit.user mail.user alerts.monitrc; cut -d: -f1 monit.user",
      ),
    ).toBe('monit.user 600 root\nmail.user 600 root\nalerts.monitrc 600 root\nvcap');
    // Jobs have no credentials, and their users are kept from the port.
    const status = (user: string) =>
      vm.run(
        `runuser -u ${user} -- curl -s -m 2 -o /dev/null -w '%{http_code}' -u "$(cat /var/vcap/monit/monit.user)" 'http://127.0.0.1:2822/_status2?format=xml' || true`,
      );
    expect([await status('root'), await status('vcap')]).toEqual(['200', '000']);
  });

  it('reports how long each step of its bootstrap took', async () => {
    const { stdout } = await succeed(example.command('agent', 'bootstrap-report'), { env: example.env });

    expect(stdout).toMatch(/^ +\d+\.\d ms {2}networking +\w+/m);
    expect(stdout).toMatch(/^ +\d+\.\d ms {2}swap +skipped: swap belongs to the host$/m);
    const inside = await (await VmView.of(example)).run('microbosh-agent bootstrap-report');
    expect(inside).toBe(stdout.trimEnd());
  });

  it('comes up although its power is cut ten times in the middle of its bootstrap, and formats no disk again', async () => {
    const before = await VmView.of(example);
    const fileSystems = await fileSystemsOf(before);
    const random = seeded(4);
    const steps: string[] = [];

    let dead = before.initPid;
    process.kill(dead, 'SIGKILL');
    for (let boot = 0; boot < 20 && steps.length < 10; boot += 1) {
      const { pid, step } = await cutInBootstrap(example, before.cid, dead, random());
      dead = pid;
      if (step !== undefined) steps.push(step);
    }
    await example.cpi('reboot_vm', [before.cid]);

    console.log(`power cut in the steps: ${steps.join(', ')}`);
    expect(steps).toHaveLength(10);
    expect(new Set(steps).size).toBeGreaterThan(3);
    await eventually(async () => expect(await example.getSettings('vm-1')).toBe(settings), 60_000);
    const after = await VmView.of(example);
    expect(await fileSystemsOf(after)).toEqual(fileSystems);
    expect(await after.run('cat /usr/local/mine; systemctl is-system-running --wait || true')).toBe(
      'mine\nrunning',
    );
  }, 240_000);

  it('leaves nothing on the machine when it is deleted', async () => {
    await example.delete();

    await eventually(async () => expect(await hostSnapshot(example.localRoot)).toEqual(before));
  });
});
