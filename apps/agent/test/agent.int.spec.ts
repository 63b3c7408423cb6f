import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentClient } from '@microbosh/agent-client';
import type { ApplySpec } from '@microbosh/spec';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startTestAgent, type TestAgent } from '../src/testing/test-agent.ts';

let agent: TestAgent;
let client: AgentClient;
let work: string;

beforeEach(async () => {
  work = mkdtempSync(join(tmpdir(), 'work-'));
  agent = await startTestAgent();
  client = connect();
});

afterEach(async () => {
  await client.close();
  await agent.close();
  rmSync(work, { recursive: true, force: true });
});

function connect(): AgentClient {
  return new AgentClient({ mbus: agent.mbus, ca: agent.ca, replyTo: 'test', timing: { pollIntervalMs: 50 } });
}

type Files = Readonly<Record<string, string>>;

function tarball(files: Files): { readonly path: string; readonly sha1: string } {
  const dir = mkdtempSync(join(work, 'tar-'));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(dir, name, '..'), { recursive: true });
    writeFileSync(join(dir, name), content);
    if (content.startsWith('#!')) chmodSync(join(dir, name), 0o755);
  }
  const path = `${dir}.tgz`;
  execFileSync('tar', ['-C', dir, '-czf', path, '.']);
  return { path, sha1: createHash('sha1').update(readFileSync(path)).digest('hex') };
}

async function upload(id: string, files: Files): Promise<{ blobstore_id: string; sha1: string }> {
  const { path, sha1 } = tarball(files);
  await client.putBlob(id, { path });
  return { blobstore_id: id, sha1 };
}

const emptySpec: ApplySpec = {
  deployment: 'd',
  name: 'g',
  index: 0,
  id: '0',
  az: 'unknown',
  networks: { default: { type: 'manual', ip: '10.0.0.6' } },
  configuration_hash: 'unused-configuration-hash',
  rendered_templates_archive: { blobstore_id: '', sha1: '' },
  job: { name: 'g', templates: [] },
  packages: {},
};

function ctl(pidfile: string): string {
  return `#!/bin/sh
case $1 in
start) setsid sleep 1000 >/dev/null 2>&1 & echo $! > ${pidfile} ;;
stop) kill $(cat ${pidfile}); rm -f ${pidfile} ;;
esac
`;
}

async function jobSpec(version: string, extra: Files = {}): Promise<ApplySpec> {
  const pidfile = join(agent.layout.run, 'web', 'web.pid');
  const bin = join(agent.layout.jobs, 'web', 'bin', 'ctl');
  const archive = await upload(`archive-${version}`, {
    'web/monit': `check process web with pidfile ${pidfile}\n  start program "${bin} start" with timeout 10 seconds\n  stop program "${bin} stop"\n  group vcap\n`,
    'web/bin/ctl': ctl(pidfile),
    'web/config/version': version,
    ...extra,
  });
  const tool = await upload(`tool-${version}`, { 'bin/tool': `#!/bin/sh\necho ${version}\n` });
  return {
    ...emptySpec,
    job: { name: 'g', templates: [{ name: 'web', version }] },
    packages: { tool: { name: 'tool', version, ...tool } },
    rendered_templates_archive: archive,
  };
}

