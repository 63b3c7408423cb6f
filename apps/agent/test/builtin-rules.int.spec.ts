import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { layoutOf, type Layout } from '../src/layout.ts';
import { BuiltinSupervisor } from '../src/supervisor/builtin-supervisor.ts';
import type { SupervisorEvent } from '../src/supervisor/port.ts';
import { silentLog } from '../src/testing/test-agent.ts';

let layout: Layout;
let supervisor: BuiltinSupervisor;
let events: SupervisorEvent[];
const patience = { timeout: 10_000, interval: 50 };
const endless = '98762';

beforeEach(() => {
  layout = layoutOf(mkdtempSync(join(tmpdir(), 'rules-')));
  for (const dir of [layout.monitJobs, layout.run]) mkdirSync(dir, { recursive: true });
  events = [];
  supervisor = make();
});

afterEach(async () => {
  await supervisor.stop({ wait: true });
  await supervisor.close();
  rmSync(layout.base, { recursive: true, force: true });
});

function make(): BuiltinSupervisor {
  const onEvent = (event: SupervisorEvent) => void events.push(event);
  return new BuiltinSupervisor({ layout, log: silentLog, onEvent, intervalMs: 50, cycleMs: 150 });
}

const pidFile = () => join(layout.run, 'web.pid');
const pid = () => Number(readFileSync(pidFile(), 'utf8'));
const isAlive = (id: number) =>
  existsSync(`/proc/${id}/cmdline`) && readFileSync(`/proc/${id}/cmdline`, 'utf8').includes(endless);
const told = () => events.map(({ service, event, action }) => `${service}: ${event} - ${action}`);
const stateOf = async (name = 'web') =>
  (await supervisor.processes()).find((process) => process.name === name)?.state;

/** A service that sleeps, with more lines. */
function web(...lines: readonly string[]): string {
  const ctl = join(layout.base, 'ctl');
  writeFileSync(
    ctl,
    `#!/bin/sh\ncase $1 in\nstart) setsid sleep ${endless} >/dev/null 2>&1 & echo $! > ${pidFile()} ;;\nstop) kill $(cat ${pidFile()}) ;;\nesac\n`,
  );
  chmodSync(ctl, 0o755);
  return [
    `check process web with pidfile ${pidFile()}`,
    `  start program "${ctl} start" with timeout 5 seconds`,
    `  stop program "${ctl} stop" with timeout 5 seconds`,
    ...lines.map((line) => `  ${line}`),
    '  group vcap',
    '',
  ].join('\n');
}

async function run(content: string): Promise<void> {
  writeFileSync(join(layout.monitJobs, '0000_web.monitrc'), content);
  await supervisor.begin();
  expect(await supervisor.reload()).toEqual([]);
  await supervisor.start();
}

