import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { logrotateFile } from '../src/apply/logrotate.ts';
import type { SentSpec } from '../src/apply/spec.ts';
import { layoutOf, type Layout } from '../src/layout.ts';
import { drain, drainArguments } from '../src/scripts/drain.ts';
import { runLifecycleScripts, runScript } from '../src/scripts/job-scripts.ts';
import { silentLog } from '../src/testing/test-agent.ts';

let layout: Layout;

beforeEach(() => {
  layout = layoutOf(mkdtempSync(join(tmpdir(), 'life-')));
});

afterEach(() => rmSync(layout.base, { recursive: true, force: true }));

function script(job: string, name: string, body: string): void {
  const dir = join(layout.jobs, job, 'bin');
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, name), `#!/bin/bash\n${body}\n`);
  chmodSync(join(dir, name), 0o750);
}

const log = (job: string, name: string) => readFileSync(join(layout.logs, job, name), 'utf8');

async function run(
  name: string,
  jobs: readonly string[],
  env: Record<string, string> = {},
  signal?: AbortSignal,
) {
  await runLifecycleScripts({ layout, jobs, name, env, log: silentLog, ...(signal ? { signal } : {}) });
}

describe('scripts of the life cycle', () => {
  it.each(['pre-start', 'post-start', 'post-deploy', 'pre-stop', 'post-stop'])(
    '%s runs where it is, with the environment of the request, and its output is kept',
    async (name) => {
      script('a', name, 'echo "out $BOSH_VM_NEXT_STATE $PATH"; echo err >&2');
      mkdirSync(join(layout.jobs, 'b'), { recursive: true });

      await run(name, ['a', 'b'], { BOSH_VM_NEXT_STATE: 'delete' });
      await run(name, ['a', 'b'], { BOSH_VM_NEXT_STATE: 'keep' });

      const path = '/usr/sbin:/usr/bin:/sbin:/bin';
      expect(log('a', `${name}.stdout.log`)).toBe(`out delete ${path}\nout keep ${path}\n`);
      expect(log('a', `${name}.stderr.log`)).toBe('err\nerr\n');
      expect(statSync(join(layout.logs, 'a', `${name}.stdout.log`)).mode & 0o777).toBe(0o640);
      expect(existsSync(join(layout.logs, 'b'))).toBe(false);
    },
  );

  it('of all jobs run at the same time', async () => {
    const meet = (mine: string, other: string) =>
      `touch ${layout.base}/${mine}; for i in $(seq 100); do [ -e ${layout.base}/${other} ] && exit 0; sleep 0.1; done; exit 1`;
    script('a', 'pre-start', meet('a', 'b'));
    script('b', 'pre-start', meet('b', 'a'));

    await run('pre-start', ['a', 'b']);
  });

  it('say which failed and which did not, and all have ended by then', async () => {
    script('bad', 'post-start', 'exit 4');
    script('slow', 'post-start', `sleep 0.5; touch ${layout.base}/done`);
    script('absent', 'pre-start', 'exit 0');

    await expect(run('post-start', ['bad', 'slow', 'absent'])).rejects.toThrow(
      '1 of 2 post-start scripts failed. Failed Jobs: bad. Successful Jobs: slow.',
    );
    expect(existsSync(join(layout.base, 'done'))).toBe(true);
  });

  it('end with all they started when they are cancelled', async () => {
    script('a', 'pre-start', `sleep 98761 & echo $! > ${layout.base}/child; wait`);
    const cancel = new AbortController();
    const running = run('pre-start', ['a'], {}, cancel.signal);
    await expect.poll(() => existsSync(join(layout.base, 'child')), { timeout: 5_000 }).toBe(true);

    cancel.abort();

    await expect(running).rejects.toThrow('Failed Jobs: a.');
    const child = readFileSync(join(layout.base, 'child'), 'utf8').trim();
    const command = () =>
      existsSync(`/proc/${child}/cmdline`) ? readFileSync(`/proc/${child}/cmdline`, 'utf8') : '';
    await expect.poll(command, { timeout: 5_000 }).not.toContain('98761');
  });

  it('end when their time is over', async () => {
    script('a', 'pre-start', 'exec sleep 98761');

    const result = await runScript({
      argv: [join(layout.jobs, 'a', 'bin', 'pre-start')],
      env: { PATH: '/bin:/usr/bin' },
      timeLimitMs: 300,
    });

    expect(result).toMatchObject({ exitCode: null, signal: 'SIGTERM' });
  });

  it('do not wait for a daemon that they leave, whose output goes on into the log', async () => {
    script('a', 'post-start', `(sleep 4; echo late) & echo early`);
    const startedAt = Date.now();

    await run('post-start', ['a']);

    expect(Date.now() - startedAt).toBeLessThan(3_500);
    await expect.poll(() => log('a', 'post-start.stdout.log'), { timeout: 10_000 }).toBe('early\nlate\n');
  });

  it.each(['../../bin/sh', 'a b', ''])('have no name like %j', async (name) => {
    await expect(run(name, ['a'])).rejects.toThrow('cannot be the name of a script');
  });
});

