import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, cp, mkdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { root, run } from './support/commands.ts';
import { Example } from './support/example.ts';

/** Each case: one clear message that names the place and the remedy, exit code 1, and nothing made. */
describe('create-env refuses', () => {
  let example: Example;

  beforeEach(async () => {
    example = await Example.create('10.245.83');
  });
  afterEach(async () => example.tearDown());

  async function refused(...texts: (string | RegExp)[]): Promise<void> {
    const result = await example.tryCreate();

    expect(result.exitCode).toBe(1);
    for (const text of texts) expect(result.stderr).toMatch(text);
    expectNothingMade(result.stderr);
  }

  function expectNothingMade(stderr: string): void {
    expect(stderr).not.toMatch(/\n\s+at .+:\d+:\d+/);
    expect(existsSync(example.localRoot), 'nothing may be made').toBe(false);
  }

  /** A release made from files of the test with GNU tar; the manifest then names it. */
  async function release(make: (directory: string, tarball: string) => Promise<void> | void): Promise<void> {
    const directory = join(example.directory, 'release');
    const tarball = join(example.directory, 'bad.tgz');
    await mkdir(directory);
    await make(directory, tarball);
    await example.edit((text) =>
      text.replace(/url: file:.*microbosh-registry\.tgz/, `url: file://${tarball}`),
    );
  }

  it('a manifest that does not exist', async () => {
    const result = await run(['bin/microbosh', 'create-env', join(example.directory, 'absent.yml')], {
      env: example.env,
    });

    expect(result.exitCode).toBe(1);
    expect(result.stderr).toContain('absent.yml');
    expectNothingMade(result.stderr);
  });

  it('a manifest that is a directory', async () => {
    const result = await run(['bin/microbosh', 'create-env', example.directory], { env: example.env });

    expect(result.exitCode).toBe(1);
    expect(result.stderr).toContain(example.directory);
    expectNothingMade(result.stderr);
  });

  it('YAML with a syntax error, with its position', async () => {
    await example.edit((text) => text.replace('releases:\n', 'releases: [\n'));

    await refused(/manifest\.yml:\d+:\d+/);
  });

  it('an unknown key, with a suggestion', async () => {
    await example.edit((text) => text.replace('persistent_disk_pool: disks', 'persistent_disk_pol: disks'));

    await refused('persistent_disk_pol', 'persistent_disk_pool', /manifest\.yml:\d+:\d+/);
  });

  it('a value of the wrong type, with its path', async () => {
    await example.edit((text) => text.replace('disk_size: 512', 'disk_size: large'));

    await refused('disk_size', /manifest\.yml:\d+:\d+/);
  });

  it('several problems at once', async () => {
    await example.edit((text) =>
      text.replace('disk_size: 512', 'disk_size: 0').replace('gateway: 10.245.83.1', 'gateway: 10.1.1.1'),
    );

    await refused('disk_pools[0].disk_size must be > 0', 'must be within the specified range');
  });

  it('an address outside its network', async () => {
    await example.edit((text) => text.replace('static_ips: [10.245.83.10]', 'static_ips: [10.9.9.9]'));

    await refused('static ip', '10.9.9.9');
  });

  it('a network without room for the VM', async () => {
    await example.edit((text) => text.replace('range: 10.245.83.0/24', 'range: 10.245.83.0/31'));

    await refused('10.245.83', /manifest\.yml:\d+:\d+/);
  });

  it('a variable without a value', async () => {
    await example.edit((text) => text.replace('((registry_admin_password))', '((no_such_variable))'));

    await refused('no_such_variable');
  });

  it('a release whose digest does not match', async () => {
    await example.edit((text) =>
      text.replace(/(url: file:.*microbosh-registry\.tgz)/, `$1\n  sha1: ${'a'.repeat(40)}`),
    );

    await refused('microbosh-registry.tgz', 'a'.repeat(40));
  });

  it('a truncated release', async () => {
    await release(async (_, tarball) => {
      await cp(join(root, 'dist/releases/microbosh-registry.tgz'), tarball);
      await truncate(tarball, 20_000);
    });

    await refused('bad.tgz');
  });

  it.each([
    ['a path that leaves the directory', ['--transform=s,evil,../evil,'], '../evil'],
    ['an absolute path', ['-P', '--transform=s,evil,/tmp/evil,'], '/tmp/evil'],
  ])('a release with %s', async (_, options, shown) => {
    await release(async (directory, tarball) => {
      await writeFile(join(directory, 'evil'), 'x');
      execFileSync('tar', ['-C', directory, ...options, '-czf', tarball, 'evil'], { stdio: 'pipe' });
    });

    await refused('bad.tgz', shown);
    expect(existsSync('/tmp/evil')).toBe(false);
  });

  it('a release with a device', async () => {
    await release((directory, tarball) => {
      execFileSync('mknod', [join(directory, 'dev'), 'c', '1', '3']);
      execFileSync('tar', ['-C', directory, '-czf', tarball, 'dev']);
    });

    await refused('bad.tgz', 'dev');
  });

  it('a job that the release does not have', async () => {
    await example.edit((text) =>
      text.replace('  - name: registry\n    release:', '  - name: registrie\n    release:'),
    );

    await refused('registrie');
  });

  it('a property that the template needs and the manifest does not give', async () => {
    await example.edit((text) => text.replace('      password: ((registry_admin_password))\n', ''));

    await refused('registry.password', 'registry.yml.erb');
  });

  /** As somebody who may read and write the folder and nothing else. */
  async function asNobody() {
    await chmod(example.directory, 0o777);
    const nobody = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'] as const;
    return run([...nobody, join(root, 'bin/microbosh'), ...example.createArguments], {
      env: { ...example.env, HOME: example.directory },
    });
  }

  it('a user who is not root', async () => {
    const result = await asNobody();

    expect(result.exitCode).toBe(1);
    expect(result.stderr).toMatch(/root/);
    expectNothingMade(result.stderr);
  });

  it('a manifest that may not be read', async () => {
    await chmod(example.manifest, 0o600);

    const result = await asNobody();

    expect(result.exitCode).toBe(1);
    expect(result.stderr).toContain(example.manifest);
    expect(result.stderr).toMatch(/permission/i);
    expectNothingMade(result.stderr);
  });

  it('a disk of no size', async () => {
    await example.edit((text) => text.replace('disk_size: 512', 'disk_size: 0'));

    await refused('manifest.yml:23:14', 'disk_size must be > 0', '/disk_pools/0/disk_size');
  });

  it('a disk for which there is no space', async () => {
    await example.edit((text) => text.replace('disk_size: 512', 'disk_size: 999999999'));

    const result = await example.tryCreate();

    expect(result.exitCode).toBe(1);
    expect(result.stderr).toMatch(/No space left/);
    expect(result.stderr).toMatch(/Choose a smaller disk/);
    for (const made of ['vms', 'disks', 'stemcells'])
      expect(existsSync(join(example.localRoot, made)), made).toBe(false);
  });

  it('a subnet that this machine already routes', async () => {
    execFileSync('ip', ['link', 'add', 'mbe2e83', 'type', 'bridge']);
    try {
      execFileSync('ip', ['addr', 'add', '10.245.83.77/24', 'dev', 'mbe2e83']);
      execFileSync('ip', ['link', 'set', 'mbe2e83', 'up']);

      const result = await example.tryCreate();

      expect(result.exitCode).toBe(1);
      expect(result.stderr).toMatch(/10\.245\.83\.0\/24.*mbe2e83|mbe2e83.*10\.245\.83\.0\/24/s);
      await example.delete();
    } finally {
      execFileSync('ip', ['link', 'del', 'mbe2e83']);
    }
  });

  it('keeps secrets out of every message', async () => {
    await example.edit((text) => text.replace('disk_size: 512', 'disk_size: 999999999'));

    const result = await example.tryCreate('--json');

    const secrets = (await readFile(example.creds, 'utf8'))
      .split('\n')
      .filter((line) => /^[A-Za-z0-9+/ ]{40,}/.test(line));
    expect(secrets.length).toBeGreaterThan(10);
    for (const secret of secrets) expect(result.output).not.toContain(secret.trim());
    await example.delete();
  });
});
