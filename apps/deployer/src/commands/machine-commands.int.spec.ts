import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toRemove } from './clean-up.ts';

const main = join(import.meta.dirname, '../main.ts');
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'machine-commands-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function run(
  program: string,
  args: readonly string[],
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  return new Promise((resolve) => {
    const options = { cwd: folder, env: { ...process.env, HOME: folder }, timeout: 60_000 };
    execFile(program, args, options, (error, stdout, stderr) =>
      resolve({
        code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1,
        stdout,
        stderr,
      }),
    );
  });
}

const microbosh = (...args: string[]) => run(process.execPath, [main, ...args]);

describe('completion', () => {
  let script: string;

  beforeAll(async () => {
    const { code, stdout, stderr } = await microbosh('completion', 'bash');
    expect(stderr).toBe('');
    expect(code).toBe(0);
    script = join(folder, 'completion.bash');
    writeFileSync(script, stdout);
    for (const name of ['web.yml', 'web state.json']) writeFileSync(join(folder, name), '');
  });

  it.each([
    [['dele'], ['delete-env']],
    [
      ['micro', 'deployment'],
      ['deployment', 'deployments'],
    ],
    [
      ['-q', 'vars', ''],
      ['check', 'decrypt', 'encrypt', 'rotate'],
    ],
    [['create-env', '--vars-s'], ['--vars-store']],
    [
      ['deploy', '--recreate'],
      ['--recreate', '--recreate-persistent-disks'],
    ],
    [
      ['create-env', '--state', 'web'],
      ['web state.json', 'web.yml'],
    ],
    [['create-env', 'web.'], ['web.yml']],
  ])('of bash continues %j with %j', async (words, expected) => {
    const program = `source "$0"; COMP_WORDS=(microbosh "$@"); COMP_CWORD=$#; _microbosh; printf '%s\\n' "\${COMPREPLY[@]}"`;

    const { stdout, stderr } = await run('bash', ['--norc', '-c', program, script, ...words]);

    expect(stderr).toBe('');
    expect(stdout.split('\n').filter(Boolean).sort()).toEqual(expected);
  });

  it('of zsh and of fish offer the same, with descriptions', async () => {
    const files = { zsh: join(folder, '_microbosh'), fish: join(folder, 'microbosh.fish') };
    for (const [shell, file] of Object.entries(files)) {
      writeFileSync(file, (await microbosh('completion', shell)).stdout);
    }
    // What the completion system of zsh takes from the function, before it filters by what was typed.
    const zsh = `_describe() { local name=\${@[-1]}; print -rl -- "\${(@P)name}"; }
      _files() { print -- FILES; }
      words=(microbosh "$@"); CURRENT=$#words; PREFIX=\${words[CURRENT]}; source $0`;
    const fish = 'source $argv[1]; complete -C "$argv[2]"';
    const offered = async (shell: 'zsh' | 'fish', ...words: string[]) => {
      const { stdout, stderr } =
        shell === 'zsh'
          ? await run('zsh', ['-f', '-c', zsh, files.zsh, ...words])
          : await run('fish', ['--no-config', '-c', fish, files.fish, ['microbosh', ...words].join(' ')]);
      expect(stderr).toBe('');
      return stdout.split('\n').filter((line) => line.startsWith(words.at(-1) ?? ''));
    };

    for (const shell of ['zsh', 'fish'] as const) {
      const separator = shell === 'zsh' ? ':' : '\t';
      expect(await offered(shell, 'dele')).toEqual([
        `delete-env${separator}delete VM, disk, stemcell and state of an environment`,
      ]);
      const names = async (...words: string[]) =>
        (await offered(shell, ...words)).map((line) => line.split(separator)[0]);
      expect((await names('micro', 'deployment')).sort()).toEqual(['deployment', 'deployments']);
      expect(await names('deploy', '--recreate-')).toEqual(['--recreate-persistent-disks']);
    }
    expect(await offered('zsh', 'create-env', 'FILES')).toEqual(['FILES']);
  });

  it('is there for no other shell', async () => {
    const { code, stderr } = await microbosh('completion', 'tcsh');
    expect(code).toBe(1);
    expect(stderr).toContain('bash, zsh, fish');
  });
});

describe('clean-up', () => {
  const item = (name: string, bytes: number, usedAtMs: number) => ({ paths: [name], bytes, usedAtMs });

  it('removes what is old, then what is beyond the size, least recently used first', () => {
    const items = [item('old', 1, 10), item('big', 60, 90), item('newest', 50, 99), item('small', 40, 80)];

    const removed = toRemove(items, { now: 100, ageMs: 50, sizeBytes: 100 });

    expect(removed.map(({ paths }) => paths[0])).toEqual(['big', 'old']);
  });

  it('keeps archives and their records together, and does nothing in a dry run', async () => {
    const cache = join(folder, '.microbosh/cache/compiled');
    mkdirSync(cache, { recursive: true });
    for (const name of ['a.tgz', 'a.json', 'b.tgz', 'b.json']) writeFileSync(join(cache, name), 'x');
    const old = new Date(Date.now() - 40 * 86_400_000);
    for (const name of ['a.tgz', 'a.json']) utimesSync(join(cache, name), old, old);

    expect((await microbosh('prune', '--dry-run')).stdout).toContain('Would remove 1 cached files');
    expect(readdirSync(cache)).toHaveLength(4);
    expect((await microbosh('clean-up')).stdout).toContain('Removed 1 cached files');
    expect(readdirSync(cache).sort()).toEqual(['b.json', 'b.tgz']);
    expect((await microbosh('clean-up', '--all')).code).toBe(0);
    expect(readdirSync(cache)).toEqual([]);
    expect((await microbosh('clean-up', '--max-age', 'x')).stderr).toContain("'x' is not a limit");
  });
});

describe('environments', () => {
  it('finds state files below a folder, of create-env too, and leaves others alone', async () => {
    mkdirSync(join(folder, 'envs/one'), { recursive: true });
    writeFileSync(
      join(folder, 'envs/one/bosh-state.json'),
      JSON.stringify({ director_id: 'd', installation_id: 'i', current_vm_cid: 'vm-7' }),
    );
    writeFileSync(join(folder, 'envs/other-state.json'), '{"a": 1}');

    const { stdout } = await microbosh('environments', 'envs', '--json');

    expect(JSON.parse(stdout)).toMatchObject({
      environments: [{ state: 'envs/one/bosh-state.json', vm: 'vm-7', deployment: null }],
    });
  });
});

describe('doctor', () => {
  it('finds what a manifest lacks, and says what to do', async () => {
    writeFileSync(join(folder, 'broken.yml'), 'name: x\ncloud_provider: {plugin: locl}\n');

    const { code, stdout } = await microbosh('doctor', '--manifest', 'broken.yml');

    expect(code).toBe(1);
    expect(stdout).toMatch(/^ok {6}runtime: Node\.js /m);
    expect(stdout).toMatch(/^FAILED {2}manifest: /m);
  });

  it('passes on this machine', async () => {
    const { code, stdout } = await microbosh('doctor', '--json');

    expect(code).toBe(0);
    const { checks } = JSON.parse(stdout) as { checks: { name: string; status: string }[] };
    expect(checks.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['runtime', 'tools (always)', 'tools (ssh)', 'clock', 'disk space']),
    );
  });
});
