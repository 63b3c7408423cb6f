import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseControlFile } from './control-file.ts';
import type { ControlRule, ControlService } from './control-language.ts';

const head = 'check process web with pidfile /var/vcap/sys/run/web/pid\n';

function only(text: string): ControlService {
  const { services, flaws } = parseControlFile(text);
  expect(flaws).toEqual([]);
  const [service] = services;
  if (!service || services.length !== 1) throw new Error(`${services.length} services`);
  return service;
}

function rule(condition: string): ControlRule {
  const [first] = only(`${head}  if ${condition}\n`).rules;
  if (!first) throw new Error('no rule');
  return first;
}

describe('control files as releases ship them', () => {
  it('with one process in the long form', () => {
    const service = only(`# the nats server
check process nats
  with pidfile /var/vcap/sys/run/nats/nats.pid
  start program "/var/vcap/jobs/nats/bin/nats_ctl start" with timeout 60 seconds
  stop program "/var/vcap/jobs/nats/bin/nats_ctl stop"   # gently
  if totalmem > 500 MB then alert
  if totalmem > 3 GB for 5 cycles then restart
  if cpu usage > 95% for 10 cycles then restart
  if failed host 127.0.0.1 port 4222 type tcp
     with timeout 5 seconds for 3 cycles then restart
  if 5 restarts within 5 cycles then timeout
  depends on syslog_forwarder, "consul"
  group vcap
`);

    expect(service).toMatchObject({
      kind: 'process',
      name: 'nats',
      target: '/var/vcap/sys/run/nats/nats.pid',
      start: { argv: ['/var/vcap/jobs/nats/bin/nats_ctl', 'start'], timeoutMs: 60_000 },
      stop: { argv: ['/var/vcap/jobs/nats/bin/nats_ctl', 'stop'], timeoutMs: 30_000 },
      groups: ['vcap'],
      dependsOn: ['syslog_forwarder', 'consul'],
      mode: 'active',
      line: 2,
    });
    expect(
      service.rules.map(({ test: { kind }, times, action, line }) => [kind, times, action, line]),
    ).toEqual([
      ['resource', 1, 'alert', 6],
      ['resource', 5, 'restart', 7],
      ['resource', 10, 'restart', 8],
      ['connection', 3, 'restart', 9],
      ['restarts', 1, 'unmonitor', 11],
    ]);
  });

  it('with several services, one of them for the machine', () => {
    const { services, flaws } = parseControlFile(`check process director
  with pidfile /var/vcap/sys/run/director/director.pid
  start program = "/var/vcap/jobs/director/bin/ctl start"
  stop program = "/var/vcap/jobs/director/bin/ctl stop"
  group vcap
  depends on nginx
check process nginx with pidfile /var/vcap/sys/run/nginx.pid
  start "/usr/sbin/nginx -c '/var/vcap/jobs/director/config/my nginx.conf'" as uid vcap and gid "vcap"
  mode manual
  every 2 cycles
check system localhost
  if loadavg (1min) > 4 then alert
  if memory usage > 75% for 3 cycles then alert
  if cpu usage (wait) > 20% then exec "/bin/sh -c 'date >> /tmp/x'"
check filesystem data with path /var/vcap/data
  if space usage > 90% for 5 times within 15 cycles then alert
  if inode usage > 30000 then alert
check file secrets path /var/vcap/store/secrets.json
  if failed permission 0600 then alert
  if failed uid root then unmonitor
  if changed checksum then alert
  if size > 100 KB then alert
  if timestamp > 15 minutes then restart
check host gateway with address 10.0.0.1
  if failed ping count 2 with timeout 3 seconds then alert
  if failed url https://10.0.0.1:8443/health?deep=1 and content == "ok" with timeout 2 seconds then alert
check program ntp with path "/usr/bin/chronyc tracking" timeout 5 seconds
  every "*/5 * * * 1-5"
  if status != 0 for 2 cycles then alert
`);

    expect(flaws).toEqual([]);
    expect(services.map(({ kind, name }) => `${kind} ${name}`)).toEqual([
      'process director',
      'process nginx',
      'system localhost',
      'filesystem data',
      'file secrets',
      'host gateway',
      'program ntp',
    ]);
    const [, nginx, system, data, secrets, host, ntp] = services;
    expect(nginx?.start).toEqual({
      argv: ['/usr/sbin/nginx', '-c', '/var/vcap/jobs/director/config/my nginx.conf'],
      timeoutMs: 30_000,
      uid: 'vcap',
      gid: 'vcap',
    });
    expect(nginx).toMatchObject({ mode: 'manual', every: { kind: 'cycles', cycles: 2 } });
    expect(system?.rules.map(({ test }) => test)).toMatchObject([
      { resource: 'load1', comparison: '>', value: 4 },
      { resource: 'memory', value: 75, unit: 'percent' },
      { resource: 'cpu-wait', value: 20, unit: 'percent' },
    ]);
    expect(system?.rules[2]?.exec?.argv).toEqual(['/bin/sh', '-c', 'date >> /tmp/x']);
    expect(data?.rules[0]).toMatchObject({
      times: 5,
      within: 15,
      test: { resource: 'space', unit: 'percent' },
    });
    expect(secrets?.rules.map(({ test }) => test)).toMatchObject([
      { kind: 'permission', mode: 0o600 },
      { kind: 'owner', what: 'uid', wanted: 'root' },
      { kind: 'changed', what: 'checksum' },
      { resource: 'size', value: 102_400, unit: 'bytes' },
      { resource: 'age', value: 900 },
    ]);
    expect(host?.rules.map(({ test }) => test)).toMatchObject([
      { kind: 'ping', count: 2, timeoutMs: 3_000 },
      {
        ...{ kind: 'connection', transport: 'tls', to: { host: '10.0.0.1', port: 8_443 }, timeoutMs: 2_000 },
        http: { path: '/health?deep=1', content: { pattern: 'ok', negated: false } },
      },
    ]);
    expect(ntp).toMatchObject({
      program: { argv: ['/usr/bin/chronyc', 'tracking'], timeoutMs: 5_000 },
      every: { kind: 'cron', cron: '*/5 * * * 1-5', negated: false },
      rules: [{ test: { kind: 'status', comparison: '!=', value: 0 }, times: 2 }],
    });
  });
});