describe('apply', () => {
  it('accepts the first spec of create-env, which has no jobs', async () => {
    await client.apply(emptySpec);

    const state = await client.getState('full');
    expect(state).toMatchObject({
      agent_id: 'agent-1',
      deployment: 'd',
      job_state: 'running',
      vm: { name: 'vm-1' },
    });
    expect(readFileSync(join(agent.layout.instance, 'deployment'), 'utf8')).toBe('d');
  });

  it('installs jobs and packages, starts and stops the jobs, and restarts a service that dies', async () => {
    await client.apply(await jobSpec('1'));
    expect(readFileSync(join(agent.layout.jobs, 'web/packages/tool/bin/tool'), 'utf8')).toContain('echo 1');
    expect(statSync(join(agent.layout.jobs, 'web/bin/ctl')).mode & 0o777).toBe(0o750);

    await client.start();
    await expect.poll(async () => (await client.getState()).job_state, { timeout: 10_000 }).toBe('running');
    const pidfile = join(agent.layout.run, 'web', 'web.pid');
    const first = readFileSync(pidfile, 'utf8');
    process.kill(Number(first), 'SIGKILL');
    await expect
      .poll(() => existsSync(pidfile) && readFileSync(pidfile, 'utf8') !== first, { timeout: 10_000 })
      .toBe(true);
    await expect.poll(async () => (await client.getState()).job_state, { timeout: 10_000 }).toBe('running');

    await client.stop();
    expect((await client.getState()).job_state).toBe('stopped');
    expect(existsSync(pidfile)).toBe(false);
  });

  it('leaves the previous set enabled when a new one cannot be installed', async () => {
    await client.apply(await jobSpec('1'));
    await client.start();
    await expect.poll(async () => (await client.getState()).job_state, { timeout: 10_000 }).toBe('running');
    const pidfile = join(agent.layout.run, 'web', 'web.pid');
    const pid = readFileSync(pidfile, 'utf8');
    const before = readlinkSync(join(agent.layout.jobs, 'web'));
    const next = await jobSpec('2');
    const broken = { ...next, rendered_templates_archive: { blobstore_id: 'archive-2', sha1: 'sha256:00' } };

    await expect(client.apply(broken)).rejects.toMatchObject({ agentCode: 'E_DIGEST_MISMATCH' });

    expect(readlinkSync(join(agent.layout.jobs, 'web'))).toBe(before);
    expect(readFileSync(join(agent.layout.jobs, 'web/config/version'), 'utf8')).toBe('1');
    expect((await client.getState()).job_state).toBe('running');
    expect(readFileSync(pidfile, 'utf8')).toBe(pid);
    process.kill(Number(pid), 0);
    // Still watched, too.
    process.kill(Number(pid), 'SIGKILL');
    await expect
      .poll(() => existsSync(pidfile) && readFileSync(pidfile, 'utf8') !== pid, { timeout: 10_000 })
      .toBe(true);
    await client.stop();
  });

  it('updates one of two jobs in place: the other goes on, watched all the time', async () => {
    const files = (job: string, version: string): Files => {
      const pidfile = join(agent.layout.run, job, `${job}.pid`);
      const bin = join(agent.layout.jobs, job, 'bin', 'ctl');
      return {
        [`${job}/monit`]: `check process ${job} with pidfile ${pidfile}\n  start program "${bin} start"\n  stop program "${bin} stop"\n  group vcap\n`,
        [`${job}/bin/ctl`]: ctl(pidfile),
        [`${job}/config/version`]: version,
      };
    };
    const spec = async (version: string): Promise<ApplySpec> => ({
      ...emptySpec,
      job: {
        name: 'g',
        templates: [
          { name: 'web', version: '1' },
          { name: 'db', version },
        ],
      },
      rendered_templates_archive: await upload(`both-${version}`, {
        ...files('web', '1'),
        ...files('db', version),
      }),
    });
    const pids = () =>
      ['web', 'db'].map((job) => readFileSync(join(agent.layout.run, job, `${job}.pid`), 'utf8'));
    const isRunning = () =>
      expect.poll(async () => (await client.getState()).job_state, { timeout: 10_000 }).toBe('running');
    await client.apply(await spec('1'));
    await client.start();
    await isRunning();
    const before = pids();

    await client.apply(await spec('2'));
    const watched = readdirSync(agent.layout.monitJobs);
    await client.start();
    await isRunning();

    expect(watched).toEqual(['0001_web.monitrc']);
    expect(readFileSync(join(agent.layout.jobs, 'db/config/version'), 'utf8')).toBe('2');
    expect(pids()[0]).toBe(before[0]);
    process.kill(Number(before[0]), 0);
    await client.stop();
  });

  it('keeps only what the spec names', async () => {
    await client.apply(await jobSpec('1'));
    const old = readlinkSync(join(agent.layout.packages, 'tool'));

    await client.apply(await jobSpec('2'));

    expect(existsSync(old)).toBe(false);
    expect(readFileSync(join(agent.layout.jobs, 'web/config/version'), 'utf8')).toBe('2');
  });

  it('finishes a switch that a dead agent began', async () => {
    const next = await jobSpec('2');
    await client.apply(next);
    rmSync(join(agent.layout.jobs, 'web'));
    writeFileSync(agent.layout.applyIntent, JSON.stringify(next));
    await client.close();

    agent = await agent.restart();
    client = connect();

    expect(readFileSync(join(agent.layout.jobs, 'web/config/version'), 'utf8')).toBe('2');
    expect(existsSync(agent.layout.applyIntent)).toBe(false);
  });

  it('refuses a network that the settings do not know', async () => {
    await expect(client.apply({ ...emptySpec, networks: { other: { type: 'manual' } } })).rejects.toThrow(
      "Network 'other' is not found in settings",
    );
  });
});

