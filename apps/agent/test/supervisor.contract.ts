import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { layoutOf, type Layout } from '../src/layout.ts';
import { jobState, jobStateOf } from '../src/actions/job-state.ts';
import { causeChain } from '../src/errors.ts';
import type { JobState, JobSupervisor } from '../src/supervisor/port.ts';

export interface SupervisorUnderTest {
  readonly supervisor: JobSupervisor;
  /** Another agent on the same machine, after the first has ended. */
  next(): JobSupervisor;
  /** Makes what looks after the services hang, and says what can be known of them then. */
  hang(): Promise<JobState>;
  /** Ends what the supervisor itself left running. */
  dispose(): Promise<void>;
}

interface ServiceOptions {
  readonly lines?: readonly string[];
  /** Body of the start program; `$PIDFILE` is where the pid goes. */
  readonly start?: string;
  readonly stop?: string;
  readonly startTimeout?: number;
  readonly stopTimeout?: number;
  readonly as?: string;
}

/** What every supervisor promises, whoever does the work. */
export function describeSupervisor(
  name: string,
  create: (layout: Layout) => Promise<SupervisorUnderTest>,
): void {
  describe(`supervisor: ${name}`, () => {
    let base: string;
    let layout: Layout;
    let subject: SupervisorUnderTest;
    let current: JobSupervisor;
    const patience = { timeout: 30_000, interval: 100 };

    beforeAll(async () => {
      base = mkdtempSync(join(tmpdir(), 'supervisor-'));
      chmodSync(base, 0o755);
      layout = layoutOf(base);
      for (const dir of [layout.monitJobs, layout.run, layout.jobs]) mkdirSync(dir, { recursive: true });
      chmodSync(layout.run, 0o777);
      subject = await create(layout);
      current = subject.supervisor;
      await current.begin();
    });

    afterEach(async () => {
      await current.stop({ wait: true }).catch(() => undefined);
      for (const file of execFileSync('ls', [layout.monitJobs]).toString().split('\n').filter(Boolean)) {
        rmSync(join(layout.monitJobs, file));
      }
      for (const file of execFileSync('ls', [layout.run]).toString().split('\n').filter(Boolean)) {
        const pid = file.endsWith('.pid') ? readFileSync(join(layout.run, file), 'utf8').trim() : '';
        if (pid !== '' && isOurs(pid)) process.kill(Number(pid), 'SIGKILL');
        rmSync(join(layout.run, file), { force: true });
      }
    });

    afterAll(async () => {
      await current.close();
      await subject.dispose();
      rmSync(base, { recursive: true, force: true });
    });

    const pidFile = (service: string) => join(layout.run, `${service}.pid`);
    const pidOf = (service: string) => readFileSync(pidFile(service), 'utf8').trim();
    const calls = () => {
      const file = join(layout.run, 'calls');
      return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
    };

    /** A process of a test: it sleeps for a time that nothing else sleeps for. */
    function isOurs(pid: string): boolean {
      return existsSync(`/proc/${pid}`) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('98765');
    }

    function service(name: string, options: ServiceOptions = {}, group = 'vcap'): string {
      const script = join(layout.jobs, `${name}-ctl`);
      const start = options.start ?? 'setsid sleep 98765 >/dev/null 2>&1 & echo $! > $PIDFILE';
      const stop = options.stop ?? 'kill $(cat $PIDFILE); rm -f $PIDFILE';
      writeFileSync(
        script,
        `#!/bin/sh\nPIDFILE=${pidFile(name)}\necho ${name} $1 $(id -u):$(id -g) >> ${join(layout.run, 'calls')}\ncase $1 in\nstart) ${start} ;;\nstop) ${stop} ;;\nesac\n`,
      );
      chmodSync(script, 0o755);
      const as = options.as ?? '';
      return [
        `check process ${name} with pidfile ${pidFile(name)}`,
        `  start program "${script} start"${as} with timeout ${options.startTimeout ?? 10} seconds`,
        `  stop program "${script} stop"${as} with timeout ${options.stopTimeout ?? 10} seconds`,
        ...(options.lines ?? []).map((line) => `  ${line}`),
        `  group ${group}`,
        '',
      ].join('\n');
    }

    function write(job: string, content: string, index = 0): void {
      writeFileSync(join(layout.monitJobs, `${String(index).padStart(4, '0')}_${job}.monitrc`), content, {
        mode: 0o600,
      });
    }

    const stateOf = async (name: string) =>
      (await current.processes()).find((process) => process.name === name)?.state;
    const allRun = () =>
      expect.poll(async () => jobStateOf(layout, await current.processes()), patience).toBe('running');

    it('starts, measures, and stops', async () => {
      write('web', service('web'));
      await current.reload();
      await current.start();
      await allRun();

      await expect.poll(async () => (await current.processes())[0]?.memKb ?? 0, patience).toBeGreaterThan(0);
      const [status] = await current.processes();
      expect(status).toMatchObject({ name: 'web', state: 'running' });
      expect(status?.uptimeSecs).toBeGreaterThanOrEqual(0);
      const pid = pidOf('web');

      await current.stop({ wait: true });

      expect(isOurs(pid)).toBe(false);
      expect(await stateOf('web')).toBe('unknown');
      expect(calls()).toEqual(['web start 0:0', 'web stop 0:0']);
    });

    it('restarts a process that dies, and what depends on it', async () => {
      write('web', service('cache') + service('web', { lines: ['depends on cache'] }));
      await current.reload();
      await current.start();
      await allRun();
      expect(calls()).toEqual(['cache start 0:0', 'web start 0:0']);
      const before = { cache: pidOf('cache'), web: pidOf('web') };

      process.kill(Number(before.cache), 'SIGKILL');

      await expect
        .poll(() => existsSync(pidFile('cache')) && pidOf('cache') !== before.cache, patience)
        .toBe(true);
      await expect.poll(() => existsSync(pidFile('web')) && pidOf('web') !== before.web, patience).toBe(true);
      await allRun();
    });

    it('stops in the order that is opposite to the dependencies', async () => {
      write('web', service('web', { lines: ['depends on cache'] }) + service('cache'));
      await current.reload();
      await current.start();
      await allRun();

      await current.stop({ wait: true });

      expect(calls().slice(-2)).toEqual(['web stop 0:0', 'cache stop 0:0']);
    });

    it('leaves services of other groups alone', async () => {
      write('web', service('web') + service('other', { lines: ['mode passive'] }, 'elsewhere'));
      await current.reload();
      await current.start();
      await allRun();

      expect((await current.processes()).map(({ name }) => name)).toEqual(['web']);
      expect(calls()).toEqual(['web start 0:0']);
    });

    it('runs programs as the user and group that the file names', async () => {
      write('web', service('web', { as: ' as uid nobody and gid nogroup' }));
      await current.reload();
      await current.start();
      await allRun();

      const [nobody, nogroup] = [
        execFileSync('id', ['-u', 'nobody']).toString().trim(),
        execFileSync('getent', ['group', 'nogroup']).toString().split(':')[2],
      ];
      expect(calls()).toEqual([`web start ${nobody}:${nogroup}`]);
      expect(statSync(`/proc/${pidOf('web')}`).uid).toBe(Number(nobody));
    });

    it('reloads what changed and leaves the other processes running', async () => {
      write('web', service('web'), 1);
      write('db', service('db'), 0);
      await current.reload();
      await current.start();
      await allRun();
      const [web, db] = [pidOf('web'), pidOf('db')];

      write('db', service('db', { lines: ['if totalmem > 900 MB for 5 cycles then alert'] }), 0);
      expect(await current.reload()).toEqual([]);
      await current.start();
      await allRun();

      expect([pidOf('web'), pidOf('db')]).toEqual([web, db]);
    });

    it('no longer watches what was removed, and does not stop it', async () => {
      write('web', service('web'));
      write('db', service('db'), 1);
      await current.reload();
      await current.start();
      await allRun();
      const db = pidOf('db');

      rmSync(join(layout.monitJobs, '0001_db.monitrc'));
      await current.reload();

      await allRun();
      expect((await current.processes()).map(({ name }) => name)).toEqual(['web']);
      expect(isOurs(db)).toBe(true);
      process.kill(Number(db), 'SIGKILL');
      await new Promise((resolve) => setTimeout(resolve, 2_500));
      expect(pidOf('db')).toBe(db);
    });

    it('does not start again what was unmonitored, but stops it when asked', async () => {
      write('web', service('web'));
      write('db', service('db'), 1);
      await current.reload();
      await current.start();
      await allRun();

      await current.unmonitor();

      expect((await current.processes()).map(({ state }) => state)).toEqual(['unknown', 'unknown']);
      expect(await jobStateOf(layout, await current.processes())).toBe('failing');
      const [web, db] = [pidOf('web'), pidOf('db')];
      process.kill(Number(web), 'SIGKILL');
      await new Promise((resolve) => setTimeout(resolve, 2_500));
      expect(pidOf('web')).toBe(web);

      await current.stop({ wait: true });
      expect(isOurs(db)).toBe(false);
    });

    it('takes an unmonitor during a stop as one more word for it', async () => {
      write('web', service('web', { stop: 'sleep 1; kill $(cat $PIDFILE); rm -f $PIDFILE' }));
      await current.reload();
      await current.start();
      await allRun();
      const pid = pidOf('web');

      await current.stop({ wait: false });
      await current.unmonitor();
      await current.stop({ wait: true });

      expect(isOurs(pid)).toBe(false);
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      expect(calls().filter((call) => call.startsWith('web start'))).toHaveLength(1);
      expect(await stateOf('web')).toBe('unknown');
    });

    it('does a start that comes during a stop after it', async () => {
      write('web', service('web', { stop: 'sleep 1; kill $(cat $PIDFILE); rm -f $PIDFILE' }));
      await current.reload();
      await current.start();
      await allRun();
      const pid = pidOf('web');

      await current.stop({ wait: false });
      await expect.poll(() => calls().at(-1), patience).toContain('web stop');
      await current.start();

      await expect.poll(() => isOurs(pid), patience).toBe(false);
      await allRun();
      expect(pidOf('web')).not.toBe(pid);
    });

    it('starts what an old pid file names as running', async () => {
      writeFileSync(pidFile('web'), '2147483646\n');
      write('web', service('web'));
      await current.reload();
      await current.start();
      await allRun();

      expect(isOurs(pidOf('web'))).toBe(true);
    });

    it('says starting, then failing, of a service that never writes its pid file', async () => {
      write('web', service('web', { start: 'setsid sleep 2 >/dev/null 2>&1 &', startTimeout: 2 }));
      await current.reload();
      await current.start();

      expect(await stateOf('web')).toBe('starting');
      await expect.poll(() => stateOf('web'), patience).toBe('failing');
      expect(await jobStateOf(layout, await current.processes())).not.toBe('running');
    });

    it('gives up on a start program that does not end', async () => {
      write(
        'web',
        service('web', { start: 'echo $$ > ${PIDFILE%.pid}-starter.pid; exec sleep 98765', startTimeout: 1 }),
      );
      await current.reload();
      await current.start();

      await expect.poll(() => stateOf('web'), patience).toBe('failing');
    });

    it('tells when a process does not end', async () => {
      write('web', service('web', { stop: 'true', stopTimeout: 1 }));
      await current.reload();
      await current.start();
      await allRun();

      await expect(current.stop({ wait: true })).rejects.toThrow(/web.*errored/);
    });

    it('ends the wait for a stop when it is cancelled', async () => {
      write('web', service('web', { stop: 'sleep 4; kill $(cat $PIDFILE)' }));
      await current.reload();
      await current.start();
      await allRun();
      const startedAt = Date.now();

      await expect(current.stop({ wait: true, signal: AbortSignal.timeout(300) })).rejects.toThrow();

      expect(Date.now() - startedAt).toBeLessThan(3_000);
    });

    it('names place and reason of a broken control file, and runs the other jobs', async () => {
      write('web', service('web'));
      write('bad', `${service('bad')}  frobnicate daily\n`, 1);

      const problems = await current.reload();
      await current.start();

      expect(problems).toEqual([
        { file: '0001_bad.monitrc', line: 5, message: expect.stringContaining('frobnicate') as string },
      ]);
      await expect.poll(() => stateOf('web'), patience).toBe('running');
      expect(await stateOf('bad')).toBe('failing');
      expect(await jobStateOf(layout, await current.processes())).toBe('failing');
      expect(calls().some((call) => call.startsWith('bad'))).toBe(false);

      rmSync(join(layout.monitJobs, '0001_bad.monitrc'), { force: true });
      rmSync(join(layout.monitJobs, '0001_bad.monitrc.refused'), { force: true });
      write('bad', service('bad'), 1);
      expect(await current.reload()).toEqual([]);
      await current.start();
      await allRun();
    });

    it('names a dependency that is not there', async () => {
      write('web', service('web'));
      write('bad', service('bad', { lines: ['depends on nothing-like-it'] }), 1);

      const problems = await current.reload();
      await current.start();

      expect(problems).toEqual([
        { file: '0001_bad.monitrc', line: 1, message: expect.stringContaining('nothing-like-it') as string },
      ]);
      await expect.poll(() => stateOf('web'), patience).toBe('running');
      expect(await stateOf('bad')).toBe('failing');
    });

    it('says what it knows while its helper hangs, and a reload brings that back; the services go on', async () => {
      write('web', service('web'));
      await current.reload();
      await current.start();
      await allRun();
      const web = pidOf('web');

      const known = await subject.hang();

      const [state, answer] = await Promise.all([
        jobState({ layout, supervisor: current }),
        current.processes().catch(causeChain),
      ]);
      expect(state).toBe(known);
      if (known === 'unknown')
        expect(answer).toBe('Getting the status of monit: monit does not answer in time');
      write('web', service('web', { lines: ['if totalmem > 900 MB for 5 cycles then alert'] }));
      expect(await current.reload()).toEqual([]);
      await current.start();
      await allRun();
      expect(pidOf('web')).toBe(web);
    });

    it('goes on under the next agent', async () => {
      write('web', service('web'));
      await current.reload();
      await current.start();
      await allRun();
      const before = pidOf('web');

      await current.close();
      current = subject.next();
      await current.begin();

      await allRun();
      expect(pidOf('web')).toBe(before);
      process.kill(Number(before), 'SIGKILL');
      await expect.poll(() => existsSync(pidFile('web')) && pidOf('web') !== before, patience).toBe(true);
      await allRun();
    });
  });
}