describe('conditions', () => {
  it.each([
    [
      'totalmem > 1 GB then restart',
      { kind: 'resource', resource: 'totalmemory', value: 2 ** 30, unit: 'bytes' },
    ],
    ['mem usage is greater than 512kb then alert', { resource: 'memory', comparison: '>', value: 524_288 }],
    ['total memory > 80% then alert', { resource: 'totalmemory', value: 80, unit: 'percent' }],
    ['totalcpu gt 60 then alert', { resource: 'totalcpu', value: 60, unit: 'percent' }],
    ['cpu(user) > 70% then alert', { resource: 'cpu-user' }],
    ['loadavg(15min) >= 2.5 then alert', { resource: 'load15', comparison: '>=', value: 2.5 }],
    ['children < 3 then restart', { resource: 'children', comparison: '<', value: 3 }],
    ['threads > 1000 then alert', { resource: 'threads' }],
    ['uptime > 3 days then restart', { resource: 'uptime', value: 259_200 }],
    ['swap usage > 20% then alert', { resource: 'swap', unit: 'percent' }],
    ['space free < 1 GB then alert', { resource: 'space-free', comparison: '<', value: 2 ** 30 }],
    ['does not exist for 3 cycles then restart', { kind: 'exists', negated: true }],
    [
      'failed unixsocket /run/x.sock then restart',
      { kind: 'connection', to: { path: '/run/x.sock' }, transport: 'tcp', timeoutMs: 5_000 },
    ],
    [
      'failed host 10.0.0.5 port 443 type tcpssl protocol http request "/up" status = 401 with timeout 9 seconds retry 2 then restart',
      {
        ...{ kind: 'connection', to: { host: '10.0.0.5', port: 443 }, transport: 'tls', tries: 2 },
        ...{ http: { path: '/up', status: { comparison: '==', value: 401 } }, timeoutMs: 9_000 },
      },
    ],
    ['failed port 8080 protocol http hostheader "a.b" then alert', { http: { headers: { host: 'a.b' } } }],
    [
      'failed port 27017 protocol mongodb then alert',
      { kind: 'connection', transport: 'tcp', to: { host: '127.0.0.1', port: 27_017 }, unspoken: 'mongodb' },
    ],
    ['failed port 53 protocol dns then alert', { transport: 'udp' }],
    ['failed port 80 using ipv6 then alert', { to: { host: '127.0.0.1', port: 80, family: 6 } }],
    ['failed sha1 checksum then alert', { kind: 'checksum', algorithm: 'sha1' }],
    ['changed pid then exec "/bin/true"', { kind: 'changed', what: 'pid' }],
    ['content = "ERROR.*" then alert', { kind: 'content', pattern: 'ERROR.*', negated: false }],
    ['changed fsflags then alert', { kind: 'changed', what: 'fsflags' }],
    ['changed link then alert', { kind: 'unsupported', text: 'changed link' }],
  ])('%s', (condition, expected) => {
    expect(rule(condition).test).toMatchObject(expected);
  });

  it('count cycles', () => {
    expect(rule('cpu > 5% for 3 cycles then alert')).toMatchObject({ times: 3, within: 3 });
    expect(rule('cpu > 5% 2 times within 7 cycles then alert')).toMatchObject({ times: 2, within: 7 });
    expect(rule('3 restarts within 10 cycles then stop').test).toEqual({
      kind: 'restarts',
      count: 3,
      within: 10,
    });
  });

  it('have a reaction, and one for the recovery', () => {
    const both = rule(
      'failed port 1 then exec "/bin/a b" as uid nobody else if succeeded for 2 cycles then restart',
    );

    expect(both).toMatchObject({ action: 'exec', exec: { argv: ['/bin/a', 'b'], uid: 'nobody' } });
    expect(both.recovery).toEqual({ action: 'restart' });
    expect(rule('failed port 1 then alert else alert').recovery).toEqual({ action: 'alert' });
  });
});