describe('drain', () => {
  const current: SentSpec = {
    configuration_hash: 'one',
    persistent_disk: 100,
    job: { name: 'g', templates: [{ name: 'a', version: '1' }] },
    packages: {
      same: { name: 'same', version: '1', sha1: 'aa' },
      changed: { name: 'changed', version: '1', sha1: 'bb' },
    },
  };
  const next: SentSpec = {
    ...current,
    configuration_hash: 'two',
    persistent_disk: 200,
    packages: {
      same: { name: 'same', version: '1', sha1: 'aa' },
      changed: { name: 'changed', version: '2', sha1: 'cc' },
      another: { name: 'another', version: '1', sha1: 'dd' },
    },
  };

  const start = (
    type: 'update' | 'shutdown',
    to: SentSpec | undefined,
    signal = new AbortController().signal,
  ) =>
    drain({
      layout,
      jobs: ['a'],
      args: drainArguments(type, current, to),
      current,
      next: to,
      log: silentLog,
      signal,
    });

  it('for an update names what changes, and both states', async () => {
    script('a', 'drain', `echo "$@|$BOSH_JOB_STATE|$BOSH_JOB_NEXT_STATE" > ${layout.base}/seen; echo 0`);

    await start('update', next);

    expect(readFileSync(join(layout.base, 'seen'), 'utf8')).toBe(
      'job_changed hash_changed another changed|{"persistent_disk":100}|{"persistent_disk":200}\n',
    );
  });

  it('tells a first, an unchanged and a changed set apart', () => {
    const none = {} as SentSpec;

    expect(drainArguments('update', none, next)).toMatchObject({
      jobChange: 'job_new',
      hashChange: 'hash_new',
    });
    expect(drainArguments('update', current, current)).toEqual({
      jobChange: 'job_changed',
      hashChange: 'hash_unchanged',
      packages: [],
    });
    expect(drainArguments('shutdown', current, undefined)).toEqual({
      jobChange: 'job_shutdown',
      hashChange: 'hash_unchanged',
      packages: [],
    });
  });

  it('waits as long as a static script says', async () => {
    script('a', 'drain', 'echo 1');
    const startedAt = Date.now();

    await start('shutdown', undefined);

    expect(Date.now() - startedAt).toBeGreaterThanOrEqual(1_000);
  });

  it('asks a dynamic script again, without the next state', async () => {
    script(
      'a',
      'drain',
      `echo "$1 [$BOSH_JOB_NEXT_STATE]" >> ${layout.base}/seen; [ $(wc -l < ${layout.base}/seen) -lt 3 ] && echo -1 || echo 0`,
    );

    await start('update', next);

    expect(readFileSync(join(layout.base, 'seen'), 'utf8').split('\n')).toEqual([
      'job_changed [{"persistent_disk":200}]',
      'job_check_status []',
      'job_check_status []',
      '',
    ]);
  });

  it.each(['done', '', '1.5'])('fails on the output %j', async (output) => {
    script('a', 'drain', `echo '${output}'; exit 3`);

    await expect(start('shutdown', undefined)).rejects.toMatchObject({
      message: '1 of 1 drain scripts failed. Failed Jobs: a',
      cause: { message: expect.stringContaining('Script did not return a signed integer') as string },
    });
  });

  it('that is cancelled ends at once and without failure, also while it waits', async () => {
    script('a', 'drain', 'echo 600');
    const cancel = new AbortController();
    const startedAt = Date.now();
    setTimeout(() => cancel.abort(), 700);

    await start('shutdown', undefined, cancel.signal);

    expect(Date.now() - startedAt).toBeLessThan(5_000);
  });
});

it('lets the real logrotate cut the logs of jobs down, of three levels, also in directories of vcap', () => {
  const state = join(layout.base, 'state');
  const config = join(layout.base, 'vcap.conf');
  writeFileSync(config, logrotateFile(layout.logs, '1k'), { mode: 0o644 });
  const job = join(layout.logs, 'a');
  mkdirSync(join(job, 'deep'), { recursive: true });
  // As an apply makes it: writable by the group of the jobs.
  chownSync(job, 0, 65_534);
  chmodSync(job, 0o770);
  const logs = [join(layout.logs, 'top.log'), join(job, 'pre-start.stdout.log'), join(job, 'deep', 'x.log')];
  for (const path of logs) writeFileSync(path, 'line\n'.repeat(1_000));
  writeFileSync(join(job, 'small.log'), 'line\n');
  writeFileSync(join(job, '.hidden.log'), 'line\n'.repeat(1_000));

  const output = execFileSync('logrotate', ['-s', state, '-v', config], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });

  expect(output.toString()).not.toContain('insecure permissions');
  for (const path of [...logs, join(job, '.hidden.log')]) {
    expect(statSync(path).size).toBe(0);
    expect(execFileSync('gzip', ['-dc', `${path}.1.gz`]).toString()).toHaveLength(5_000);
  }
  expect(readdirSync(job)).not.toContain('small.log.1.gz');
});
