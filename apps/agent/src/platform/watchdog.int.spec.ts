import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { feedWatchdog } from './watchdog.ts';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'microbosh-watchdog-'));
});
afterEach(async () => rm(directory, { recursive: true, force: true }));

const silent = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };

it('is told several times in its time, with the socket that jobs do not get', async () => {
  const said = join(directory, 'said');
  const program = join(directory, 'systemd-notify');
  await writeFile(program, `#!/bin/sh\necho "$NOTIFY_SOCKET $*" >>'${said}'\n`);
  await chmod(program, 0o755);
  const environment: NodeJS.ProcessEnv = {
    PATH: `${directory}:${process.env['PATH'] ?? ''}`,
    NOTIFY_SOCKET: '/run/systemd/notify',
    WATCHDOG_USEC: '300000',
    WATCHDOG_PID: '1',
  };

  const stop = feedWatchdog(silent, environment);

  await vi.waitFor(
    async () =>
      expect((await readFile(said, 'utf8')).split('\n').slice(0, 2)).toEqual([
        '/run/systemd/notify WATCHDOG=1',
        '/run/systemd/notify WATCHDOG=1',
      ]),
    { timeout: 10_000 },
  );
  stop?.();
  expect(Object.keys(environment)).toEqual(['PATH']);
});

it('is left alone where the unit has none', () => {
  expect(feedWatchdog(silent, { NOTIFY_SOCKET: '/run/systemd/notify' })).toBeUndefined();
  expect(feedWatchdog(silent, {})).toBeUndefined();
});
