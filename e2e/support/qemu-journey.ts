import { createServer } from 'node:http';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { succeed } from './commands.ts';
import { eventually } from './eventually.ts';
import { Example } from './example.ts';
import { qemuStemcell } from './full-stemcell.ts';
import { hostSnapshot } from './host-snapshot.ts';
import type { HostSnapshot } from './host-snapshot.ts';
import { hash, key, QemuView } from './qemu-example.ts';

export const settings = JSON.stringify({ agent_id: 'a-1', note: 'kept on a real disk' });
const finished = (step: string) => new RegExp(`"step":"${step}".*Bootstrap step finished`);
/** The kernel, the agent before it partitions the disk, and after it has formatted it. */
const cuts = [4, finished('networking'), finished('data disk')];
const minutes = 60_000;

/** What a longer journey looks at between the first deploy and the end. */
export type LaterStations = (here: () => { readonly example: Example; readonly machine: QemuView }) => void;

/** Deploys the example to an emulated machine whose power is cut meanwhile, looks at it from inside and outside, deletes it. */
export function describeQemuJourney(laterStations: LaterStations = () => undefined): void {
  describe('the example on a machine of QEMU', { timeout: 15 * minutes }, () => {
    let example: Example;
    let machine: QemuView;
    let before: HostSnapshot;
    let registryPort: number;
    let hostname: string;

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

      for (const moment of cuts) await machine.cutPower(moment);

      const { exitCode, output } = await deploy.finished;
      expect([exitCode, output]).toMatchObject([0, expect.stringContaining('Succeeded')]);
      await example.putSettings('vm-1', settings);
      expect(await example.status()).toMatchObject({ status: 'running' });
    });

    it('is inside what its settings say', async () => {
      const seen = await machine.run(`
        set -u
        echo "hostname $(hostname)"; ip -4 -oneline address show scope global; ip -4 route show default; cat /etc/resolv.conf
        systemctl is-system-running --wait || systemctl --failed --plain --no-legend
        systemctl is-active chrony monit; cat /etc/chrony/sources.d/bosh.sources
        echo "swap $(tail -n +2 /proc/swaps | wc -l)"
        for each in /var/vcap/data /var/vcap/store /tmp /var/tmp; do
          echo "mount $(findmnt -n -o TARGET,SOURCE,OPTIONS $each)"
        done
        dumpe2fs -h $(findmnt -n -v -o SOURCE /var/vcap/data) 2>/dev/null | grep "^Mount count"
        stat -c 'mode %n %a %U:%G' /tmp /var/vcap/data/tmp /etc/cron.allow /var/vcap/store /var/vcap/monit/monit.user /var/vcap/monit/alerts.monitrc
        echo "bus root $(curl -ks -m 10 -o /dev/null -w %{http_code} https://127.0.0.1:6868/agent)"
        echo "bus vcap $(runuser -u vcap -- curl -ks -m 3 -o /dev/null -w %{http_code} https://127.0.0.1:6868/agent)"
        echo "monit vcap $(runuser -u vcap -- curl -s -m 3 -o /dev/null -w %{http_code} http://127.0.0.1:2822/)"
        nft list ruleset
        echo "password $(getent shadow vcap | cut -d: -f2)"
        cat /home/vcap/.ssh/authorized_keys
        systemd-analyze time; systemd-analyze blame | head -12; systemctl show -p ActiveEnterTimestampMonotonic microbosh-agent
        echo "agent $(ps -o rss=,time= -p $(systemctl show --value -p MainPID microbosh-agent))"
        microbosh-agent bootstrap-report
      `);
      console.log(seen.slice(seen.indexOf('Startup finished')));

      const { current_vm_cid: cid } = await example.state();
      expect(cid).toBe(await machine.cid());
      const lines = seen.split('\n');
      hostname = /^hostname (.+)$/m.exec(seen)?.[1] ?? '';
      expect(seen).toContain(`${example.address}/24`);
      expect(seen).toContain(`default via ${example.subnet}.1`);
      expect(lines).toContain(`nameserver ${example.subnet}.1`);
      expect(lines).toContain('running');
      expect(seen).toMatch(/^active\nactive$/m); // chrony, monit
      expect(lines).toContain(`server ${example.subnet}.1 iburst`);
      expect(lines).toContain('swap 1');
      expect(seen).toMatch(/^mount \/var\/vcap\/data +\/dev\/vda3 /m);
      expect(seen).toMatch(/^mount \/var\/vcap\/store +\/dev\/vd[a-z]1 /m);
      expect(seen).toMatch(/^mount \/tmp +\/dev\/vda3\[\/root_tmp\].*nosuid.*nodev.*noexec/m);
      // Mounted before the last cut, and again after it: formatted once.
      expect(Number(/^Mount count: +(\d+)$/m.exec(seen)?.[1])).toBeGreaterThan(1);
      expect(lines).toContain('mode /tmp 1777 root:vcap');
      expect(lines).toContain('mode /etc/cron.allow 640 root:vcap');
      expect(lines).toContain('mode /var/vcap/monit/monit.user 600 root:root');
      expect(lines).toContain('mode /var/vcap/monit/alerts.monitrc 600 root:root');
      expect(lines).toContain('bus root 401');
      expect(lines).toContain('bus vcap 000');
      expect(lines).toContain('monit vcap 000');
      expect(seen).toContain('ip daddr 169.254.169.254 drop');
      expect(lines).toContain(`password ${hash}`);
      expect(lines).toContain(key);
      registryPort = Number(/ip daddr [0-9.]+ tcp dport (\d+) drop comment "registry"/.exec(seen)?.[1]);
      expect(registryPort).toBeGreaterThan(0);
    });

    it('says the same through its agent', async () => {
      const ask = async (...method: string[]) => {
        const { stdout } = await succeed(example.command('agent', ...method), {
          env: example.env,
          timeoutMs: 2 * minutes,
        });
        return stdout;
      };
      const state: unknown = JSON.parse(await ask('get_state', 'full'));
      expect(state).toMatchObject({
        agent_id: hostname,
        job_state: 'running',
        networks: { default: { ip: example.address, gateway: `${example.subnet}.1` } },
        vitals: { disk: { ephemeral: {}, persistent: {} }, swap: {} },
      });
      expect(JSON.parse(await ask('list_disk'))).toHaveLength(1);
      const report = await ask('bootstrap-report');
      for (const step of ['networking', 'firewall', 'data disk', 'swap', 'monit service']) {
        expect(report).toMatch(new RegExp(`^ +[\\d.]+ ms {2}${step} +(done|unchanged)`, 'm'));
      }
    });

    it('keeps its users off the registry', async () => {
      const server = createServer((_, response) => response.end('hello'));
      server.listen(registryPort, `${example.subnet}.1`);
      await once(server, 'listening');
      try {
        const url = `http://${example.subnet}.1:${registryPort}`;
        const seen = await machine.run(
          `curl -s -m 10 ${url}; echo; runuser -u vcap -- curl -s -m 3 ${url} || echo refused`,
        );
        expect(seen).toBe('hello\nrefused');
      } finally {
        server.close();
      }
    });

    laterStations(() => ({ example, machine }));

    it('leaves nothing on this machine when it is deleted', async () => {
      await example.delete();

      await eventually(async () => expect(await hostSnapshot(example.localRoot)).toEqual(before));
    });
  });
}
