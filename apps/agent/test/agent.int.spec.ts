import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
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
    const before = readlinkSync(join(agent.layout.jobs, 'web'));
    const next = await jobSpec('2');
    const broken = { ...next, rendered_templates_archive: { blobstore_id: 'archive-2', sha1: 'sha256:00' } };

    await expect(client.apply(broken)).rejects.toMatchObject({ agentCode: 'E_DIGEST_MISMATCH' });

    expect(readlinkSync(join(agent.layout.jobs, 'web'))).toBe(before);
    expect(readFileSync(join(agent.layout.jobs, 'web/config/version'), 'utf8')).toBe('1');
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

describe('compile_package', () => {
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
