import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { parseAgentConfig } from '../../config/agent-config.ts';
import { agentPaths } from '../../platform/agent-paths.ts';
import type { StepContext } from '../step.ts';
import { time } from './time.ts';

let base: string;

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'microbosh-time-'));
  await mkdir(join(base, 'bosh/etc'), { recursive: true });
  vi.stubEnv('PATH', base);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(base, { recursive: true, force: true });
});

function contextWith(ran: string[], ntp: readonly string[]): StepContext {
  const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
  return {
    linux: parseAgentConfig({}).linux,
    supervisor: 'monit',
    paths: agentPaths(base),
    runner: {
      run: (argv: readonly string[]) => {
        ran.push(argv.join(' '));
        return Promise.resolve({ stdout: '', stderr: '', exitCode: 0 });
      },
    },
    log,
    settings: { current: () => ({ ntp }) },
    signal: AbortSignal.timeout(10_000),
    onChange: async () => undefined,
  } as unknown as StepContext;
}

it('tells the time service its servers at each start: a stemcell does not start it by itself', async () => {
  await writeFile(join(base, 'sync-time'), '');
  await chmod(join(base, 'sync-time'), 0o755);
  const ran: string[] = [];

  expect(await time.run(contextWith(ran, ['one', 'two']))).toMatchObject({ outcome: 'done' });
  expect(await time.run(contextWith(ran, ['one', 'two']))).toMatchObject({ outcome: 'unchanged' });

  expect(await readFile(join(base, 'bosh/etc/ntpserver'), 'utf8')).toBe('one two');
  expect(ran).toEqual([join(base, 'sync-time'), join(base, 'sync-time')]);
});

it('is skipped when the settings name no server', async () => {
  const ran: string[] = [];

  expect(await time.run(contextWith(ran, []))).toMatchObject({ outcome: 'skipped' });
  expect(ran).toEqual([]);
});
