import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CommandFailed, NodeCommandRunner, type CommandRunner, type RunOptions } from '@microbosh/host';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { layoutOf, type Layout } from '../layout.ts';
import { bundleLogs } from './log-bundle.ts';

let layout: Layout;
let asked: { readonly argv: readonly string[]; readonly options: RunOptions | undefined }[];
let journal: () => string;

/** The real tar, and a journal of our own. */
const runner: CommandRunner = {
  run: async (argv, options) => {
    if (argv[0] !== 'journalctl') return new NodeCommandRunner().run(argv, options);
    asked.push({ argv, options });
    return { stdout: journal(), stderr: '', exitCode: 0 };
  },
};

beforeEach(() => {
  layout = layoutOf(mkdtempSync(join(tmpdir(), 'logs-')));
  asked = [];
  journal = () => '2026-01-01T00:00:00+0000 vm microbosh-agent[1]: ready\n';
});
afterEach(() => rmSync(layout.base, { recursive: true, force: true }));

async function bundle(types: string, filters: readonly string[] = []): Promise<Record<string, string>> {
  const tarball = await bundleLogs(types, filters, { layout, runner });
  const names = execFileSync('tar', ['-tzf', tarball]).toString().split('\n').filter(Boolean);
  const contents = names.map(
    (name) => [name, execFileSync('tar', ['-xzOf', tarball, name]).toString()] as const,
  );
  rmSync(tarball);
  expect(readdirSync(layout.tmp)).toEqual([]);
  return Object.fromEntries(contents);
}

describe('the log of an agent', () => {
  it('that writes to the journal is the end of its journal, at most 20 MiB of it', async () => {
    expect(await bundle('agent')).toEqual({ './microbosh-agent.journal.log': journal() });

    expect(asked).toHaveLength(1);
    expect(asked[0]?.argv).toContain('--unit=microbosh-agent');
    expect(asked[0]?.options).toMatchObject({ maxOutputBytes: 20 * 1024 * 1024, timeoutMs: 60_000 });
  });

  it('that has files of its own is these', async () => {
    mkdirSync(join(layout.bosh, 'log'), { recursive: true });
    writeFileSync(join(layout.bosh, 'log', 'current'), 'line\n');

    expect(await bundle('agent')).toEqual({ './current': 'line\n' });
    expect(asked).toEqual([]);
  });

  it('obeys filters, and comes beside the logs of jobs', async () => {
    mkdirSync(join(layout.logs, 'web'), { recursive: true });
    writeFileSync(join(layout.logs, 'web', 'web.log'), 'served\n');

    expect(await bundle('job,agent', ['**/*.log', '*.log'])).toEqual({
      './web/web.log': 'served\n',
      './microbosh-agent.journal.log': journal(),
    });
    expect(await bundle('job,agent', ['web/*'])).toEqual({ './web/web.log': 'served\n' });
  });

  it('is not asked for with the logs of jobs', async () => {
    expect(await bundle('job')).toEqual({});
    expect(asked).toEqual([]);
  });

  it('says why it is missing when the journal cannot be read, and is empty without a journal', async () => {
    const argv = ['journalctl'];
    journal = () => {
      throw new CommandFailed(argv, 1, '', 'no journal files', 'exit status 1');
    };
    expect((await bundle('agent'))['./microbosh-agent.journal.log']).toContain('no journal files');

    journal = () => {
      throw new CommandFailed(argv, null, '', '', 'spawn ENOENT');
    };
    expect(await bundle('agent')).toEqual({});
  });
});

it('a bundle that nobody removed goes with the next one after a day, and nothing else', async () => {
  mkdirSync(layout.tmp, { recursive: true });
  const ages = { 'microbosh-logs-old.tgz': 25, 'microbosh-logs-new.tgz': 23, 'other.tgz': 25 };
  for (const [name, hours] of Object.entries(ages)) {
    const at = new Date(Date.now() - hours * 3_600_000);
    writeFileSync(join(layout.tmp, name), '');
    utimesSync(join(layout.tmp, name), at, at);
  }

  rmSync(await bundleLogs('job', [], { layout, runner }));

  expect(readdirSync(layout.tmp).sort()).toEqual(['microbosh-logs-new.tgz', 'other.tgz']);
});