describe('scripts', () => {
  it('runs a script of every job with its environment and keeps its output', async () => {
    await client.apply(await jobSpec('1', { 'web/bin/pre-start': '#!/bin/sh\necho hello $WHO\n' }));

    await client.runScript('pre-start', { WHO: 'you' });

    expect(readFileSync(join(agent.layout.logs, 'web/pre-start.stdout.log'), 'utf8')).toBe('hello you\n');
  });

  it('names the jobs whose script failed', async () => {
    await client.apply(await jobSpec('1', { 'web/bin/post-start': '#!/bin/sh\nexit 3\n' }));

    await expect(client.runScript('post-start')).rejects.toThrow(
      '1 of 1 post-start scripts failed. Failed Jobs: web.',
    );
  });

  it('asks a dynamic drain again until it is done', async () => {
    const flag = join(work, 'drained');
    const script = `#!/bin/sh\necho "$@" >> ${flag}\nif [ $(wc -l < ${flag}) = 1 ]; then echo -1; else echo 0; fi\n`;
    await client.apply(await jobSpec('1', { 'web/bin/drain': script }));

    await client.drain('shutdown');

    expect(readFileSync(flag, 'utf8')).toBe('job_shutdown hash_unchanged\njob_check_status hash_unchanged\n');
  });
});

describe('a task that is cancelled', () => {
  const sleepers = () => execFileSync('sh', ['-c', "pgrep -f '^sleep 98764$' || true"]).toString().trim();

  it('ends the errand and all it started, and the agent does the next one', async () => {
    await client.apply(
      await jobSpec('1', {
        'web/bin/run': `#!/bin/sh\n[ -e ${work}/quick ] && exit 7\nsleep 98764 & wait\n`,
      }),
    );
    const cancel = new AbortController();
    const errand = client.call('run_errand', ['web'], { signal: cancel.signal });
    errand.catch(() => undefined);
    await expect.poll(sleepers, { timeout: 10_000 }).not.toBe('');

    cancel.abort();

    await expect(errand).rejects.toThrow();
    await expect.poll(sleepers, { timeout: 10_000 }).toBe('');
    writeFileSync(join(work, 'quick'), '');
    expect(await client.call('run_errand', ['web'])).toMatchObject({ exit_code: 7 });
  });

  it('ends the drain and its script', async () => {
    await client.apply(await jobSpec('1', { 'web/bin/drain': '#!/bin/sh\nsleep 98764 & wait\necho 0\n' }));
    const cancel = new AbortController();
    const draining = client.drain('shutdown', {}, { signal: cancel.signal });
    draining.catch(() => undefined);
    await expect.poll(sleepers, { timeout: 10_000 }).not.toBe('');

    cancel.abort();

    await expect(draining).rejects.toThrow();
    await expect.poll(sleepers, { timeout: 10_000 }).toBe('');
    expect((await client.getState()).job_state).toBeDefined();
  });
});