describe('rules of a process', () => {
  it.each([
    ['totalmem > 1 KB for 2 cycles', 'resource limit matched'],
    ['mem > 0%', 'resource limit matched'],
    ['cpu >= 0% 2 times within 3 cycles', 'resource limit matched'],
    ['children = 0', 'resource limit matched'],
    ['failed port 1 with timeout 1 seconds', 'connection failed'],
    ['failed unixsocket /nowhere', 'connection failed'],
  ])('if %s then restart', async (condition, event) => {
    await run(web(`if ${condition} then restart`));
    await expect.poll(() => existsSync(pidFile()) && isAlive(pid()), patience).toBe(true);
    const first = pid();

    await expect.poll(() => isAlive(pid()) && pid() !== first, patience).toBe(true);

    expect(told()[0]).toBe(`web: ${event} - restart`);
    await expect.poll(() => isAlive(first), patience).toBe(false);
  });

  it.each([
    ['totalmem > 2 GB', 'totalmem < 1 KB'],
    ['cpu > 300%', 'uptime > 1 day'],
  ])('if %s or %s: nothing', async (one, other) => {
    await run(web(`if ${one} then restart`, `if ${other} then stop`));
    await expect.poll(() => stateOf(), patience).toBe('running');
    const first = pid();

    await sleep(800);

    expect(pid()).toBe(first);
    expect(told()).toEqual([]);
  });

  it('then alert once, fail, and be well again, as an HTTP service goes and comes', async () => {
    let status = 200;
    const server = createServer((request, response) => {
      response.writeHead(request.url === '/up?x=1' && request.headers.host === 'a.b' ? status : 404);
      response.end('all is well');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const check = `if failed port ${port} protocol http request "/up?x=1" hostheader "a.b" content = "all.*well" with timeout 2 seconds for 2 cycles then alert`;
    try {
      await run(web(check));
      await expect.poll(() => stateOf(), patience).toBe('running');
      status = 503;
      await expect.poll(() => stateOf(), patience).toBe('failing');
      await sleep(600);
      status = 200;
      await expect.poll(() => stateOf(), patience).toBe('running');
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }

    expect(told()).toEqual(['web: connection failed - alert']);
  });

  it('then exec, which knows the service, and another one on recovery', async () => {
    const [flag, out] = [join(layout.base, 'flag'), join(layout.base, 'out')];
    const content = `${web()}check file size with path ${flag}
  if size > 3 B then exec "/bin/sh -c 'echo $MONIT_SERVICE: $MONIT_EVENT: $MONIT_DESCRIPTION >> ${out}'" else if succeeded then exec "/bin/sh -c 'echo well >> ${out}'"
  group vcap
`;
    writeFileSync(flag, 'long\n');
    await run(content);
    const told = 'size: size failed: size > 3 B\n';
    await expect.poll(() => existsSync(out) && readFileSync(out, 'utf8'), patience).toBe(told);
    writeFileSync(flag, '');

    await expect.poll(() => readFileSync(out, 'utf8'), patience).toBe(`${told}well\n`);
  });

  it('then stop, then unmonitor', async () => {
    await run(web('if totalmem > 1 KB for 3 cycles then stop'));
    await expect.poll(() => existsSync(pidFile()) && isAlive(pid()), patience).toBe(true);
    const first = pid();
    await expect.poll(() => stateOf(), patience).toBe('unknown');
    await expect.poll(() => isAlive(first), patience).toBe(false);

    writeFileSync(
      join(layout.monitJobs, '0000_web.monitrc'),
      web('if totalmem > 1 KB for 3 cycles then unmonitor'),
    );
    await supervisor.reload();
    await supervisor.start();
    await expect.poll(() => told().at(-1), patience).toBe('web: resource limit matched - unmonitor');
    expect(isAlive(pid())).toBe(true);
    expect(await stateOf()).toBe('unknown');
  });

  it('gives up after N restarts within M cycles', async () => {
    await run(web('if 2 restarts within 40 cycles then timeout'));
    for (let death = 0; death < 2; death += 1) {
      await expect.poll(() => stateOf(), patience).toBe('running');
      const current = pid();
      process.kill(current, 'SIGKILL');
      await expect
        .poll(() => pid() !== current || told().includes('web: timeout - unmonitor'), patience)
        .toBe(true);
    }

    await expect.poll(() => stateOf(), patience).toBe('unknown');
    expect(told()).toContain('web: timeout - unmonitor');
  });

  it('restart program: is run instead of stop and start', async () => {
    const calls = join(layout.base, 'calls');
    const line = `/bin/sh -c 'echo restart >> ${calls}; kill $(cat ${pidFile()}); setsid sleep ${endless} & echo $! > ${pidFile()}'`;
    const text = web(`restart program "${line}"`, 'if totalmem > 1 KB for 3 cycles then restart');
    const ctl = join(layout.base, 'ctl');
    writeFileSync(ctl, readFileSync(ctl, 'utf8').replace('stop) ', `stop) echo stop >> ${calls}; `));
    await run(text);
    await expect.poll(() => existsSync(pidFile()) && isAlive(pid()), patience).toBe(true);
    const first = pid();

    await expect.poll(() => existsSync(calls) && pid() !== first && isAlive(pid()), patience).toBe(true);

    await expect.poll(() => isAlive(first), patience).toBe(false);
    expect(readFileSync(calls, 'utf8')).toMatch(/^(restart\n)+$/);
    await supervisor.stop({ wait: true });
    expect(isAlive(pid())).toBe(false);
  });

  it('if does not exist: what the rule says instead of a start', async () => {
    await run(web('if does not exist for 2 cycles then alert'));
    await expect.poll(() => stateOf(), patience).toBe('running');
    const first = pid();

    process.kill(first, 'SIGKILL');

    await expect.poll(() => told(), patience).toEqual(['web: does not exist - alert']);
    expect(await stateOf()).toBe('failing');
    await sleep(500);
    expect(pid()).toBe(first);
  });

  it('uid, euid and gid are those of the process', async () => {
    await run(
      web(
        'if failed uid root then alert',
        'if failed euid nobody then alert',
        'if failed gid 4711 then alert',
      ),
    );

    await expect
      .poll(() => events.map(({ event, description }) => `${event}: ${description}`).sort(), patience)
      .toEqual(['gid failed: gid is not 4711: 0', 'uid failed: euid is not nobody: 0']);
  });

  it('passive: a death is told, nothing is started', async () => {
    await run(web('mode passive'));
    await expect.poll(() => stateOf(), patience).toBe('running');
    const first = pid();

    process.kill(first, 'SIGKILL');

    await expect.poll(() => stateOf(), patience).toBe('failing');
    await sleep(500);
    expect(pid()).toBe(first);
    expect(told()).toEqual(['web: does not exist - alert']);
  });

  it('manual: is looked after when it runs, and not brought up by a boot', async () => {
    await run(web('mode manual'));
    await expect.poll(() => stateOf(), patience).toBe('running');
    const first = pid();
    await supervisor.close();
    supervisor = make();
    await supervisor.begin();
    expect(await stateOf()).toBe('running');

    await supervisor.close();
    process.kill(first, 'SIGKILL');
    await expect.poll(() => isAlive(first), patience).toBe(false);
    supervisor = make();
    await supervisor.begin();

    await sleep(500);
    expect(await stateOf()).toBe('unknown');
    expect(pid()).toBe(first);
  });
});

describe('other checks', () => {
  it('of files, file systems, hosts and programs tell what they find', async () => {
    const [file, runs, often] = ['secret', 'runs', 'often'].map((name) => join(layout.base, name)) as [
      string,
      string,
      string,
    ];
    writeFileSync(file, 'one', { mode: 0o640 });
    await run(`check file secret with path ${file}
  if failed permission 0600 then alert
  if failed uid root then alert
  if size > 2 B then alert
  if changed checksum then alert
check file absent with path ${join(layout.base, 'absent')}
check filesystem data with path ${layout.base}
  if space usage > 0% then alert
  if space free < 1 B then alert
check host here with address 127.0.0.1
  if failed port 1 with timeout 1 seconds then alert
  if failed ping count 1 with timeout 1 seconds then alert
check program rare with path "/bin/sh -c 'echo x >> ${runs}; exit 3'"
  every 4 cycles
  if status != 0 then alert
check program often with path "/bin/sh -c 'echo x >> ${often}'"
  if status != 0 then alert
`);
    await expect.poll(() => existsSync(runs) && statSync(runs).size >= 4, patience).toBe(true);
    writeFileSync(file, 'two', { mode: 0o640 });

    const expected = [
      'secret: permission failed - alert',
      'secret: size failed - alert',
      'secret: checksum changed - alert',
      'absent: does not exist - alert',
      'data: resource limit matched - alert',
      'here: connection failed - alert',
      'rare: status failed - alert',
    ];
    await expect.poll(() => told().sort(), patience).toEqual([...expected].sort());
    expect(await stateOf('absent')).toBe('failing');
    expect(await stateOf('often')).toBe('running');
    expect(statSync(often).size / statSync(runs).size).toBeGreaterThan(2);
  });

  it('then restart: the program of the check, and what depends on it', async () => {
    const [secret, calls] = [join(layout.base, 'secret'), join(layout.base, 'calls')];
    writeFileSync(secret, 'x', { mode: 0o600 });
    await run(`${web('depends on secret')}check file secret with path ${secret}
  start program "/bin/sh -c 'echo start >> ${calls}'"
  stop program "/bin/sh -c 'echo stop >> ${calls}; chmod 600 ${secret}'"
  if failed permission 0600 then restart
  group vcap
`);
    await expect.poll(() => stateOf(), patience).toBe('running');
    const first = pid();

    chmodSync(secret, 0o644);

    await expect.poll(() => pid() !== first && isAlive(pid()), patience).toBe(true);
    expect(statSync(secret).mode & 0o777).toBe(0o600);
    expect(readFileSync(calls, 'utf8')).toBe('start\nstop\nstart\n');
    expect(events[0]).toMatchObject({ description: 'permission is not 600: 0644', action: 'restart' });
  });

  it('checksums: the wanted one, and the one that was there first', async () => {
    const file = join(layout.base, 'program');
    writeFileSync(file, 'one');
    const [md5, sha1] = ['md5', 'sha1'].map((name) => createHash(name).update('one').digest('hex'));
    const check = (name: string, rule: string) =>
      `check file ${name} with path ${file}\n  if ${rule} then alert\n`;
    await run(
      check('first', 'failed checksum') +
        check('wanted', `failed checksum and expect the sum ${md5}`) +
        check('sha1', `failed sha1 checksum expect ${sha1}`) +
        check('other', 'failed checksum expect 0123456789abcdef0123456789abcdef') +
        check('owner', 'changed uid') +
        check('mode', 'changed permission'),
    );
    await expect.poll(() => told(), patience).toEqual(['other: checksum failed - alert']);
    await sleep(300);
    writeFileSync(file, 'two');
    chmodSync(file, 0o600);
    chownSync(file, 1, 0);

    const others = ['first', 'sha1', 'wanted'].map((name) => `${name}: checksum failed - alert`);
    await expect
      .poll(() => told().slice(1).sort(), patience)
      .toEqual([...others, 'mode: permission changed - alert', 'owner: uid changed - alert'].sort());
    expect(await stateOf('first')).toBe('failing');
    writeFileSync(file, 'one');
    await expect.poll(() => stateOf('first'), patience).toBe('running');
  });

  it('content: lines that come, also after the file was replaced', async () => {
    const file = join(layout.base, 'log');
    writeFileSync(file, 'an old ERROR\n');
    await run(`check file log with path ${file}\n  if content = "ERROR [0-9]?" then alert\n`);
    await expect.poll(() => stateOf('log'), patience).toBe('running');
    await sleep(400);
    expect(told()).toEqual([]);

    appendFileSync(file, 'fine\nERROR 7');
    await sleep(400);
    expect(told()).toEqual([]);
    appendFileSync(file, ' at noon\nfine\n');
    await expect
      .poll(() => events.map(({ description }) => description), patience)
      .toEqual(['content matches ERROR [0-9]?: ERROR 7 at noon']);
    await expect.poll(() => stateOf('log'), patience).toBe('running');

    rmSync(file);
    writeFileSync(file, 'ERROR 8\n');
    await expect.poll(() => events.at(-1)?.description, patience).toContain('ERROR 8');
  });

  it('a path of another type, and a directory that is there', async () => {
    await run(
      `check file data with path ${layout.base}\ncheck directory base with path ${layout.base}\ncheck directory passwd with path /etc/passwd\n`,
    );

    await expect
      .poll(() => told().sort(), patience)
      .toEqual(['data: invalid type - alert', 'passwd: invalid type - alert']);
    expect(await stateOf('base')).toBe('running');
  });

  it('a file system by its device: what is used, its flags, and that it is mounted', async () => {
    const [image, point] = [join(layout.base, 'image'), join(layout.base, 'mnt')];
    writeFileSync(image, '');
    truncateSync(image, 16 * 2 ** 20);
    mkdirSync(point);
    execFileSync('mkfs.ext4', ['-q', image]);
    const device = execFileSync('losetup', ['-f', '--show', image]).toString().trim();
    const own = (rule: string) => `check filesystem disk with path ${device}\n  ${rule}\n  group vcap\n`;
    try {
      execFileSync('mount', [device, point]);
      await run(own(`if space usage > 60% then alert\n  if changed fsflags then alert`));
      await expect.poll(() => stateOf('disk'), patience).toBe('running');
      await sleep(300);
      expect(told()).toEqual([]);

      writeFileSync(join(point, 'fill'), randomBytes(10 * 2 ** 20));
      await expect.poll(() => told(), patience).toEqual(['disk: resource limit matched - alert']);
      rmSync(join(point, 'fill'));
      await expect.poll(() => stateOf('disk'), patience).toBe('running');

      execFileSync('mount', ['-o', 'remount,ro', point]);
      await expect.poll(() => told().at(-1), patience).toBe('disk: filesystem flags changed - alert');

      execFileSync('umount', [point]);
      await expect.poll(() => told().at(-1), patience).toBe('disk: does not exist - alert');
      expect(await stateOf('disk')).toBe('failing');
    } finally {
      spawnSync('umount', [point], { stdio: 'ignore' });
      execFileSync('losetup', ['-d', device]);
    }
  });

  it('ping: a host that answers, one that does not', async () => {
    await run(`check host near with address 127.0.0.1
  if failed ping count 1 size 64 with timeout 2 seconds then alert
check host far with address 240.0.0.1
  if failed ping count 1 with timeout 1 seconds then alert
`);

    await expect.poll(() => told(), patience).toEqual(['far: icmp failed - alert']);
    expect(await stateOf('near')).toBe('running');
  });

  it('ping is refused where the program is missing', async () => {
    const path = process.env['PATH'];
    process.env['PATH'] = layout.base;
    try {
      writeFileSync(
        join(layout.monitJobs, '0000_web.monitrc'),
        'check host near with address 127.0.0.1\n  if failed ping then alert\n',
      );
      await supervisor.begin();

      expect(await supervisor.reload()).toEqual([
        { file: '0000_web.monitrc', line: 2, message: expect.stringContaining('iputils-ping') as string },
      ]);
      expect(await stateOf('near')).toBe('failing');
    } finally {
      process.env['PATH'] = path;
    }
  });

  it('of a host are about that host', async () => {
    const server = createServer((_request, response) => response.end());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.2', resolve));
    const { port } = server.address() as AddressInfo;
    try {
      await run(
        ['127.0.0.2', '127.0.0.3']
          .map(
            (address) =>
              `check host h-${address} with address ${address}\n  if failed port ${port} then alert\n`,
          )
          .join(''),
      );

      await expect.poll(() => told(), patience).toEqual(['h-127.0.0.3: connection failed - alert']);
      expect(events[0]?.description).toContain('ECONNREFUSED');
    } finally {
      server.close();
    }
  });

  it('are read from included files, too', async () => {
    const more = join(layout.base, 'more');
    mkdirSync(more);
    writeFileSync(join(more, 'a.monitrc'), 'check file included with path /etc/passwd\n  group vcap\n');
    await run(`include "${more}/*.monitrc"\n`);

    await expect.poll(() => stateOf('included'), patience).toBe('running');
  });
});

it('does not take another process for the service because it has its pid', async () => {
  const stranger = spawn('sleep', [endless], { stdio: 'ignore' });
  // The kernel counts the start of a process in hundredths of a second: the two must not share one.
  await sleep(50);
  try {
    await run(web());
    await expect.poll(() => stateOf(), patience).toBe('running');
    const first = pid();
    await supervisor.close();
    process.kill(first, 'SIGKILL');
    await expect.poll(() => isAlive(first), patience).toBe(false);
    // As after a boot: the pid file is the old one, the pid is somebody else's.
    const state = join(layout.monit, 'builtin.json');
    const { ino, mtimeNs } = statSync(pidFile(), { bigint: true });
    const record = JSON.parse(readFileSync(state, 'utf8')) as {
      processes: Record<string, { pid: number; written: string }>;
    };
    writeFileSync(pidFile(), `${stranger.pid}\n`);
    const now = statSync(pidFile(), { bigint: true });
    const entry = record.processes[pidFile()];
    expect(entry).toMatchObject({ pid: first, written: `${ino}-${mtimeNs}` });
    writeFileSync(
      state,
      JSON.stringify({
        ...record,
        processes: {
          [pidFile()]: { ...entry, pid: stranger.pid, written: `${now.ino}-${now.mtimeNs}` },
        },
      }),
    );

    supervisor = make();
    await supervisor.begin();
    await supervisor.start();

    await expect.poll(() => isAlive(pid()) && pid() !== stranger.pid, patience).toBe(true);
    expect(stranger.exitCode).toBeNull();
    await supervisor.stop({ wait: true });
    expect(stranger.signalCode).toBeNull();
  } finally {
    stranger.kill('SIGKILL');
  }
});
