import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root, run, succeed } from './support/commands.ts';

const subnet = '10.245.88';

describe('quickstart in a clean clone with an empty home', () => {
  let directory: string;
  let clone: string;
  let env: Record<string, string>;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'microbosh-clone-'));
    clone = join(directory, 'microbosh');
    await mkdir(join(directory, 'home'));
    env = { HOME: join(directory, 'home'), NO_COLOR: '1' };
    await succeed(['git', '-c', 'safe.directory=*', 'clone', '-q', root, clone]);
    // The documented subnet may be in use by the reader's own quickstart.
    for (const file of ['quickstart', 'examples/registry/manifest.yml']) {
      const path = join(clone, file);
      await writeFile(path, (await readFile(path, 'utf8')).replaceAll('10.245.77', subnet));
    }
    const manifest = join(clone, 'examples/registry/manifest.yml');
    await writeFile(
      manifest,
      (await readFile(manifest, 'utf8')).replace(
        'plugin: local',
        `plugin: local\n  properties:\n    local:\n      root_dir: ${join(directory, 'local')}`,
      ),
    );
  });
  afterAll(async () => {
    await run([join(clone, 'bin/microbosh'), 'delete-env', 'examples/registry/manifest.yml', '-n'], {
      cwd: clone,
      env,
    });
    await rm(directory, { recursive: true, force: true });
  });

  it('shows what works without a VM', async () => {
    const { stdout } = await succeed([join(clone, 'quickstart'), '--no-vm'], {
      cwd: clone,
      env,
      timeoutMs: 280_000,
    });

    expect(stdout).toContain('Steps of the next deploy');
    expect(stdout).toContain('A registry started, answered');
    expect((await run(['ip', '-4', 'route', 'show', 'exact', `${subnet}.0/24`])).stdout).toBe('');
  });

  it('brings up the VM and says how to look at it and how to remove it', async () => {
    const { stdout } = await succeed([join(clone, 'quickstart')], { cwd: clone, env, timeoutMs: 280_000 });

    expect(stdout).toContain(`https://${subnet}.10:25777`);
    expect(stdout).toContain('curl --cacert');
    expect(stdout).toContain('bin/microbosh delete-env');
  });

  it('leaves the tree clean', async () => {
    const { stdout } = await succeed(['git', '-c', 'safe.directory=*', '-C', clone, 'status', '--porcelain']);

    expect(stdout.split('\n').filter(Boolean).sort()).toEqual([
      ' M examples/registry/manifest.yml',
      ' M quickstart',
    ]);
  });

  it('gives a service that curl reaches with the CA it wrote', async () => {
    const { stdout } = await succeed(
      [
        'curl',
        '-sS',
        '--max-time',
        '10',
        '-o',
        '/dev/null',
        '-w',
        '%{http_code}',
        '--cacert',
        'examples/registry/ca.pem',
        `https://${subnet}.10:25777/healthz`,
      ],
      { cwd: clone },
    );

    expect(stdout).toBe('200');
  });

  it('gives a status that says running', async () => {
    const { stdout } = await succeed(
      [join(clone, 'bin/microbosh'), 'status', 'examples/registry/manifest.yml', '--json'],
      {
        cwd: clone,
        env,
      },
    );

    expect(JSON.parse(stdout)).toMatchObject({ status: 'running' });
  });

  it('may be run again', async () => {
    const { stdout } = await succeed([join(clone, 'quickstart')], { cwd: clone, env, timeoutMs: 120_000 });

    expect(stdout).toContain('Skipping deploy');
  });

  it('removes everything with the command that it printed', async () => {
    await succeed([join(clone, 'bin/microbosh'), 'delete-env', 'examples/registry/manifest.yml', '-n'], {
      cwd: clone,
      env,
    });

    const { exitCode } = await run(['ip', '-4', 'route', 'show', 'exact', `${subnet}.0/24`]);
    expect(exitCode).toBe(0);
    expect((await run(['ip', '-4', 'route', 'show', 'exact', `${subnet}.0/24`])).stdout).toBe('');
  });
});

describe('quickstart on a machine that lacks something', () => {
  it('names what an ordinary user needs and offers what works without', async () => {
    const result = await run(
      ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', join(root, 'quickstart')],
      {
        env: { HOME: '/nonexistent' },
        timeoutMs: 10_000,
      },
    );

    expect(result.exitCode).toBe(1);
    expect(result.stderr).toContain('./quickstart --no-vm');
  });

  it('refuses a subnet that the machine already routes, before it installs anything', async () => {
    // In a network of its own, so that nobody else's route changes.
    const script =
      'ip link add taken type bridge && ip address add 10.245.77.9/25 dev taken && ip link set taken up';
    const copy = await mkdtemp(join(tmpdir(), 'microbosh-routed-'));
    try {
      await succeed(['git', '-c', 'safe.directory=*', 'clone', '-q', root, join(copy, 'microbosh')]);
      const result = await run(
        ['unshare', '--net', 'sh', '-c', `${script} && exec "$1"`, 'sh', join(copy, 'microbosh/quickstart')],
        { env: { HOME: copy }, timeoutMs: 20_000 },
      );

      expect(result.exitCode).toBe(1);
      expect(result.stderr).toMatch(/already routes the example's subnet \(10\.245\.77\.0\/25 dev taken/);
      expect(result.stderr).toContain('manifest.yml');
      expect(existsSync(join(copy, 'microbosh/node_modules/.bin'))).toBe(false);
    } finally {
      await rm(copy, { recursive: true, force: true });
    }
  });

  it('refuses an argument that it does not know', async () => {
    const result = await run(['bin/../quickstart', '--bogus']);

    expect(result.exitCode).toBe(1);
    expect(result.stderr).toContain('--bogus');
  });
});