describe('what is no statement', () => {
  it.each([
    ['frobnicate daily', 2, "'frobnicate' is not a statement"],
    ['start program "bin/relative"', 2, 'not an absolute path'],
    ['start program "/bin/x', 2, 'quotation mark'],
    ['if cpu is high then alert', 2, "'high' stands where a comparison is expected"],
    ['if cpu > 5% then reboot', 2, "'then reboot' is not known"],
    ['if cpu > lots then alert', 2, "'lots' is not a number"],
    ['if failed port 99999 then alert', 2, 'no usable port'],
    ['if failed port 80 protocol gopher then alert', 2, "the protocol 'gopher' is not known"],
    ['if failed port 80 type sctp then alert', 2, "the type 'sctp' is neither"],
    ['if failed port 80 protocol http send "x" then alert', 2, 'send and expect cannot be used'],
    ['if failed port 80 protocol http type udp then alert', 2, 'cannot be checked with type udp'],
    ['if failed port 80 expect "(" then alert', 2, 'not a regular expression'],
    ['if content = "(" then alert', 2, 'not a regular expression'],
    ['if failed port 80 method POST then alert', 2, 'neither GET nor HEAD'],
    ['if failed port 80 with ssl options {ciphers: "x"} then alert', 2, "the TLS option 'ciphers'"],
    ['if failed port 80 certificate valid > 3 cycles then alert', 2, "where 'days' is expected"],
    ['if failed port 80 http headers [one two] then alert', 2, "'one' is not the name of a header"],
    ['if failed checksum expect beef then alert', 2, 'not an MD5 or SHA-1 checksum'],
    ['if failed ping then alert', 2, "for 'check host' only"],
    ['mode lazy', 2, "'mode lazy' is not known"],
    ['every now cycles', 2, 'neither a number of cycles nor a cron line'],
    ['start program "/bin/x" as uid "a b"', 2, 'not the name or number of a user'],
    ['if cpu > 5% for 9 times within 3 cycles then alert', 2, 'cannot be'],
  ])('%s', (statement, line, message) => {
    const { flaws } = parseControlFile(`${head}  ${statement}\n  group vcap\n`);

    expect(flaws[0]).toEqual({ line, message: expect.stringContaining(message) as string });
  });

  it('is told with its line, all of it at once, and what follows is read', () => {
    const { services, flaws } = parseControlFile(
      `${head}  nonsense 1\n  group vcap\n\ncheck proces typo\ncheck process db with pidfile /p\n  mode odd\n`,
    );

    expect(flaws.map(({ line }) => line)).toEqual([2, 5, 7]);
    expect(services.map(({ name }) => name)).toEqual(['web', 'db']);
  });

  it('is a service without target, or described twice', () => {
    expect(parseControlFile('check process web\n  group vcap\n').flaws).toMatchObject([
      { line: 1, message: "'check process web' has no pidfile or matching" },
    ]);
    expect(parseControlFile(head + head).flaws).toMatchObject([
      { line: 2, message: "the service 'web' is described twice" },
    ]);
  });
});

it('reads over what is monit’s own to set, and notes what is included', () => {
  const file = parseControlFile(`set daemon 5 with start delay 2\ninclude "/etc/more/*.monitrc"\n${head}`);

  expect(file.flaws).toEqual([]);
  expect(file.includes).toEqual(['/etc/more/*.monitrc']);
  expect(file.services).toHaveLength(1);
});

it('comes to an end with any text, and never without a word about what it left out', () => {
  const words =
    `check process web file program with pidfile path "/p" start stop "/bin/x y" if cpu > 5 % for 3 cycles then
    restart else alert exec every not depends on , group vcap mode manual ( ) { } = != failed port host timeout seconds include set`.split(
      /\s+/,
    );
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.constantFrom(...words, '\n', '#', '"'), fc.string({ maxLength: 5 })), {
        maxLength: 60,
      }),
      (parts) => {
        const { services, flaws, includes } = parseControlFile(parts.join(' '));

        for (const { line, message } of flaws) {
          expect(line).toBeGreaterThan(0);
          expect(message).not.toBe('');
        }
        const said = services.length + flaws.length + includes.length > 0;
        const isEmpty =
          parts
            .join(' ')
            .replace(/#[^\n]*/g, '')
            .trim() === '';
        if (!said && !isEmpty) expect(onlyNoise(parts.join(' '))).toBe(true);
      },
    ),
    { numRuns: 2_000 },
  );
});

/** Nothing but words that monit reads over, and what it is set to. */
function onlyNoise(text: string): boolean {
  const noise =
    'is as are for on only with and has using use the usage was but of sum programs than that'.split(' ');
  const words = text
    .replace(/#[^\n]*/g, ' ')
    .split(/\s+/)
    .filter(Boolean);
  const from = words.findIndex((word) => !noise.includes(word.toLowerCase()));
  return from < 0 || words[from]?.toLowerCase() === 'set';
}