it('release_apply_spec answers the YAML form of old micro stemcells', async () => {
  mkdirSync(join(agent.layout.base, 'micro'));
  writeFileSync(
    join(agent.layout.base, 'micro', 'apply_spec.yml'),
    "---\ndeployment: micro\njob:\n  name: micro\n  sha1: '0123'\n  version: 1\nproperties:\n  flag: yes\n  none:\n",
  );

  expect(await client.releaseApplySpec()).toEqual({
    deployment: 'micro',
    job: { name: 'micro', sha1: '0123', version: 1 },
    properties: { flag: true, none: null },
  });
  writeFileSync(join(agent.layout.base, 'micro', 'apply_spec.yml'), '- no mapping\n');
  await expect(client.releaseApplySpec()).rejects.toThrow('is not a mapping');
});

describe('compile_package', () => {
  it('limits the script: no core files, files, priority, and the first to go without memory', async () => {
    const source = await upload('src', {
      packaging:
        'cd $BOSH_INSTALL_TARGET; ulimit -c > core; ulimit -n > files; nice > nice; cat /proc/self/oom_score_adj > oom\n',
    });

    const { blobstoreId } = await client.compilePackage({
      ...{ blobId: 'src', digest: source.sha1, name: 'app', version: '1', dependencies: {} },
    });

    const result = join(work, 'result.tgz');
    await client.getBlob(blobstoreId, result);
    const seen = (name: string) =>
      execFileSync('tar', ['-xzOf', result, `./${name}`])
        .toString()
        .trim();
    const own = Number(execFileSync('nice').toString());
    expect({ core: seen('core'), oom: seen('oom'), nice: Number(seen('nice')) }).toEqual({
      core: '0',
      oom: '900',
      nice: Math.min(own + 5, 19),
    });
    // A machine that is itself limited gives what it has.
    const most = execFileSync('sh', [
      '-c',
      'ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -H -n)"; ulimit -n',
    ]);
    expect(seen('files')).toBe(most.toString().trim());
  });

  it('does not compile again for a signed URL what it has, and repeats an upload that failed', async () => {
    const { path, sha1 } = tarball({ packaging: 'date +%N > $BOSH_INSTALL_TARGET/when\n' });
    const received: string[] = [];
    const server = createServer((request, response) => {
      if (request.method === 'GET') {
        response.end(readFileSync(path));
        return;
      }
      const hash = createHash('sha1');
      request.on('data', (chunk: Buffer) => hash.update(chunk));
      request.on('end', () => {
        const isRefused = request.url === '/refused';
        if (!isRefused) received.push(hash.digest('hex'));
        response.writeHead(isRefused ? 403 : 200).end();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const compile = (to: string, version = '1') =>
      client.call('compile_package_with_signed_url', [
        {
          ...{ package_get_signed_url: `${url}/source`, upload_signed_url: `${url}/${to}`, digest: sha1 },
          ...{ name: 'app', version, deps: {}, blobstore_headers: {} },
        },
      ]);
    try {
      await expect(compile('refused')).rejects.toThrow('unexpected status 403');
      const first = await compile('a');
      expect(await compile('b')).toEqual(first);
      expect(first.result.sha1).toContain(received[0]);
      await compile('c', '2');
    } finally {
      server.close();
      server.closeAllConnections();
    }

    expect(received).toHaveLength(3);
    expect(received[1]).toBe(received[0]);
    expect(received[2]).not.toBe(received[0]);
  });

  it('compiles with its dependencies, and not again when the result is there', async () => {
    const dependency = await upload('dep', { 'lib/value': 'forty-two' });
    const source = await upload('src', {
      packaging: `#!/bin/bash\nset -e\ncp ${agent.layout.packages}/dep/lib/value $BOSH_INSTALL_TARGET/answer\ndate +%N > $BOSH_INSTALL_TARGET/when\n`,
    });
    const request = {
      blobId: source.blobstore_id,
      digest: source.sha1,
      name: 'app',
      version: '1',
      dependencies: { dep: { name: 'dep', version: '1', ...dependency } },
    };

    const first = await client.compilePackage(request);
    const second = await client.compilePackage(request);

    expect(second).toEqual(first);
    const result = join(work, 'result.tgz');
    await client.getBlob(first.blobstoreId, result, { digest: first.sha1 });
    expect(execFileSync('tar', ['-xzOf', result, './answer']).toString()).toBe('forty-two');
    expect(existsSync(join(agent.layout.packages, 'app'))).toBe(false);
  });

  it('tells the end of the output of a script that fails', async () => {
    const source = await upload('src', { packaging: 'echo on its way\necho broken >&2\nexit 7\n' });

    await expect(
      client.compilePackage({
        blobId: 'src',
        digest: source.sha1,
        name: 'app',
        version: '1',
        dependencies: {},
      }),
    ).rejects.toThrow(
      /Compiling package app: Running packaging script: .*Command exited with 7; Stdout: on its way\n, Stderr: .*broken/s,
    );
  });

  it('refuses a source without digest', async () => {
    await expect(
      client.compilePackage({ blobId: 'src', digest: '', name: 'app', version: '1', dependencies: {} }),
    ).rejects.toThrow('no digest algorithm found. Supported algorithms: sha1, sha256, sha512');
  });
});

describe('archives', () => {
  it.each([
    ['a member that leads out', ['--transform=s,^x,../../escape,', 'x'], /leads out of the archive/],
    ['an absolute member', ['--absolute-names', '--transform=s,^x,/tmp/escape,', 'x'], /is an absolute path/],
    ['a device', ['dev'], /is not allowed/],
  ])('with %s are refused', async (_name, args, problem) => {
    const dir = mkdtempSync(join(work, 'evil-'));
    writeFileSync(join(dir, 'x'), 'x');
    execFileSync('mkfifo', [join(dir, 'dev')]);
    execFileSync('tar', ['-C', dir, '-czf', join(work, 'evil.tgz'), ...args]);
    await client.putBlob('evil', { path: join(work, 'evil.tgz') });
    const sha1 = createHash('sha1')
      .update(readFileSync(join(work, 'evil.tgz')))
      .digest('hex');

    await expect(
      client.apply({
        ...emptySpec,
        packages: { evil: { name: 'evil', version: '1', blobstore_id: 'evil', sha1 } },
      }),
    ).rejects.toThrow(problem);
  });
});

describe('disks and logs', () => {
  it('mounts, lists and unmounts through the host', async () => {
    await client.addPersistentDisk('disk-2', { path: '/dev/sdd' });
    await client.mountDisk('disk-2');
    expect(await client.listDisk()).toEqual(['disk-2']);

    await client.unmountDisk('disk-2');

    expect(await client.listDisk()).toEqual([]);
    await expect(client.mountDisk('disk-9')).rejects.toThrow(
      "Persistent disk with volume id 'disk-9' could not be found",
    );
  });

  it('packs the logs that match', async () => {
    mkdirSync(join(agent.layout.logs, 'web'), { recursive: true });
    writeFileSync(join(agent.layout.logs, 'web', 'a.log'), 'line');
    writeFileSync(join(agent.layout.logs, 'web', 'a.bin'), 'no');

    const bundle = await client.fetchLogs('job', ['**/*.log']);

    const path = join(work, 'logs.tgz');
    await client.getBlob(bundle.blobstoreId, path);
    expect(execFileSync('tar', ['-tzf', path]).toString()).toBe('./web/a.log\n');
  });
});
